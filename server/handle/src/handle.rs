//! One client handle and what it sees.

use std::collections::{BTreeSet, VecDeque};

use bytes::Bytes;
use zke_check::event::{Event, EventKind, Op, SessionState};
use zke_wire::{ConnectRequest, ConnectResponse, ErrorCode, Response, SessionId, WatcherEvent, Zxid};

use crate::requests;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Watched {
    Data,
    Exist,
    Child,
    Persistent,
    Recursive,
}

/// All times are microseconds of the clock that the history's processes share.
pub struct Handle {
    name: String,
    session: Option<ConnectResponse>,
    /// The largest zxid seen on this session.
    seen: Zxid,
    /// In the order in which they were asked; as many as the caller lets wait.
    asked: VecDeque<Asked>,
    /// What the client still waits to be told.
    wanted: BTreeSet<(Watched, String)>,
}

struct Asked {
    id: u64,
    op: Op,
    at_us: u64,
}

/// What a reply says, besides the event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// A write was done, which was asked for at that time.
    Acknowledged {
        asked_us: u64,
    },
    /// The session was closed by its client: no session is left.
    Closed,
    Other,
}

impl Handle {
    pub fn new(name: String) -> Handle {
        Handle { name, session: None, seen: Zxid(0), asked: VecDeque::new(), wanted: BTreeSet::new() }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn has_session(&self) -> bool {
        self.session.is_some()
    }

    /// Of the session, as negotiated; 0 without one.
    pub fn timeout_ms(&self) -> i32 {
        self.session.as_ref().map_or(0, |session| session.timeout_ms)
    }

    pub fn unanswered(&self) -> usize {
        self.asked.len()
    }

    /// Whether the member has been silent for two thirds of the session's timeout, as client libraries count.
    pub fn is_tired(&self, now_us: u64) -> bool {
        let patience_us = u64::try_from(self.timeout_ms()).unwrap_or_default() * 1_000 * 2 / 3;
        self.asked.front().is_some_and(|asked| now_us.saturating_sub(asked.at_us) > patience_us)
    }

    /// Asks for the session back, or for a new one with this timeout.
    pub fn connect_request(&self, fresh_timeout_ms: i32) -> ConnectRequest {
        let session = self.session.as_ref();
        ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: self.seen,
            timeout_ms: session.map_or(fresh_timeout_ms, |session| session.timeout_ms),
            session_id: session.map_or(SessionId::NONE, |session| session.session_id),
            password: session
                .map_or(Bytes::from_static(&[0; 16]), |session| Bytes::copy_from_slice(&session.password)),
            read_only: Some(false),
        }
    }

    pub fn connected(&mut self, at_us: u64, granted: ConnectResponse, member: String) -> Event {
        let timeout_ms = u64::try_from(granted.timeout_ms).ok();
        self.session = Some(granted);
        self.session_event(at_us, SessionState::Connected, Some(member), timeout_ms)
    }

    /// A member said that the session is over.
    pub fn expired(&mut self, at_us: u64) -> Event {
        let event = self.session_event(at_us, SessionState::Expired, None, None);
        self.forget_session();
        event
    }

    /// To be sent before anything else on a new connection, unless there is nothing to watch.
    pub fn set_watches(&self) -> Option<Op> {
        let of = |how| {
            self.wanted.iter().filter(move |(of, _)| *of == how).map(|(_, path)| path.clone()).collect()
        };
        (!self.wanted.is_empty()).then(|| Op::SetWatches {
            relative_zxid: self.seen.0,
            data: of(Watched::Data),
            exist: of(Watched::Exist),
            child: of(Watched::Child),
            persistent: of(Watched::Persistent),
            recursive: of(Watched::Recursive),
        })
    }

    /// Just before the request leaves.
    pub fn ask(&mut self, at_us: u64, id: u64, op: Op) -> Event {
        self.asked.push_back(Asked { id, op: op.clone(), at_us });
        Event::Invoke { at_us, process: self.name.clone(), id, session: self.session_id().0, op }
    }

    /// The reply to the oldest request that waits for one; `None` if none does.
    pub fn replied(
        &mut self,
        at_us: u64,
        zxid: Zxid,
        result: Result<Response, ErrorCode>,
    ) -> Option<(Event, Heard)> {
        let asked = self.asked.pop_front()?;
        self.seen = self.seen.max(zxid);
        let (ok, error) = match requests::of_wire(result.unwrap_or_else(Response::Error)) {
            Ok(answer) => (Some(answer), None),
            Err(refusal) => (None, Some(refusal)),
        };
        let not_there = error.as_ref().is_some_and(|refusal| refusal.code == "NoNode");
        let heard = self.learn(asked.at_us, asked.op, ok.is_some(), not_there);
        let (process, zxid) = (self.name.clone(), Some(zxid.0));
        Some((Event::Return { at_us, process, id: asked.id, zxid, ok, error, unknown: None }, heard))
    }

    fn learn(&mut self, asked_us: u64, op: Op, done: bool, not_there: bool) -> Heard {
        let acknowledged = done && is_write(&op);
        match op {
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
            Op::Close {} => {
                self.forget_session();
                return Heard::Closed;
            }
            _ => {}
        }
        if acknowledged { Heard::Acknowledged { asked_us } } else { Heard::Other }
    }

    /// A watch's event; `None` if it tells of nothing that happens to nodes.
    pub fn event(&mut self, at_us: u64, zxid: Zxid, event: &WatcherEvent) -> Option<Event> {
        let kind = requests::kind(event.kind)?;
        let path = event.path.as_ref().to_owned();
        self.seen = self.seen.max(zxid);
        let once: &[Watched] = match kind {
            EventKind::NodeChildrenChanged => &[Watched::Child],
            EventKind::NodeDeleted => &[Watched::Data, Watched::Exist, Watched::Child],
            _ => &[Watched::Data, Watched::Exist],
        };
        for how in once {
            self.wanted.remove(&(*how, path.clone()));
        }
        let (process, session) = (self.name.clone(), self.session_id().0);
        Some(Event::Watch { at_us, process, session, kind, path, zxid: Some(zxid.0) })
    }

    /// The connection is gone, and nobody knows what came of the requests; the session may live.
    pub fn lost(&mut self, at_us: u64) -> Vec<Event> {
        let asked = std::mem::take(&mut self.asked);
        let unknown = |Asked { id, .. }| {
            let (process, unknown) = (self.name.clone(), Some("connection lost".to_owned()));
            Event::Return { at_us, process, id, zxid: None, ok: None, error: None, unknown }
        };
        let mut events: Vec<Event> = asked.into_iter().map(unknown).collect();
        events.push(self.session_event(at_us, SessionState::Suspended, None, None));
        events
    }

    fn forget_session(&mut self) {
        self.session = None;
        self.seen = Zxid(0);
        self.wanted.clear();
    }

    fn session_event(
        &self,
        at_us: u64,
        state: SessionState,
        member: Option<String>,
        timeout_ms: Option<u64>,
    ) -> Event {
        let (process, session) = (self.name.clone(), self.session_id().0);
        Event::Session { at_us, process, session, state, member, timeout_ms }
    }

    fn session_id(&self) -> SessionId {
        self.session.as_ref().map_or(SessionId::NONE, |session| session.session_id)
    }
}

fn is_write(op: &Op) -> bool {
    matches!(op, Op::Create { .. } | Op::Delete { .. } | Op::SetData { .. } | Op::Multi { .. })
}
