//! One client's connection as everything but its socket sees it: its session, what it waits for, and the bytes on
//! their way out.
//!
//! Three parties meet here under one lock: the reader task brings requests, the apply thread brings results and watch
//! events, the writer task takes bytes away. Locks are taken in the order state, connection, pending writes or
//! watches; whoever evaluates a read holds the state's lock until the reply is queued. No lock is held across an await.
//!
//! Promises: replies in the order of requests; events of a change before any reply that shows it; nothing is queued
//! once the connection is cut. Never touches the socket.

mod answers;
mod credentials;
mod outbox;

use std::fmt;
use std::mem;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use zke_consensus::{AsyncRuntime, Busy, Ensemble};
use zke_tree::{Command, State, WatchTable, WriteOp};
use zke_wire::{ConnectRequest, ConnectResponse, Response, SessionId, Zxid};

use crate::activity::Activity;
use crate::entrance::Guest;
use crate::fifo::Fifo;
use crate::identity::Identities;
use crate::pending::Pending;
use crate::requests::Read;
use crate::sasl::Exchange;
use crate::stats::{Counter, Stats};

pub use outbox::Outbox;

/// Requests of one connection that may wait for an answer; with more the socket is not read. As many as ZooKeeper
/// allows for a whole server (globalOutstandingLimit), so no client that worked there is slowed down here.
const MAX_OUTSTANDING: usize = 1_000;
/// Nor is it with so many bytes of requests that wait: a thousand messages of jute.maxbuffer would be a gigabyte, for
/// each client, as long as there is no leader. A client that sends the largest ones has four under way.
const OUTSTANDING_MAX_BYTES: usize = 4 << 20;
/// With so many bytes of requests waiting on all connections together, each may have one request. A disk that takes
/// half a gigabyte a second is busy with them for 60 ms, so more would buy nothing but latency.
const ALL_OUTSTANDING_MAX_BYTES: u64 = 32 << 20;
/// With more bytes in the outbox the socket is not read either: a client that does not take its answers gets no further
/// ones. Large enough to fill any link between two wake-ups of the writer.
const OUTBOX_PAUSE_BYTES: usize = 256 << 10;

/// Names a connection within this process; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// What a connection may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    Full,
    /// This member has no quorum: reads alone, and a session that the log knows nothing of.
    ReadOnly,
}

pub struct Connection {
    id: ConnectionId,
    peer: SocketAddr,
    encrypted: bool,
    access: Access,
    stats: Arc<Stats>,
    pub received: Counter,
    pub sent: Counter,
    /// Heard from since the leader was last told.
    touched: AtomicBool,
    inner: Mutex<Inner>,
    /// Wakes the writer: there are bytes, or an end.
    output: Notify,
    /// Wakes the reader, if it waits for something other than its socket.
    progress: Notify,
    cut: CancellationToken,
    stop_reading: CancellationToken,
}

struct Inner {
    ending: Ending,
    /// What the client asked for, until that is answered.
    request: Option<ConnectRequest>,
    session: Option<Attached>,
    identities: Identities,
    sasl: Exchange,
    /// The answer to a change of the ensemble, until the ensemble has changed.
    held: Option<Held>,
    fifo: Fifo<Proposed, Asked>,
    /// Of the requests in `fifo`.
    outstanding_bytes: usize,
    outbox: BytesMut,
    /// In `outbox`, and with the writer, who has not said yet that they have left.
    unwritten_bytes: usize,
    /// The writer was woken, or is about to be, and has not looked yet.
    woken: bool,
    reader_waits: bool,
    activity: Activity,
}

/// How far a connection is from its end; it only ever moves on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ending {
    Open,
    /// Takes no further requests, and ends when those it has are answered. The reader alone begins it, since it may
    /// hold requests that it has read and not yet handed on.
    Draining,
    /// Ends when the bytes that wait are written.
    Flushing,
    /// Over, whatever waits.
    Cut,
}

/// The session this connection speaks for.
#[derive(Debug, Clone, Copy)]
struct Attached {
    id: SessionId,
    epoch: u32,
    timeout_ms: i32,
}

/// A request as it came.
#[derive(Debug, Clone, Copy)]
pub struct Arrival {
    pub xid: i32,
    pub received: Instant,
    /// Of its message.
    pub bytes: usize,
}

#[derive(Debug)]
struct Proposed {
    arrival: Arrival,
    closes: bool,
}

#[derive(Debug)]
struct Asked {
    arrival: Arrival,
    read: Read,
}

#[derive(Debug)]
struct Held {
    xid: i32,
    zxid: Zxid,
    response: Response,
}

/// Why a write was not proposed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blocked {
    /// The ensemble's backlog is full: wait for room, then try again.
    Busy,
    /// The connection takes no more requests.
    Over,
}

impl From<Busy> for Blocked {
    fn from(_: Busy) -> Self {
        Self::Busy
    }
}

impl Connection {
    pub fn new(id: ConnectionId, guest: &Guest, access: Access, stats: Arc<Stats>) -> Self {
        Self {
            id,
            peer: guest.peer,
            encrypted: guest.encrypted,
            access,
            stats,
            received: Counter::default(),
            sent: Counter::default(),
            touched: AtomicBool::new(false),
            inner: Mutex::new(Inner {
                ending: Ending::Open,
                request: None,
                session: None,
                identities: Identities::of(guest.peer.ip()),
                sasl: Exchange::default(),
                held: None,
                fifo: Fifo::default(),
                outstanding_bytes: 0,
                outbox: BytesMut::new(),
                unwritten_bytes: 0,
                woken: false,
                reader_waits: false,
                activity: Activity::begin(),
            }),
            output: Notify::new(),
            progress: Notify::new(),
            cut: CancellationToken::new(),
            stop_reading: CancellationToken::new(),
        }
    }

    pub fn id(&self) -> ConnectionId {
        self.id
    }

    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Whether TLS is spoken.
    pub fn is_encrypted(&self) -> bool {
        self.encrypted
    }

    pub fn is_read_only(&self) -> bool {
        self.access == Access::ReadOnly
    }

    /// [`SessionId::NONE`] before there is one.
    pub fn session(&self) -> SessionId {
        self.inner.lock().session.map_or(SessionId::NONE, |attached| attached.id)
    }

    /// Requests that wait for an answer.
    pub fn outstanding(&self) -> usize {
        self.inner.lock().fifo.len()
    }

    /// What it was last asked, and its session with the timeout, if there is one.
    pub fn activity(&self) -> (Activity, Option<(SessionId, i32)>) {
        let inner = self.inner.lock();
        (inner.activity, inner.session.map(|attached| (attached.id, attached.timeout_ms)))
    }

    /// Sets back what operators may set back.
    pub fn reset_stats(&self) {
        self.received.reset();
        self.sent.reset();
        self.inner.lock().activity.reset();
    }

    /// Moves the connection towards its end, never back.
    pub fn end(&self, ending: Ending) {
        self.inner.lock().end(ending, &self.cut, &self.stats);
        self.output.notify_one();
        self.progress.notify_one();
    }

    /// The session is over or speaks through another connection. If this one asked for that, the answer still leaves.
    pub fn lose_session(&self) {
        let mut inner = self.inner.lock();
        if inner.ending < Ending::Flushing {
            inner.end(Ending::Cut, &self.cut, &self.stats);
        }
    }

    /// Whether it takes further requests.
    pub fn is_open(&self) -> bool {
        self.inner.lock().ending == Ending::Open
    }

    /// Returns once the connection is cut.
    pub async fn cut(&self) {
        self.cut.cancelled().await;
    }

    /// Asks the reader to take nothing more from the socket and to begin draining.
    pub fn stop_reading(&self) {
        self.stop_reading.cancel();
    }

    /// Returns once the reader was asked to stop.
    pub async fn reading_stopped(&self) {
        self.stop_reading.cancelled().await;
    }

    /// Notes that the client was heard from; true if the leader does not know yet.
    pub fn touch(&self) -> bool {
        !self.touched.swap(true, Relaxed)
    }

    /// The session to tell the leader of, if there is one; what is heard from now on is news again.
    pub fn take_touch(&self) -> Option<SessionId> {
        self.touched.store(false, Relaxed);
        if self.is_read_only() {
            // Nobody keeps that session alive from here.
            return None;
        }
        self.inner.lock().session.map(|attached| attached.id)
    }
}

/// For the reader task.
impl Connection {
    /// Proposes to begin or take up the session; [`attached`](Self::attached) tells when that is applied.
    ///
    /// # Errors
    /// [`Busy`] if there is no room.
    pub fn attach<R: AsyncRuntime>(
        self: &Arc<Self>,
        request: ConnectRequest,
        command: Command,
        pending: &Pending,
        ensemble: &Ensemble<R>,
    ) -> Result<(), Busy> {
        let mut inner = self.inner.lock();
        inner.request = Some(request);
        pending.propose(ensemble, self, command)
    }

    /// Begins a session, or goes on with one, for reads alone: the log hears nothing of it.
    pub fn attach_read_only(
        &self,
        request: &ConnectRequest,
        session: SessionId,
        password: [u8; 16],
        timeout_ms: i32,
    ) {
        let mut inner = self.inner.lock();
        inner.session = Some(Attached { id: session, epoch: 0, timeout_ms });
        let read_only = request.read_only.map(|_| true);
        let response = ConnectResponse { timeout_ms, session_id: session, password, read_only };
        self.push(&mut inner, 1, |_, out| response.encode(out));
        drop(inner);
        self.output.notify_one();
    }

    /// Answers the end of a session that the log knows nothing of.
    pub fn close_read_only(&self, arrival: Arrival, state: &State, watches: &Watches) {
        self.read(arrival, Read::Close, state, watches);
        self.end(Ending::Flushing);
    }

    /// Waits until the session is attached (true), or the connection moves towards its end.
    pub async fn attached(&self) -> bool {
        self.until(|inner| match inner.session {
            Some(_) => Some(true),
            None => (inner.ending > Ending::Open).then_some(false),
        })
        .await
    }

    /// Waits until another request may be taken from the socket; false if none will.
    ///
    /// `outstanding_max` is for all connections together. One that waits for no answer may always ask: so each gets on,
    /// and is woken by its own answers.
    pub async fn has_room(&self, outstanding_max: Option<NonZeroU32>) -> bool {
        self.until(|inner| {
            let full = outstanding_max.is_some_and(|max| self.stats.outstanding.get() >= max.get().into())
                || self.stats.outstanding_bytes.get() >= ALL_OUTSTANDING_MAX_BYTES;
            let room = inner.fifo.len() < MAX_OUTSTANDING
                && inner.outstanding_bytes < OUTSTANDING_MAX_BYTES
                && inner.outbox.len() < OUTBOX_PAUSE_BYTES
                && (!full || inner.fifo.is_empty());
            inner.room_or_over(room)
        })
        .await
    }

    /// Waits until a write may be proposed; false if none will.
    pub async fn takes_writes(&self) -> bool {
        self.until(|inner| inner.room_or_over(inner.fifo.takes_writes())).await
    }

    /// Proposes a write, or the end of the session if `op` is `None`.
    ///
    /// # Errors
    /// [`Blocked`]; the request is not queued then.
    pub fn propose<R: AsyncRuntime>(
        self: &Arc<Self>,
        arrival: Arrival,
        op: Option<WriteOp>,
        pending: &Pending,
        ensemble: &Ensemble<R>,
    ) -> Result<(), Blocked> {
        let mut inner = self.inner.lock();
        let Some(Attached { id: session, epoch: attach_epoch, .. }) = inner.session else {
            return Err(Blocked::Over);
        };
        if inner.ending >= Ending::Flushing {
            return Err(Blocked::Over);
        }
        let closes = op.is_none();
        let command = match op {
            Some(op) => Command::Client {
                session,
                attach_epoch,
                identities: inner.identities.as_slice().to_vec(),
                op,
            },
            None => Command::CloseSession { session, attach_epoch },
        };
        pending.propose(ensemble, self, command)?;
        inner.fifo.push_write(Proposed { arrival, closes });
        inner.waits(arrival, &self.stats);
        Ok(())
    }

    /// Waits until the change of the ensemble that was just proposed is applied; the session's timeout if its answer is
    /// held back until [`release`](Self::release), `None` if there is nothing to wait for.
    pub async fn changed_ensemble(&self) -> Option<Duration> {
        self.until(|inner| match (&inner.held, inner.session) {
            (Some(_), Some(session)) => {
                Some(u64::try_from(session.timeout_ms).ok().map(Duration::from_millis))
            }
            _ => (inner.fifo.is_empty() || inner.ending > Ending::Open).then_some(None),
        })
        .await
    }

    /// Lets the answer go that was held back.
    pub fn release(&self) {
        let mut inner = self.inner.lock();
        if let Some(Held { xid, zxid, response }) = inner.held.take() {
            self.push(&mut inner, 1, |_, out| response.encode(xid, zxid, out));
        }
    }

    /// Answers a request from `state`, now or after the session's earlier writes.
    pub fn read(&self, arrival: Arrival, read: Read, state: &State, watches: &Watches) {
        let mut inner = self.inner.lock();
        let asked = Asked { arrival, read };
        if inner.ending >= Ending::Flushing {
            return;
        }
        if inner.fifo.is_empty() {
            self.answer(&mut inner, asked, state, watches);
        } else {
            inner.fifo.push_read(asked);
            inner.waits(arrival, &self.stats);
        }
    }

    /// Queues a sync; returns the number of the read barrier to take for it, if the connection goes on.
    pub fn sync(&self, arrival: Arrival, path: String) -> Option<u64> {
        let mut inner = self.inner.lock();
        if inner.ending >= Ending::Flushing {
            return None;
        }
        inner.waits(arrival, &self.stats);
        Some(inner.fifo.push_sync(Asked { arrival, read: Read::Sync { path } }))
    }

    /// Lets the writer look at what the reader has brought about.
    pub fn wake_writer(&self) {
        self.output.notify_one();
    }

    async fn until<T>(&self, mut found: impl FnMut(&mut Inner) -> Option<T>) -> T {
        loop {
            {
                let mut inner = self.inner.lock();
                if let Some(found) = found(&mut inner) {
                    inner.reader_waits = false;
                    return found;
                }
                inner.reader_waits = true;
            }
            // What the reader waits for may be that bytes leave.
            self.output.notify_one();
            self.progress.notified().await;
        }
    }
}

/// The watches of all connections of this process.
pub type Watches = Mutex<WatchTable<ConnectionId>>;

impl Inner {
    fn end(&mut self, ending: Ending, cut: &CancellationToken, stats: &Stats) {
        self.ending = self.ending.max(ending);
        if self.ending == Ending::Cut {
            stats.outstanding.sub(self.fifo.clear() as u64);
            stats.outstanding_bytes.sub(mem::take(&mut self.outstanding_bytes) as u64);
            self.outbox = BytesMut::new();
            stats.unwritten_bytes.sub(mem::take(&mut self.unwritten_bytes) as u64);
            cut.cancel();
        }
    }

    fn waits(&mut self, arrival: Arrival, stats: &Stats) {
        self.outstanding_bytes += arrival.bytes;
        stats.outstanding.add(1);
        stats.outstanding_bytes.add(arrival.bytes as u64);
    }

    fn waits_no_more(&mut self, arrival: Arrival, stats: &Stats) {
        self.outstanding_bytes -= arrival.bytes;
        stats.outstanding.sub(1);
        stats.outstanding_bytes.sub(arrival.bytes as u64);
    }

    fn room_or_over(&self, room: bool) -> Option<bool> {
        if self.ending > Ending::Open { Some(false) } else { room.then_some(true) }
    }

    /// Wakes a waiting reader; returns whether the writer has to be woken too.
    fn wake(&mut self, progress: &Notify) -> bool {
        if self.reader_waits {
            progress.notify_one();
        }
        !mem::replace(&mut self.woken, true)
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("id", &self.id).field("peer", &self.peer).finish_non_exhaustive()
    }
}
