//! A random client: one session at a time, on whichever member takes it, asking for random things and writing down what
//! it sees.
//!
//! As a client library it sends its watches again after it connected again, gives a silent member up after two thirds of
//! its timeout, and begins a new session when it hears that the old one is gone. Unlike one, it also falls silent now and
//! then for longer than its session lives, and closes its session behind requests that were not answered yet.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use openraft_rt_sim::SimRuntime;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use zke_check::event::Op;
use zke_consensus::AsyncRuntime;
use zke_consensus::peer::FrameStream;
use zke_handle::requests::{self, Habit};
use zke_handle::{Handle, Heard};
use zke_wire::{
    ConnectRequest, ConnectResponse, FrameDecoder, OpCode, Response, SessionId, WatcherEvent, Zxid, xid,
};

use crate::front::{self, Fresh};
use crate::network::FIRST_CLIENT;
use crate::world::World;

fn frames() -> FrameDecoder {
    FrameDecoder::new(FrameDecoder::DEFAULT_MAX_LEN)
}
/// A header's length, which an event's body follows.
const REPLY_HEADER_BYTES: usize = 16;
/// How long a member may take to grant a session.
const CONNECT_DEADLINE: Duration = Duration::from_secs(3);
/// What clients ask for; the smallest is the smallest that members grant.
const TIMEOUTS_MS: std::ops::Range<i32> = 2_000..5_000;

/// What all clients of a run share.
#[derive(Default)]
pub struct Load {
    over: AtomicBool,
    next_id: AtomicU64,
    /// For each client the virtual time of its last acknowledged write, or of the last answer to one who only looks.
    served_us: Mutex<Vec<u64>>,
}

impl Load {
    pub fn for_clients(count: usize) -> Arc<Load> {
        Arc::new(Load { served_us: Mutex::new(vec![0; count]), ..Load::default() })
    }

    /// Lets clients finish what they have asked for, and ask for nothing more.
    pub fn end(&self) {
        self.over.store(true, Relaxed);
    }

    /// Whether every client was served after this moment, and had a write acknowledged if it writes.
    pub fn all_served_since(&self, since_us: u64) -> bool {
        self.served_us.lock().iter().all(|at_us| *at_us > since_us)
    }

    fn served(&self, client: usize, at_us: u64) {
        self.served_us.lock()[client] = at_us;
    }

    fn is_over(&self) -> bool {
        self.over.load(Relaxed)
    }
}

pub struct Client {
    world: World,
    load: Arc<Load>,
    number: usize,
    habit: Habit,
    /// Whether one who looks asks for `sync` on this connection.
    syncs: bool,
    random: StdRng,
    handle: Handle,
    last_xid: i32,
    /// What is needed to read the replies to what the handle has asked.
    unread: VecDeque<(i32, OpCode)>,
}

/// What becomes of a connection after a message.
#[derive(Debug, PartialEq, Eq)]
enum After {
    GoOn,
    /// The session was closed by its client.
    Closed,
}

impl Client {
    pub fn new(world: World, load: Arc<Load>, number: usize, habit: Habit) -> Client {
        let random = StdRng::seed_from_u64(world.seed().wrapping_mul(1_000) + number as u64);
        Client {
            world,
            load,
            number,
            habit,
            syncs: false,
            random,
            handle: Handle::new(format!("c{number}")),
            last_xid: 0,
            unread: VecDeque::new(),
        }
    }

    /// Until the load is over.
    pub async fn run(mut self) {
        while !self.load.is_over() {
            if let Some((stream, buffer)) = self.connect().await {
                self.converse(stream, buffer).await;
            }
            let pause_ms = self.random.random_range(1..100);
            SimRuntime::sleep(Duration::from_millis(pause_ms)).await;
        }
    }

    /// Gets a session from some member, the old one if there is one.
    async fn connect(&mut self) -> Option<(FrameStream, BytesMut)> {
        let member = self.random.random_range(0..self.world.machines());
        let timeout_ms = if self.handle.has_session() { 0 } else { self.some_timeout_ms() };
        let fresh = Fresh { session: session_id(self.random.random()), password: self.random.random() };
        let asked = self.handle.connect_request(timeout_ms);
        let (near, buffer, granted) = open(&self.world, self.number, member, asked, fresh).await?;
        let at_us = self.world.chronicle().now_us();
        if granted.session_id == SessionId::NONE {
            self.world.chronicle().saw(self.handle.expired(at_us));
            return None;
        }
        self.world.chronicle().saw(self.handle.connected(at_us, granted, format!("m{member}")));
        Some((near, buffer))
    }

    /// The smallest as often as not: a session that others let go wrongly has to end while it is still served.
    fn some_timeout_ms(&mut self) -> i32 {
        if self.random.random_bool(0.5) {
            return TIMEOUTS_MS.start;
        }
        self.random.random_range(TIMEOUTS_MS)
    }

    /// Asks and listens until the connection is over.
    async fn converse(&mut self, stream: FrameStream, mut buffer: BytesMut) {
        let FrameStream { outgoing, mut incoming } = stream;
        let mut after = After::GoOn;
        self.syncs = self.random.random_bool(0.5);
        if let Some(set) = self.handle.set_watches()
            && outgoing.send(self.ask(set)).await.is_err()
        {
            return self.lost();
        }
        let mut closing = false;
        let mut think = Box::pin(SimRuntime::sleep(self.thinks()));
        'connection: loop {
            tokio::select! {
                biased;
                chunk = incoming.recv() => {
                    let Some(chunk) = chunk else { break };
                    buffer.extend_from_slice(&chunk);
                    while let Some(frame) = frames().next(&mut buffer).expect("a server sends frames") {
                        after = self.hear(frame);
                        if after == After::Closed {
                            break 'connection;
                        }
                    }
                }
                () = &mut think => {
                    think = Box::pin(SimRuntime::sleep(self.thinks()));
                    let over = self.load.is_over();
                    if over && self.handle.unanswered() == 0 || self.is_tired() {
                        break;
                    }
                    if !over && !closing && self.handle.unanswered() < WINDOW {
                        let op = self.random_op();
                        closing = op == (Op::Close {});
                        if outgoing.send(self.ask(op)).await.is_err() {
                            break;
                        }
                    }
                }
            }
        }
        if after == After::GoOn {
            self.lost();
        }
    }

    fn random_op(&mut self) -> Op {
        if self.habit == Habit::Looks {
            return requests::random_look(&mut self.random, self.syncs);
        }
        let tag = format!("{}-{}", self.handle.name(), self.load.next_id.load(Relaxed) + 1);
        requests::random_op(&mut self.random, &tag)
    }

    /// How long until the next request: mostly hardly, sometimes a while, rarely longer than a session lives.
    fn thinks(&mut self) -> Duration {
        let ms = match self.random.random_range(0..1_000) {
            0..4 => self.random.random_range(1_000..9_000),
            4..300 => 0,
            _ => self.random.random_range(1..80),
        };
        Duration::from_millis(ms)
    }

    fn is_tired(&self) -> bool {
        self.handle.is_tired(self.world.chronicle().now_us())
    }

    fn ask(&mut self, op: Op) -> Bytes {
        let request = requests::to_wire(&op);
        let xid = if matches!(op, Op::SetWatches { .. }) {
            xid::SET_WATCHES
        } else {
            self.last_xid += 1;
            self.last_xid
        };
        self.unread.push_back((xid, request.op()));
        let id = self.load.next_id.fetch_add(1, Relaxed) + 1;
        let chronicle = self.world.chronicle();
        chronicle.saw(self.handle.ask(chronicle.now_us(), id, op));
        let mut out = BytesMut::new();
        request.encode(xid, &mut out);
        out.freeze()
    }

    fn hear(&mut self, frame: Bytes) -> After {
        let at_us = self.world.chronicle().now_us();
        let xid = (&frame[..]).get_i32();
        if xid == xid::NOTIFICATION {
            let zxid = Zxid(i64::from_be_bytes(frame[4..12].try_into().expect("eight bytes")));
            let event = WatcherEvent::decode(frame.slice(REPLY_HEADER_BYTES..))
                .expect("a server's events can be read");
            let event = self.handle.event(at_us, zxid, &event).expect("a server tells of nodes");
            self.world.chronicle().saw(event);
            return After::GoOn;
        }
        let (asked, code) = self.unread.pop_front().expect("a server answers what it was asked");
        assert_eq!(asked, xid, "{}: answers come in order", self.handle.name());
        let (header, response) = Response::decode(code, frame).expect("a server's answers can be read");
        let (event, heard) =
            self.handle.replied(at_us, header.zxid, Ok(response)).expect("it waits for this answer");
        self.world.chronicle().saw(event);
        match heard {
            Heard::Acknowledged { .. } => self.load.served(self.number, at_us),
            Heard::Closed => return After::Closed,
            Heard::Other if self.habit == Habit::Looks => self.load.served(self.number, at_us),
            Heard::Other => {}
        }
        After::GoOn
    }

    /// The connection is gone; the session may live.
    fn lost(&mut self) {
        self.unread.clear();
        let at_us = self.world.chronicle().now_us();
        self.handle.lost(at_us).into_iter().for_each(|event| self.world.chronicle().saw(event));
    }
}

/// Requests of one client that may wait for their answers.
const WINDOW: usize = 3;

/// A connection on which a member has answered what the client began with.
async fn open(
    world: &World,
    client: usize,
    member: usize,
    asked: ConnectRequest,
    fresh: Fresh,
) -> Option<(FrameStream, BytesMut, ConnectResponse)> {
    let process = world.process(member)?;
    let dialled = world.network().connect(FIRST_CLIENT + client, member);
    let (mut near, far) = SimRuntime::timeout(CONNECT_DEADLINE, dialled).await.ok()?.ok()?;
    SimRuntime::spawn(front::serve(process, far, fresh));
    let mut request = BytesMut::new();
    asked.encode(&mut request);
    near.outgoing.send(request.freeze()).await.ok()?;
    let mut buffer = BytesMut::new();
    let granted = SimRuntime::timeout(CONNECT_DEADLINE, granted(&mut near, &mut buffer)).await.ok()??;
    Some((near, buffer, granted))
}

/// Asks one member for a `sync`, as a client of whom nothing else is seen, and waits for the answer.
pub async fn hears_of_sync(world: &World, client: usize, member: usize) -> Option<()> {
    let asked = Handle::new("asks for sync".to_owned()).connect_request(TIMEOUTS_MS.start);
    let fresh = Fresh { session: session_id(world.chronicle().now_us() ^ world.seed()), password: [3; 16] };
    let (mut near, mut buffer, _) = open(world, client, member, asked, fresh).await?;
    let mut request = BytesMut::new();
    requests::to_wire(&Op::Sync { path: "/".to_owned() }).encode(1, &mut request);
    near.outgoing.send(request.freeze()).await.ok()?;
    while frames().next(&mut buffer).ok()?.is_none() {
        buffer.extend_from_slice(&near.incoming.recv().await?);
    }
    Some(())
}

async fn granted(stream: &mut FrameStream, buffer: &mut BytesMut) -> Option<ConnectResponse> {
    loop {
        if let Some(frame) = frames().next(buffer).ok()? {
            return ConnectResponse::decode(frame).ok();
        }
        buffer.extend_from_slice(&stream.incoming.recv().await?);
    }
}

/// As the daemon's: positive and odd.
fn session_id(random: u64) -> SessionId {
    SessionId((random >> 1) as i64 | 1)
}
