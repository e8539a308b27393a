//! One session that sets a node of its own again and again, one write at a time, each a number higher than the last.
//!
//! When its connection ends, or no answer comes for as long as ZooKeeper's own client would wait, it takes the same
//! session up at the next member at once. There it first asks what its node holds: a number below one that was
//! acknowledged is stale, and the number that it had no answer to says that the request was done without one.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use serde::Serialize;
use tokio::time::{sleep, timeout};
use zke_client::{ClientError, Connection, Message, Reply, new_session, same_session};
use zke_wire::{Acl, ConnectResponse, ErrorCode, Request, Response, Zxid};

use crate::gap::Gap;

/// The smallest that both grant with a tick of two seconds: what depends on it shows soonest.
pub const SESSION_TIMEOUT_MS: i32 = 4_000;
/// As ZooKeeper's client: two thirds of the session's timeout.
const ANSWER_LIMIT: Duration = Duration::from_millis(2_667);
/// As ZooKeeper's client: the session's timeout, divided by the members.
const OPEN_LIMIT: Duration = Duration::from_millis(1_333);
/// Between writes: what is measured is an outage, and not a queue on a machine that has no time left.
const WRITE_INTERVAL: Duration = Duration::from_millis(1);
/// After a member did not take it in: without, it would spin while there is no leader.
const NEXT_MEMBER: Duration = Duration::from_millis(2);
/// A question and a write.
const WINDOW: usize = 2;
/// setData whatever the node's version is.
const ANY_VERSION: i32 = -1;

/// What one writer has seen, shared with whoever waits for it.
#[derive(Debug, Default)]
pub struct Tally {
    gap: Gap,
    is_marked: bool,
    is_ended: bool,
    acknowledged: u64,
    last_error: Option<String>,
    outcome: Outcome,
}

/// What happened after the mark.
#[derive(Debug, Default, Clone, Serialize)]
pub struct Outcome {
    /// The member that it was connected to at the start.
    home: usize,
    longest_gap_ms: f64,
    /// Connections that ended, or were given up without an answer; no attempts.
    connections_lost: u32,
    /// Answers that are errors.
    refused: u32,
    sessions_lost: u32,
    /// Requests without an answer before the connection ended that the servers had done.
    unanswered: u32,
    /// Reads of what was older than a write that had been acknowledged.
    stale: u32,
    first_error: Option<String>,
}

impl Tally {
    pub fn mark(&mut self, now: Instant) {
        self.is_marked = true;
        self.gap.mark(now);
    }

    /// Tells the writer to end, and what it saw.
    pub fn end(&mut self, home: usize, now: Instant) -> Outcome {
        self.is_ended = true;
        let longest_gap_ms = self.gap.longest(now).as_secs_f64() * 1_000.0;
        Outcome { home, longest_gap_ms, ..self.outcome.clone() }
    }

    pub fn wrote_within(&self, limit: Duration, now: Instant) -> bool {
        self.gap.last().is_some_and(|last| now.saturating_duration_since(last) <= limit)
    }

    /// The newest number that was acknowledged.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    pub fn last_error(&self) -> Option<String> {
        self.last_error.clone()
    }
}

pub struct Writer {
    node: String,
    servers: Vec<SocketAddr>,
    /// Where it is connected, or tries to be next.
    at: usize,
    session: Option<ConnectResponse>,
    last_zxid: Zxid,
    has_node: bool,
    /// Whether a connection ended while a write had no answer.
    is_in_doubt: bool,
    tally: Rc<RefCell<Tally>>,
}

impl Writer {
    pub fn new(number: usize, servers: Vec<SocketAddr>, tally: Rc<RefCell<Tally>>) -> Writer {
        let at = number % servers.len();
        Writer {
            node: node(number),
            servers,
            at,
            session: None,
            last_zxid: Zxid(0),
            has_node: false,
            is_in_doubt: false,
            tally,
        }
    }

    /// Writes until it is told to end.
    pub async fn run(mut self) {
        while !self.tally.borrow().is_ended {
            let lost = match self.open().await {
                Ok(mut connection) => match self.write(&mut connection).await {
                    Ok(()) => {
                        // The servers let a session go by themselves when they do not hear from it.
                        let _ = timeout(ANSWER_LIMIT, connection.close()).await;
                        return;
                    }
                    Err(lost) => {
                        self.count(|outcome| &mut outcome.connections_lost, &format!("{lost:#}"));
                        lost
                    }
                },
                Err(lost) => {
                    sleep(NEXT_MEMBER).await;
                    lost
                }
            };
            if let Some(ClientError::SessionExpired) = lost.downcast_ref() {
                self.session = None;
                self.count(|outcome| &mut outcome.sessions_lost, &format!("{lost:#}"));
            }
            let server = self.servers[self.at];
            self.tally.borrow_mut().last_error = Some(format!("{server}: {lost:#}"));
            self.at = (self.at + 1) % self.servers.len();
        }
    }

    /// Takes the session up, or begins one.
    async fn open(&mut self) -> Result<Connection> {
        let request = match &self.session {
            Some(granted) => same_session(granted, self.last_zxid),
            None => new_session(SESSION_TIMEOUT_MS),
        };
        let opening = Connection::open(self.servers[self.at], &request, WINDOW);
        let connection =
            timeout(OPEN_LIMIT, opening).await.context("the session was not granted in time")??;
        self.session = Some(connection.granted().clone());
        Ok(connection)
    }

    /// Writes until the connection ends, which is an error, or the run does.
    async fn write(&mut self, connection: &mut Connection) -> Result<()> {
        if !self.has_node {
            self.prepare(connection).await?;
        }
        // Both at once: the question costs the first write no time.
        connection.send(&Request::GetData { path: self.node.clone(), watch: false })?;
        let mut next = self.tally.borrow().acknowledged + 1;
        connection.send(&self.set(next))?;
        let held = self.answer(connection).await?;
        self.judge(&held);
        loop {
            match self.answer(connection).await? {
                Ok(_) => {
                    self.is_in_doubt = false;
                    let mut tally = self.tally.borrow_mut();
                    tally.acknowledged = next;
                    tally.gap.acknowledged(Instant::now());
                    if tally.is_ended {
                        return Ok(());
                    }
                    next += 1;
                }
                Err(code) => self.count(|outcome| &mut outcome.refused, &code.to_string()),
            }
            sleep(WRITE_INTERVAL).await;
            connection.send(&self.set(next))?;
        }
    }

    /// Makes the node unless a run before did, and goes on with its number. The member is in sync then.
    async fn prepare(&mut self, connection: &mut Connection) -> Result<()> {
        let path = self.node.clone();
        connection.send(&Request::Create {
            path: path.clone(),
            data: None,
            acl: vec![Acl::open()],
            flags: 0,
            with_stat: false,
        })?;
        connection.send(&Request::Sync { path })?;
        let made = self.answer(connection).await?;
        let synced = self.answer(connection).await?;
        match (made, synced) {
            (Ok(_) | Err(ErrorCode::NodeExists), Ok(_)) => {}
            refused => bail!("cannot make its node: {refused:?}"),
        }
        connection.send(&Request::GetData { path: self.node.clone(), watch: false })?;
        match self.answer(connection).await? {
            Ok(held) => self.tally.borrow_mut().acknowledged = number_of(&held),
            Err(code) => bail!("cannot read its node: {code}"),
        }
        self.has_node = true;
        Ok(())
    }

    fn set(&self, number: u64) -> Request {
        let data = Some(Bytes::from(number.to_string()));
        Request::SetData { path: self.node.clone(), data, version: ANY_VERSION }
    }

    async fn answer(&mut self, connection: &mut Connection) -> Result<Result<Response, ErrorCode>> {
        let answered = timeout(ANSWER_LIMIT, next_reply(connection)).await;
        let answered = answered.context("no answer in time").and_then(|reply| Ok(reply?));
        // Whichever of its requests had no answer, a write was among them or behind it.
        self.is_in_doubt |= answered.is_err() && self.has_node;
        let reply = answered?;
        self.last_zxid = self.last_zxid.max(reply.zxid);
        Ok(reply.result)
    }

    /// Compares what the node holds after a session was taken up with what this writer knows.
    fn judge(&mut self, held: &Result<Response, ErrorCode>) {
        let acknowledged = self.tally.borrow().acknowledged;
        match held {
            Ok(held) if number_of(held) < acknowledged => {
                let told = format!("{acknowledged} was acknowledged, and {} read", number_of(held));
                self.count(|outcome| &mut outcome.stale, &told);
            }
            Ok(held) if number_of(held) > acknowledged && self.is_in_doubt => {
                self.count(|outcome| &mut outcome.unanswered, "a write was done and not answered");
            }
            Ok(_) => {}
            Err(code) => self.count(|outcome| &mut outcome.refused, &code.to_string()),
        }
    }

    fn count(&self, counter: fn(&mut Outcome) -> &mut u32, told: &str) {
        let mut tally = self.tally.borrow_mut();
        if tally.is_marked && !tally.is_ended {
            *counter(&mut tally.outcome) += 1;
            let told = format!("{}: {told}", self.servers[self.at]);
            tally.outcome.first_error.get_or_insert(told);
        }
    }
}

async fn next_reply(connection: &mut Connection) -> Result<Reply, ClientError> {
    loop {
        if let Message::Reply(reply) = connection.next().await? {
            return Ok(reply);
        }
    }
}

/// What the writer with this number writes to.
pub fn node(number: usize) -> String {
    format!("/gaps-{number}")
}

fn number_of(held: &Response) -> u64 {
    match held {
        Response::Data { data, .. } => number_in(data.as_deref()),
        _ => 0,
    }
}

/// A node that was never set holds 0.
pub fn number_in(data: Option<&[u8]>) -> u64 {
    data.and_then(|data| std::str::from_utf8(data).ok()).and_then(|text| text.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_holds_the_number_that_was_written() {
        assert_eq!(number_in(Some(b"17")), 17);
        assert_eq!(number_in(None), 0);
        assert_eq!(number_in(Some(b"")), 0);
    }
}
