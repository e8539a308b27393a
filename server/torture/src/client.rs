//! A random client on real sockets: one session at a time, on whichever member takes it.
//!
//! As a client library it sends its watches again after it connected again, gives a silent member up after two thirds of
//! its timeout, and begins a new session when it hears that the old one is gone. Unlike one, it also falls silent now and
//! then for longer than its session lives, and closes its session behind requests that were not answered yet.

use std::sync::Arc;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use zke_check::event::Op;
use zke_client::{ClientError, Connection, Message};
use zke_handle::requests::{self, Habit};
use zke_handle::{Handle, Heard};

use crate::load::Shared;

/// Requests of one client that may wait for their answers: each may come to be of unknown outcome, which is hard to judge.
const WINDOW: usize = 2;
/// With setWatches, which goes before all others.
const MAX_UNANSWERED: usize = WINDOW + 1;
/// Longer than a member holds back a client that is ahead of it.
const CONNECT_DEADLINE: Duration = Duration::from_millis(1_500);
/// What clients ask for; the smallest is the smallest that members grant.
const TIMEOUTS_MS: std::ops::Range<i32> = 2_000..5_000;

pub struct Client {
    load: Arc<Shared>,
    number: usize,
    habit: Habit,
    /// Whether one who looks asks for `sync` on this connection.
    syncs: bool,
    random: StdRng,
    handle: Handle,
}

/// What becomes of a connection after a message.
#[derive(Debug, PartialEq, Eq)]
enum After {
    GoOn,
    /// The session was closed by its client.
    Closed,
}

impl Client {
    pub fn new(load: Arc<Shared>, number: usize, habit: Habit, seed: u64) -> Client {
        let random = StdRng::seed_from_u64(seed.wrapping_mul(1_000) + number as u64);
        Client { load, number, habit, syncs: false, random, handle: Handle::new(format!("c{number}")) }
    }

    /// Until the load is over.
    pub async fn run(mut self) {
        while !self.load.is_over() {
            if let Some(connection) = self.connect().await {
                self.converse(connection).await;
            }
            let pause_ms = self.random.random_range(1..100);
            sleep(Duration::from_millis(pause_ms)).await;
        }
    }

    /// Gets a session from some member, the old one if there is one.
    async fn connect(&mut self) -> Option<Connection> {
        let member = self.random.random_range(0..self.load.addresses.len());
        let request = self.handle.connect_request(self.random.random_range(TIMEOUTS_MS));
        let opening = Connection::open(self.load.addresses[member], &request, MAX_UNANSWERED);
        let opened = timeout(CONNECT_DEADLINE, opening).await.ok()?;
        let at_us = self.load.record.now_us();
        match opened {
            Ok(connection) => {
                let granted = connection.granted().clone();
                self.load.record.saw(self.handle.connected(at_us, granted, format!("m{member}")));
                Some(connection)
            }
            Err(ClientError::SessionExpired) => {
                self.load.record.saw(self.handle.expired(at_us));
                None
            }
            Err(error) => {
                self.suspect(&error);
                None
            }
        }
    }

    /// Asks and listens until the connection is over.
    async fn converse(&mut self, mut connection: Connection) {
        self.syncs = self.random.random_bool(0.5);
        if let Some(set) = self.handle.set_watches() {
            self.ask(&mut connection, set);
        }
        let mut closing = false;
        let mut think = Instant::now() + self.thinks();
        loop {
            tokio::select! {
                biased;
                message = connection.next() => match message {
                    Ok(message) => {
                        if self.hear(message) == After::Closed {
                            return;
                        }
                    }
                    Err(error) => {
                        self.suspect(&error);
                        break;
                    }
                },
                () = sleep_until(think) => {
                    think = Instant::now() + self.thinks();
                    if self.handle.is_tired(self.load.record.now_us()) {
                        break;
                    }
                    if !closing && self.handle.unanswered() < WINDOW {
                        let op = self.next_op();
                        closing = op == (Op::Close {});
                        self.ask(&mut connection, op);
                    }
                }
            }
        }
        let at_us = self.load.record.now_us();
        self.handle.lost(at_us).into_iter().for_each(|event| self.load.record.saw(event));
    }

    /// Its last request is to close its session, so that nothing of it is left.
    fn next_op(&mut self) -> Op {
        if self.load.is_over() {
            return Op::Close {};
        }
        if self.habit == Habit::Looks {
            return requests::random_look(&mut self.random, self.syncs);
        }
        let tag = format!("{}-{}", self.handle.name(), self.load.next_id());
        requests::random_op(&mut self.random, &tag)
    }

    /// How long until the next request: mostly hardly, sometimes a while, rarely longer than a session lives.
    fn thinks(&mut self) -> Duration {
        let ms = match self.random.random_range(0..1_000) {
            0..4 if !self.load.is_over() => self.random.random_range(1_000..9_000),
            4..300 => 0,
            _ => self.random.random_range(1..80),
        };
        Duration::from_millis(ms)
    }

    fn ask(&mut self, connection: &mut Connection, op: Op) {
        let request = requests::to_wire(&op);
        let event = self.handle.ask(self.load.record.now_us(), self.load.next_id(), op);
        self.load.record.saw(event);
        if let Err(error) = connection.send(&request) {
            self.load.finding(format!("{}: its own window does not hold: {error}", self.handle.name()));
        }
    }

    fn hear(&mut self, message: Message) -> After {
        let at_us = self.load.record.now_us();
        let reply = match message {
            // The harness changes the membership, which is no part of the history.
            Message::Event { event, .. } if event.path.as_ref().starts_with("/zookeeper") => {
                return After::GoOn;
            }
            Message::Event { zxid, event } => {
                match self.handle.event(at_us, zxid, &event) {
                    Some(event) => self.load.record.saw(event),
                    None => self.load.finding(format!("{}: heard {event:?}", self.handle.name())),
                }
                return After::GoOn;
            }
            Message::Reply(reply) => reply,
        };
        // The connection has matched it to a request.
        let Some((event, heard)) = self.handle.replied(at_us, reply.zxid, reply.result) else {
            return After::GoOn;
        };
        self.load.record.saw(event);
        match heard {
            Heard::Acknowledged { asked_us } => self.load.acknowledged(self.number, asked_us),
            Heard::Closed => return After::Closed,
            Heard::Other => {}
        }
        After::GoOn
    }

    /// A lost connection is what this is all about; bytes that are not the protocol's are not.
    fn suspect(&self, error: &ClientError) {
        let wrong =
            matches!(error, ClientError::Frame(_) | ClientError::Decode(_) | ClientError::OutOfOrder { .. });
        if wrong {
            self.load.finding(format!("{}: {error}", self.handle.name()));
        }
    }
}
