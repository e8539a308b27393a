//! One moment of this server, put together for the four-letter words, the admin commands and `/metrics`.
//!
//! What is long (every client, every watch, every session) is in [`lists`] and asked for apart.

pub mod lists;

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Resource, getrlimit};
use tokio::time::timeout;
use zke_consensus::{MemberStatus, Role};
use zke_wire::Zxid;

use crate::clients::Clients;
use crate::config::Ensemble;

/// The leader proves that it still leads before it says how far the others are. Whoever asks for figures gets the
/// rest of them without, rather than none.
const PROGRESS_TIMEOUT: Duration = Duration::from_millis(200);

/// What is so of a server that serves, at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerView {
    pub mode: Mode,
    pub latency: LatencyMs,
    /// Messages from and to clients since the start, or since they were last set back.
    pub received: u64,
    pub sent: u64,
    /// Connections with a session, or about to get one.
    pub connections: u64,
    /// Read and not answered yet.
    pub outstanding: u64,
    pub uptime_ms: u64,
    pub zxid: Zxid,
    pub node_count: u64,
    pub watch_count: u64,
    pub ephemerals_count: u64,
    /// Bytes of paths and data.
    pub approximate_data_size: u64,
    /// Sessions of the whole ensemble.
    pub global_sessions: u64,
    /// Members with a vote; `None` for a server alone.
    pub quorum_size: Option<u64>,
    pub pending_syncs: u64,
    pub open_files: u64,
    pub max_open_files: u64,
    pub data_dir_bytes: u64,
    pub log_dir_bytes: u64,
}

/// Of requests, from the last byte read to the answer, since the start or the last reset.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LatencyMs {
    pub min: u64,
    pub avg: f64,
    pub max: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Leader(LeaderView),
    Follower,
    Observer,
    Standalone,
    /// Without a quorum, for clients that asked for it.
    ReadOnly,
}

/// What only a leader knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaderView {
    /// Members that follow it, with a vote or without.
    pub learners: u64,
    /// Of those with a vote, how many are up to date.
    pub synced_followers: u64,
    /// Of those without, how many are up to date.
    pub synced_observers: u64,
    /// Since it leads.
    pub uptime_ms: u64,
}

/// One connection of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientView {
    pub address: SocketAddr,
    pub encrypted: bool,
    /// Requests read and not answered yet.
    pub queued: u64,
    pub received: u64,
    pub sent: u64,
    pub session: Option<SessionView>,
}

/// What is known of a connection that has a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionView {
    pub id: i64,
    pub timeout_ms: i32,
    pub activity: crate::activity::Activity,
}

impl Mode {
    /// Tools look for these words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Leader(_) => "leader",
            Self::Follower => "follower",
            Self::Observer => "observer",
            Self::Standalone => "standalone",
            Self::ReadOnly => "read-only",
        }
    }

    /// What a member of an ensemble is doing, in ZooKeeper's words.
    pub fn peer_state(self) -> Option<&'static str> {
        match self {
            Self::Leader(_) => Some("leading - broadcast"),
            Self::Follower => Some("following - broadcast"),
            Self::Observer => Some("observing - broadcast"),
            Self::Standalone | Self::ReadOnly => None,
        }
    }
}

/// What is so at this moment.
pub async fn server(clients: &Clients) -> ServerView {
    let status = clients.ensemble.status();
    let mode = mode(clients, &status).await;
    let alone = matches!(clients.config.ensemble, Ensemble::Standalone);
    let latency = clients.stats.latency();
    let watch_count = clients.hub.watches.lock().watches() as u64;
    // The system may take its time over these: not while the state is locked, which writes wait for.
    let open_files = fs::read_dir("/proc/self/fd").map_or(0, |files| files.count() as u64);
    let data_dir_bytes = dir_bytes(&clients.config.data_dir);
    let log_dir_bytes = dir_bytes(&clients.config.log_dir);
    let state = clients.ensemble.state().read();
    ServerView {
        mode,
        latency: LatencyMs { min: latency.min_ms(), avg: latency.avg_ms(), max: latency.max_ms() },
        received: clients.stats.received.get(),
        sent: clients.stats.sent.get(),
        connections: clients.hub.connection_count() as u64,
        outstanding: clients.stats.outstanding.get(),
        uptime_ms: millis(clients.stats.uptime()),
        zxid: state.last_zxid(),
        node_count: state.node_count() as u64,
        watch_count,
        ephemerals_count: state.ephemerals_count() as u64,
        approximate_data_size: state.approximate_data_size(),
        global_sessions: state.session_count() as u64,
        quorum_size: (!alone).then(|| voters(&status)),
        pending_syncs: clients.barriers.waiting() as u64,
        open_files,
        max_open_files: getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX),
        data_dir_bytes,
        log_dir_bytes,
    }
}

async fn mode(clients: &Clients, status: &MemberStatus) -> Mode {
    if clients.hub.is_read_only() {
        return Mode::ReadOnly;
    }
    if matches!(clients.config.ensemble, Ensemble::Standalone) {
        return Mode::Standalone;
    }
    match status.role {
        Role::Leader => Mode::Leader(leader(clients, status).await),
        Role::Follower | Role::Candidate => Mode::Follower,
        Role::Learner => Mode::Observer,
    }
}

async fn leader(clients: &Clients, status: &MemberStatus) -> LeaderView {
    let progress = match timeout(PROGRESS_TIMEOUT, clients.ensemble.progress()).await {
        Ok(Ok(progress)) => progress,
        _ => Default::default(),
    };
    let own = status.identity.member;
    let in_sync = |votes: bool| {
        let synced = progress.iter().filter(|(id, progress)| {
            let is_voter = status.voter_sets.iter().flatten().any(|voter| voter == *id);
            **id != own && progress.in_sync && is_voter == votes
        });
        synced.count() as u64
    };
    LeaderView {
        learners: status.members.keys().filter(|id| **id != own).count() as u64,
        synced_followers: in_sync(true),
        synced_observers: in_sync(false),
        uptime_ms: millis(clients.leading_for(status.term, Instant::now())),
    }
}

fn voters(status: &MemberStatus) -> u64 {
    let mut ids: Vec<_> = status.voter_sets.iter().flatten().collect();
    ids.sort_unstable();
    ids.dedup();
    ids.len() as u64
}

/// Of the files of one directory; what cannot be read counts as nothing.
pub fn dir_bytes(dir: &Path) -> u64 {
    let Ok(files) = fs::read_dir(dir) else { return 0 };
    files
        .flatten()
        .filter_map(|file| file.metadata().ok())
        .filter(|file| file.is_file())
        .map(|file| file.len())
        .sum()
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
