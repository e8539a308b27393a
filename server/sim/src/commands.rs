//! What one session without a client writes, for tests that look at members and not at what clients are told.

use std::time::Duration;

use bytes::Bytes;
use zke_tree::{Command, WriteOp};
use zke_wire::{Acl, SessionId};

use crate::world::World;

/// In whose name these commands are.
pub const SESSION: SessionId = SessionId(0x1111);
/// Far longer than a story, so that it ends in none.
const TIMEOUT_MS: i32 = 600_000;
/// Of blank members, until all of them serve.
const START_DEADLINE: Duration = Duration::from_secs(10);

/// Begins the session.
pub fn begin() -> Command {
    Command::CreateSession { session: SESSION, password: [1; 16], timeout_ms: TIMEOUT_MS }
}

pub fn write(op: WriteOp) -> Command {
    Command::Client { session: SESSION, attach_epoch: 0, identities: Vec::new(), op }
}

pub fn create(path: impl Into<String>) -> Command {
    create_with(path, Bytes::from_static(b"data"))
}

pub fn create_with(path: impl Into<String>, data: impl Into<Bytes>) -> Command {
    let (data, acl) = (Some(data.into()), vec![Acl::open()]);
    write(WriteOp::Create { path: path.into(), data, acl, flags: 0, with_stat: false })
}

pub fn delete(path: &str) -> Command {
    write(WriteOp::Delete { path: path.to_owned(), version: -1 })
}

impl World {
    /// Starts a new ensemble and the session in it. Returns who leads.
    pub async fn start_with_session(&self, members: usize) -> usize {
        self.start_members(members).await;
        self.wait_all_serving(START_DEADLINE).await;
        self.propose_and_wait(0, begin()).await;
        self.leader().expect("a session has begun, so somebody leads")
    }
}
