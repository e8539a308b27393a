//! A random client: one session at a time, on whichever member takes it, asking for random things and writing down what
//! it sees.
//!
//! As a client library it sends its watches again after it connected again, gives a silent member up after two thirds of
//! its timeout, and begins a new session when it hears that the old one is gone. Unlike one, it also falls silent now and
//! then for longer than its session lives, and closes its session behind requests that were not answered yet.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use openraft_rt_sim::SimRuntime;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use zke_check::event::{Event, EventKind, Op, SessionState};
use zke_consensus::AsyncRuntime;
use zke_consensus::peer::FrameStream;
use zke_wire::{
    ConnectRequest, ConnectResponse, FrameDecoder, OpCode, ReplyHeader, Response, SessionId, WatcherEvent,
    Zxid, xid,
};

use crate::front::{self, Fresh};
use crate::network::FIRST_CLIENT;
use crate::requests;
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
    /// For each client the virtual time of its last acknowledged write.
    acknowledged_us: Mutex<Vec<u64>>,
}

impl Load {
    pub fn for_clients(count: usize) -> Arc<Load> {
        Arc::new(Load { acknowledged_us: Mutex::new(vec![0; count]), ..Load::default() })
    }

    /// Lets clients finish what they have asked for, and ask for nothing more.
    pub fn end(&self) {
        self.over.store(true, Relaxed);
    }

    /// Whether every client had a write acknowledged after this moment.
    pub fn all_wrote_since(&self, since_us: u64) -> bool {
        self.acknowledged_us.lock().iter().all(|at_us| *at_us > since_us)
    }

    fn is_over(&self) -> bool {
        self.over.load(Relaxed)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Watched {
    Data,
    Exist,
    Child,
    Persistent,
    Recursive,
}

pub struct Client {
    world: World,
    load: Arc<Load>,
    number: usize,
    name: String,
    random: StdRng,
    session: Option<ConnectResponse>,
    /// The largest zxid seen on this session.
    seen: Zxid,
    last_xid: i32,
    asked: VecDeque<Asked>,
    /// What the client still waits to be told.
    wanted: BTreeSet<(Watched, String)>,
}

struct Asked {
    xid: i32,
    code: OpCode,
    id: u64,
    op: Op,
    at_us: u64,
}

/// What becomes of a connection after a message.
#[derive(Debug, PartialEq, Eq)]
enum After {
    GoOn,
    /// The session was closed by its client.
    Closed,
}

impl Client {
    pub fn new(world: World, load: Arc<Load>, number: usize) -> Client {
        let random = StdRng::seed_from_u64(world.seed().wrapping_mul(1_000) + number as u64);
        Client {
            world,
            load,
            number,
            name: format!("c{number}"),
            random,
            session: None,
            seen: Zxid(0),
            last_xid: 0,
            asked: VecDeque::new(),
            wanted: BTreeSet::new(),
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
        let process = self.world.process(member)?;
        let client = FIRST_CLIENT + self.number;
        let dialled = self.world.network().connect(client, member);
        let (mut near, far) = SimRuntime::timeout(CONNECT_DEADLINE, dialled).await.ok()?.ok()?;
        let fresh = Fresh { session: session_id(self.random.random()), password: self.random.random() };
        SimRuntime::spawn(front::serve(process, far, fresh));
        let mut request = BytesMut::new();
        self.connect_request().encode(&mut request);
        near.outgoing.send(request.freeze()).await.ok()?;
        let mut buffer = BytesMut::new();
        let granted = SimRuntime::timeout(CONNECT_DEADLINE, granted(&mut near, &mut buffer)).await.ok()??;
        if granted.session_id == SessionId::NONE {
            self.note_session(SessionState::Expired, None);
            self.forget_session();
            return None;
        }
        self.session = Some(granted);
        self.note_session(SessionState::Connected, Some(member));
        Some((near, buffer))
    }

    fn connect_request(&mut self) -> ConnectRequest {
        let session = self.session.as_ref();
        ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: self.seen,
            timeout_ms: session
                .map_or_else(|| self.random.random_range(TIMEOUTS_MS), |session| session.timeout_ms),
            session_id: session.map_or(SessionId::NONE, |session| session.session_id),
            password: session
                .map_or(Bytes::from_static(&[0; 16]), |session| Bytes::copy_from_slice(&session.password)),
            read_only: Some(false),
        }
    }

    fn forget_session(&mut self) {
        self.session = None;
        self.seen = Zxid(0);
        self.wanted.clear();
    }

    /// Asks and listens until the connection is over.
    async fn converse(&mut self, stream: FrameStream, mut buffer: BytesMut) {
        let FrameStream { outgoing, mut incoming } = stream;
        let mut after = After::GoOn;
        if !self.wanted.is_empty() {
            let set = self.set_watches();
            if outgoing.send(self.ask(set)).await.is_err() {
                return self.lost();
            }
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
                    if over && self.asked.is_empty() || self.is_tired() {
                        break;
                    }
                    if !over && !closing && self.asked.len() < WINDOW {
                        let op = self.random_op();
                        closing = op == (Op::Close {});
                        if outgoing.send(self.ask(op)).await.is_err() {
                            break;
                        }
                    }
                }
            }
        }
        if after == After::Closed { self.forget_session() } else { self.lost() }
    }

    fn random_op(&mut self) -> Op {
        let tag = format!("{}-{}", self.name, self.load.next_id.load(Relaxed) + 1);
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

    /// Whether the member has been silent for too long.
    fn is_tired(&self) -> bool {
        let timeout_ms = self.session.as_ref().map_or(0, |session| session.timeout_ms);
        let patience_us = u64::try_from(timeout_ms).unwrap_or_default() * 1_000 * 2 / 3;
        let now_us = self.world.chronicle().now_us();
        self.asked.front().is_some_and(|asked| now_us - asked.at_us > patience_us)
    }

    fn ask(&mut self, op: Op) -> Bytes {
        let request = requests::to_wire(&op);
        let xid = if matches!(op, Op::SetWatches { .. }) {
            xid::SET_WATCHES
        } else {
            self.last_xid += 1;
            self.last_xid
        };
        let id = self.load.next_id.fetch_add(1, Relaxed) + 1;
        let at_us = self.world.chronicle().now_us();
        let session = self.session_id().0;
        let process = self.name.clone();
        self.world.chronicle().saw(Event::Invoke { at_us, process, id, session, op: op.clone() });
        self.asked.push_back(Asked { xid, code: request.op(), id, op, at_us });
        let mut out = BytesMut::new();
        request.encode(xid, &mut out);
        out.freeze()
    }

    fn hear(&mut self, frame: Bytes) -> After {
        let xid = (&frame[..]).get_i32();
        if xid == xid::NOTIFICATION {
            self.hear_event(frame);
            return After::GoOn;
        }
        let asked = self.asked.pop_front().expect("a server answers what it was asked");
        assert_eq!(asked.xid, xid, "{}: answers come in order", self.name);
        let (header, response) = Response::decode(asked.code, frame).expect("a server's answers can be read");
        self.hear_reply(asked, header, response)
    }

    fn hear_reply(&mut self, asked: Asked, header: ReplyHeader, response: Response) -> After {
        let at_us = self.world.chronicle().now_us();
        self.seen = self.seen.max(header.zxid);
        let (ok, error) = match requests::of_wire(response) {
            Ok(answer) => (Some(answer), None),
            Err(refusal) => (None, Some(refusal)),
        };
        let done = ok.is_some();
        let not_there = error.as_ref().is_some_and(|refusal| refusal.code == "NoNode");
        let (process, zxid) = (self.name.clone(), Some(header.zxid.0));
        self.world.chronicle().saw(Event::Return {
            at_us,
            process,
            id: asked.id,
            zxid,
            ok,
            error,
            unknown: None,
        });
        if done && is_write(&asked.op) {
            self.load.acknowledged_us.lock()[self.number] = at_us;
        }
        match asked.op {
            Op::Exists { path, watch: true } if not_there => drop(self.wanted.insert((Watched::Exist, path))),
            Op::Exists { path, watch: true } | Op::GetData { path, watch: true } if done => {
                self.wanted.insert((Watched::Data, path));
            }
            Op::GetChildren { path, watch: true } if done => drop(self.wanted.insert((Watched::Child, path))),
            Op::AddWatch { path, recursive } if done => {
                let how = if recursive { Watched::Recursive } else { Watched::Persistent };
                self.wanted.insert((how, path));
            }
            Op::RemoveWatches { path } if done => self.wanted.retain(|(_, watched)| *watched != path),
            Op::Close {} => return After::Closed,
            _ => {}
        }
        After::GoOn
    }

    fn hear_event(&mut self, frame: Bytes) {
        let zxid = i64::from_be_bytes(frame[4..12].try_into().expect("eight bytes"));
        let event =
            WatcherEvent::decode(frame.slice(REPLY_HEADER_BYTES..)).expect("a server's events can be read");
        let kind = requests::kind(event.kind).expect("a server tells of nodes");
        let path = event.path.as_ref().to_owned();
        self.seen = self.seen.max(Zxid(zxid));
        let once: &[Watched] = match kind {
            EventKind::NodeChildrenChanged => &[Watched::Child],
            EventKind::NodeDeleted => &[Watched::Data, Watched::Exist, Watched::Child],
            _ => &[Watched::Data, Watched::Exist],
        };
        for how in once {
            self.wanted.remove(&(*how, path.clone()));
        }
        let (at_us, process, session) =
            (self.world.chronicle().now_us(), self.name.clone(), self.session_id().0);
        self.world.chronicle().saw(Event::Watch { at_us, process, session, kind, path, zxid: Some(zxid) });
    }

    fn set_watches(&self) -> Op {
        let of = |how| {
            self.wanted.iter().filter(move |(of, _)| *of == how).map(|(_, path)| path.clone()).collect()
        };
        Op::SetWatches {
            relative_zxid: self.seen.0,
            data: of(Watched::Data),
            exist: of(Watched::Exist),
            child: of(Watched::Child),
            persistent: of(Watched::Persistent),
            recursive: of(Watched::Recursive),
        }
    }

    /// The connection is gone; the session may live.
    fn lost(&mut self) {
        let at_us = self.world.chronicle().now_us();
        for Asked { id, .. } in std::mem::take(&mut self.asked) {
            let (process, unknown) = (self.name.clone(), Some("connection lost".to_owned()));
            let lost = Event::Return { at_us, process, id, zxid: None, ok: None, error: None, unknown };
            self.world.chronicle().saw(lost);
        }
        self.note_session(SessionState::Suspended, None);
    }

    fn note_session(&self, state: SessionState, member: Option<usize>) {
        let timeout_ms = self.session.as_ref().filter(|_| state == SessionState::Connected);
        self.world.chronicle().saw(Event::Session {
            at_us: self.world.chronicle().now_us(),
            process: self.name.clone(),
            session: self.session_id().0,
            state,
            member: member.map(|member| format!("m{member}")),
            timeout_ms: timeout_ms.and_then(|session| u64::try_from(session.timeout_ms).ok()),
        });
    }

    fn session_id(&self) -> SessionId {
        self.session.as_ref().map_or(SessionId::NONE, |session| session.session_id)
    }
}

/// Requests of one client that may wait for their answers.
const WINDOW: usize = 3;

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

fn is_write(op: &Op) -> bool {
    matches!(op, Op::Create { .. } | Op::Delete { .. } | Op::SetData { .. } | Op::Multi { .. })
}
