//! The long answers: every client, every watch, every session. To be made in turn (see [`crate::turns`]).
//!
//! Each is cut at [`MAX_ENTRIES`], so that no lock which writes need is held for longer than it takes to copy those.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{ClientView, SessionView};
use crate::clients::Clients;
use crate::connection::ConnectionId;

/// Some ten milliseconds of copying, and some megabytes of text. Who has more needs a sum, not a list.
pub const MAX_ENTRIES: usize = 100_000;

/// A list, and how many entries there would be without the cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed<T> {
    pub entries: T,
    pub total: usize,
}

impl<T> Listed<T> {
    /// What to say below a list that was cut.
    pub fn cut(&self) -> Option<String> {
        (self.total > MAX_ENTRIES).then(|| format!("cut: the first {MAX_ENTRIES} of {}", self.total))
    }
}

/// Every connection, by address.
pub fn clients(clients: &Clients) -> Vec<ClientView> {
    let mut views: Vec<ClientView> = clients
        .hub
        .connections()
        .iter()
        .map(|connection| {
            let (activity, session) = connection.activity();
            ClientView {
                address: connection.peer(),
                encrypted: connection.is_encrypted(),
                queued: connection.outstanding() as u64,
                received: connection.received.get(),
                sent: connection.sent.get(),
                session: session.map(|(id, timeout_ms)| SessionView { id: id.0, timeout_ms, activity }),
            }
        })
        .collect();
    views.sort_unstable_by_key(|client| client.address);
    views
}

/// What ZooKeeper's `wchs` sums up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WatchSummary {
    pub connections: usize,
    pub paths: usize,
    pub watches: usize,
}

/// Sessions that watch here, each with what it watches.
pub fn watches_by_session(clients: &Clients) -> Listed<BTreeMap<i64, Vec<Arc<str>>>> {
    let (pairs, total) = watches(clients);
    let mut entries: BTreeMap<i64, Vec<Arc<str>>> = BTreeMap::new();
    for (session, path) in pairs {
        entries.entry(session).or_default().push(path);
    }
    Listed { entries, total }
}

/// The other way round.
pub fn watches_by_path(clients: &Clients) -> Listed<BTreeMap<Arc<str>, Vec<i64>>> {
    let (pairs, total) = watches(clients);
    let mut entries: BTreeMap<Arc<str>, Vec<i64>> = BTreeMap::new();
    for (session, path) in pairs {
        entries.entry(path).or_default().push(session);
    }
    Listed { entries, total }
}

pub fn watch_summary(clients: &Clients) -> WatchSummary {
    let watches = clients.hub.watches.lock();
    let (connections, paths) = (watches.node_watchers(), watches.node_paths());
    WatchSummary { connections, paths, watches: watches.node_watch_count() }
}

/// Pairs of session and path in order, each once.
fn watches(clients: &Clients) -> (Vec<(i64, Arc<str>)>, usize) {
    let (pairs, total) = {
        let watches = clients.hub.watches.lock();
        let pairs =
            watches.node_watches().take(MAX_ENTRIES).map(|(watcher, path)| (watcher, Arc::clone(path)));
        (pairs.collect::<Vec<(ConnectionId, Arc<str>)>>(), watches.node_watch_count())
    };
    let sessions: BTreeMap<u64, i64> = clients
        .hub
        .connections()
        .iter()
        .map(|connection| (connection.id().0, connection.session().0))
        .collect();
    // One that ended meanwhile has no name any more.
    let named = pairs.into_iter().filter_map(|(watcher, path)| Some((*sessions.get(&watcher.0)?, path)));
    let mut named: Vec<_> = named.collect();
    named.sort_unstable();
    named.dedup();
    (named, total)
}

/// The sessions of the ensemble, and the ephemerals of those that have some.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sessions {
    /// With their timeouts in ms.
    pub timeouts: Listed<Vec<(i64, i32)>>,
    pub ephemerals: Listed<BTreeMap<i64, Vec<String>>>,
}

pub fn sessions(clients: &Clients) -> Sessions {
    let state = clients.ensemble.state().read();
    let timeouts = state.sessions().take(MAX_ENTRIES).map(|session| (session.id.0, session.timeout_ms));
    let timeouts = Listed { entries: timeouts.collect(), total: state.session_count() };
    let mut entries = BTreeMap::new();
    let mut left = MAX_ENTRIES;
    for session in state.sessions() {
        if left == 0 {
            break;
        }
        let mut paths: Vec<String> = state.ephemerals_of(session.id).take(left).collect();
        left -= paths.len();
        paths.sort_unstable();
        if !paths.is_empty() {
            entries.insert(session.id.0, paths);
        }
    }
    Sessions { timeouts, ephemerals: Listed { entries, total: state.ephemerals_count() } }
}
