//! Where the log meets the clients: hands what was applied to the connections of this process.
//!
//! Promises, per connection: events of a zxid are queued before the reply of the write that caused them and before
//! that state is visible to any read here; results come in the order of the session; a connection whose session was
//! closed, expired or taken up elsewhere is cut at once, as is every connection when this member stops serving or
//! installs a snapshot.
//!
//! Never blocks the apply thread: it takes short locks and queues bytes.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use bytes::BytesMut;
use parking_lot::Mutex;
use tokio::sync::watch;
use zke_consensus::Observer;
use zke_tree::{Applied, Command, Event, LogIndex, State, Term, WatchTable};
use zke_wire::{SessionId, WatcherEvent, Zxid, encode_event};

use crate::audit::Audit;
use crate::connection::{Access, Connection, ConnectionId, Ending, Watches};
use crate::digest_log::DigestLog;
use crate::entrance::Guest;
use crate::pending::Pending;
use crate::quota_log::QuotaLog;
use crate::stats::Stats;

pub struct Hub {
    pub pending: Pending,
    pub watches: Watches,
    local: Mutex<Local>,
    /// Of the apply thread alone; a lock only because the hub is shared.
    apply: Mutex<Apply>,
    /// Connections heard from since the leader was last told; each once, so no more than there are.
    touched: Mutex<Vec<Arc<Connection>>>,
    last_zxid: watch::Sender<Zxid>,
    /// For operators who compare members.
    pub digests: Mutex<DigestLog>,
    quotas: QuotaLog,
    /// Once it is begun, if the configuration asks for it.
    pub audit: OnceLock<Audit>,
    /// Of the last applied entry; 0 before the first that this process saw.
    term: AtomicU64,
    stats: Arc<Stats>,
}

/// The connections of this process.
#[derive(Default)]
struct Local {
    serving: bool,
    /// Without a quorum, for those who asked for it. Never together with `serving`.
    read_only: bool,
    admitted: u64,
    /// Sorted, since they are all cut in this order, and a simulation has to repeat it.
    connections: BTreeMap<ConnectionId, Arc<Connection>>,
    sessions: HashMap<SessionId, ConnectionId>,
}

/// Buffers used again for each entry.
#[derive(Default)]
struct Apply {
    encoded: BytesMut,
    watchers: Vec<Arc<Connection>>,
    to_wake: Vec<Arc<Connection>>,
}

impl Hub {
    pub fn new(stats: Arc<Stats>) -> Self {
        Self {
            pending: Pending::default(),
            watches: Mutex::new(WatchTable::new()),
            local: Mutex::default(),
            apply: Mutex::default(),
            touched: Mutex::default(),
            last_zxid: watch::Sender::default(),
            digests: Mutex::default(),
            quotas: QuotaLog::default(),
            audit: OnceLock::new(),
            term: AtomicU64::new(0),
            stats,
        }
    }

    /// Takes a new connection in; `None` while this member does not serve such. `may_read_only`: the client is content
    /// with reads where there is no quorum.
    pub fn admit(&self, guest: &Guest, may_read_only: bool) -> Option<Arc<Connection>> {
        let mut local = self.local.lock();
        if !(local.serving || local.read_only && may_read_only) {
            return None;
        }
        local.admitted += 1;
        let id = ConnectionId(local.admitted);
        let mode = if local.serving { Access::Full } else { Access::ReadOnly };
        let connection = Arc::new(Connection::new(id, guest, mode, Arc::clone(&self.stats)));
        local.connections.insert(id, Arc::clone(&connection));
        Some(connection)
    }

    /// Forgets a connection whose socket is gone, and its watches. The session lives on.
    pub fn forget(&self, connection: &Connection) {
        // First of all, so that it arms no watch after they were removed.
        connection.end(Ending::Cut);
        let session = connection.session();
        let mut local = self.local.lock();
        local.connections.remove(&connection.id());
        if local.sessions.get(&session) == Some(&connection.id()) {
            local.sessions.remove(&session);
        }
        drop(local);
        self.watches.lock().remove_watcher(connection.id());
    }

    /// Cuts the connection that speaks for `session` here, if there is one and it did not end the session itself.
    pub fn cut_session(&self, session: SessionId) {
        let mut local = self.local.lock();
        let connection = local.sessions.remove(&session).and_then(|id| local.connections.get(&id).cloned());
        drop(local);
        if let Some(connection) = connection {
            connection.lose_session();
        }
    }

    /// Begins to take connections in, or takes no more and cuts all there are.
    pub fn serve(&self, serving: bool) {
        let was_read_only = {
            let mut local = self.local.lock();
            local.serving = serving;
            std::mem::take(&mut local.read_only)
        };
        // Who was content with reads comes back, and may write.
        if !serving || was_read_only {
            self.cut_all();
        }
    }

    /// Begins to take in those who are content with reads. Ends with the next [`serve`](Self::serve).
    pub fn serve_read_only(&self) {
        let mut local = self.local.lock();
        if !local.serving {
            local.read_only = true;
            tracing::warn!("no quorum: serving reads to clients that ask for it");
        }
    }

    pub fn is_read_only(&self) -> bool {
        self.local.lock().read_only
    }

    /// Whether anybody is let in.
    pub fn is_open(&self) -> bool {
        let local = self.local.lock();
        local.serving || local.read_only
    }

    pub fn is_serving(&self) -> bool {
        self.local.lock().serving
    }

    /// All connections at this moment, attached or not, the oldest first.
    pub fn connections(&self) -> Vec<Arc<Connection>> {
        self.local.lock().connections.values().cloned().collect()
    }

    pub fn connection_count(&self) -> usize {
        self.local.lock().connections.len()
    }

    /// Tells how far this member's state is, after each entry.
    pub fn last_zxid(&self) -> watch::Receiver<Zxid> {
        self.last_zxid.subscribe()
    }

    /// `state` is what this member knows now; the caller holds its lock.
    pub fn reached(&self, state: &State) {
        self.last_zxid.send_replace(state.last_zxid());
    }

    /// Notes that the client of `connection` was heard from.
    pub fn touch(&self, connection: &Arc<Connection>) {
        if connection.touch() {
            self.touched.lock().push(Arc::clone(connection));
        }
    }

    /// Takes no connection in any more; those there are answer what they have read, then close.
    pub fn drain(&self) {
        {
            let mut local = self.local.lock();
            (local.serving, local.read_only) = (false, false);
        }
        for connection in self.connections() {
            connection.stop_reading();
        }
    }

    pub fn cut_all(&self) {
        for connection in self.connections() {
            connection.end(Ending::Cut);
        }
    }

    /// Makes `connection` the one that speaks for `session` here.
    fn speak_for(&self, session: SessionId, connection: &Arc<Connection>) {
        let mut local = self.local.lock();
        if !local.connections.contains_key(&connection.id()) {
            return;
        }
        let before = local.sessions.insert(session, connection.id());
        let before = before.and_then(|id| local.connections.get(&id).cloned());
        drop(local);
        if let Some(before) = before {
            before.lose_session();
        }
    }

    /// An entry of another term than the one before means that a leader was elected in between.
    fn note_election(&self, state: &State) {
        let (_, Term(term)) = state.applied();
        let before = self.term.swap(term, Relaxed);
        if before != 0 && before != term {
            self.stats.elections.add(1);
        }
    }

    fn deliver(&self, event: &Event) {
        let mut apply = self.apply.lock();
        let Apply { encoded, watchers, to_wake } = &mut *apply;
        let ids = self.watches.lock().trigger(event);
        self.stats.record_watches(event.kind, ids.len());
        self.stats.watch_bytes.add((ids.len() * event.path.len()) as u64);
        if ids.is_empty() {
            return;
        }
        let local = self.local.lock();
        watchers.extend(ids.iter().filter_map(|id| local.connections.get(id).cloned()));
        drop(local);
        encoded.clear();
        let watcher_event = WatcherEvent { kind: event.kind, path: Arc::clone(&event.path) };
        encode_event(event.zxid, &watcher_event, encoded);
        to_wake.extend(watchers.drain(..).filter(|watcher| watcher.deliver(event, encoded)));
    }

    /// A command of this process was applied.
    fn complete(&self, connection: Arc<Connection>, state: &State, applied: &Applied<'_>) {
        if connection.is_attached() {
            if connection.complete(applied, state, &self.watches) {
                self.apply.lock().to_wake.push(connection);
            }
            return;
        }
        match (connection.complete_attach(&applied.result, applied.zxid), applied.command, &applied.result) {
            (Some(session), ..) => self.speak_for(session, &connection),
            // It was taken up for a connection that is gone: the one before it may not go on all the same.
            (None, Command::AttachSession { session, .. }, Ok(_)) => self.cut_session(*session),
            (None, ..) => {}
        }
    }
}

impl Observer for Hub {
    fn applied(&self, state: &State, applied: &Applied<'_>, own: bool) {
        self.stats.commits.add(1);
        if DigestLog::wants(applied.zxid) {
            self.digests.lock().note(state, applied.zxid);
        }
        for event in applied.events {
            self.deliver(event);
        }
        if own {
            self.quotas.note(applied.over_quota, &self.stats);
        }
        let waiting = if own { self.pending.take(applied.sequence) } else { None };
        let ended = match (applied.command, &applied.result) {
            (Command::CloseSession { session, .. }, Ok(_)) => Some(*session),
            // Taken up through another member.
            (Command::AttachSession { session, .. }, Ok(_)) if waiting.is_none() => Some(*session),
            _ => None,
        };
        if let Some(audit) = self.audit.get() {
            if let Some(connection) = &waiting {
                audit.client(applied, connection.peer().ip());
            }
            if let (true, Some(session)) = (own, ended) {
                audit.session_closed(session, applied);
            }
        }
        // Before the session's end: its own connection still gets the answer that it is closed.
        if let Some(connection) = waiting {
            self.complete(connection, state, applied);
        }
        if let Some(session) = ended {
            self.cut_session(session);
        }
    }

    fn entry_done(&self, state: &State, _: LogIndex) {
        for connection in self.apply.lock().to_wake.drain(..) {
            connection.wake_writer();
        }
        self.note_election(state);
        self.reached(state);
    }

    fn replaced(&self, state: &State) {
        let zxid = format_args!("{:#x}", state.last_zxid().0);
        tracing::info!(%zxid, "installed a snapshot of another member, and cut all clients");
        self.cut_all();
        self.pending.clear();
        self.reached(state);
    }

    fn drain_touched(&self, out: &mut Vec<SessionId>) {
        out.extend(self.touched.lock().drain(..).filter_map(|connection| connection.take_touch()));
    }
}
