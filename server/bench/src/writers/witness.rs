//! A reader that stays with a member that hangs: a question asked while it does is in its hands when it goes on.
//!
//! The writer that it asks about had its newest write acknowledged by others before. An older value as the answer is
//! stale; a closed connection is no answer, and right.

use std::net::SocketAddr;
use std::time::Duration;

use serde::Serialize;
use tokio::time::timeout;
use zke_client::{ClientError, Connection, Message, Reply, new_session};
use zke_wire::{Request, Response};

use crate::writer::{SESSION_TIMEOUT_MS, number_in};

/// For a member that goes on to answer or to close, from when the run has ended.
const ANSWER_LIMIT: Duration = Duration::from_secs(1);

pub struct Witness {
    connection: Connection,
    acknowledged: u64,
    is_asking: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Seen {
    /// The connection ended without an answer, or none came.
    Nothing,
    /// What was acknowledged before it asked, or what came after.
    Fresh,
    Stale,
}

impl Witness {
    pub async fn new(server: SocketAddr) -> Result<Witness, ClientError> {
        let connection = Connection::open(server, &new_session(SESSION_TIMEOUT_MS), 1).await?;
        Ok(Witness { connection, acknowledged: 0, is_asking: false })
    }

    /// Asks for the data of `node`, in which `acknowledged` was written.
    pub async fn ask(&mut self, node: &str, acknowledged: u64) {
        self.acknowledged = acknowledged;
        let asked = self.connection.send(&Request::GetData { path: node.to_owned(), watch: false }).is_ok();
        // A member that is dead hears nothing, and so the answer is nothing.
        self.is_asking = asked && self.connection.flush().await.is_ok();
    }

    pub async fn end(mut self) -> Seen {
        if !self.is_asking {
            return Seen::Nothing;
        }
        match timeout(ANSWER_LIMIT, self.connection.next()).await {
            Ok(Ok(Message::Reply(Reply { result: Ok(Response::Data { data, .. }), .. }))) => {
                match number_in(data.as_deref()) < self.acknowledged {
                    true => Seen::Stale,
                    false => Seen::Fresh,
                }
            }
            _ => Seen::Nothing,
        }
    }
}
