//! One moment of this server, put together for the four-letter words, the admin commands and `/metrics`.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::{Resource, getrlimit};
use tokio::time::timeout;
use zke_consensus::{MemberStatus, Role};

use crate::clients::Clients;
use crate::config::Ensemble;
use crate::four_letter::{ClientView, LatencyMs, LeaderView, Mode, ServerView};

/// The leader proves that it still leads before it says how far the others are. Whoever asks for figures gets the
/// rest of them without, rather than none.
const PROGRESS_TIMEOUT: Duration = Duration::from_millis(200);

/// What is so at this moment.
pub async fn server(clients: &Clients) -> ServerView {
    let status = clients.ensemble.status();
    let mode = mode(clients, &status).await;
    let alone = matches!(clients.config.ensemble, Ensemble::Standalone);
    let latency = clients.stats.latency();
    let connections = clients.hub.connections();
    let watch_count = clients.hub.watches.lock().watches() as u64;
    let state = clients.ensemble.state().read();
    ServerView {
        mode,
        latency: LatencyMs { min: latency.min_ms(), avg: latency.avg_ms(), max: latency.max_ms() },
        received: clients.stats.received.get(),
        sent: clients.stats.sent.get(),
        outstanding: clients.stats.outstanding.get(),
        uptime_ms: millis(clients.stats.uptime()),
        zxid: state.last_zxid(),
        node_count: state.node_count() as u64,
        watch_count,
        ephemerals_count: state.ephemerals_count() as u64,
        approximate_data_size: state.approximate_data_size(),
        global_sessions: state.session_count() as u64,
        quorum_size: (!alone).then(|| voters(&status)),
        open_files: fs::read_dir("/proc/self/fd").map_or(0, |files| files.count() as u64),
        max_open_files: getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX),
        data_dir_bytes: dir_bytes(&clients.config.data_dir),
        log_dir_bytes: dir_bytes(&clients.config.log_dir),
        clients: connections
            .iter()
            .map(|connection| ClientView {
                address: connection.peer(),
                queued: connection.outstanding() as u64,
                received: connection.received.get(),
                sent: connection.sent.get(),
            })
            .collect(),
    }
}

async fn mode(clients: &Clients, status: &MemberStatus) -> Mode {
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
        proposals: None,
    }
}

fn voters(status: &MemberStatus) -> u64 {
    let mut ids: Vec<_> = status.voter_sets.iter().flatten().collect();
    ids.sort_unstable();
    ids.dedup();
    ids.len() as u64
}

/// Of the files of one directory; what cannot be read counts as nothing.
fn dir_bytes(dir: &Path) -> u64 {
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
