//! The numbers that consensus runs with, and the openraft configuration made from them.
//!
//! Every field of that configuration which changes behaviour is set here, since its defaults may change under us.

use openraft::{Config, ConfigError, SnapshotPolicy, StepDownPolicy};
use zke_tree::Settings;

use crate::configuration::Configured;

/// A follower that heard nothing for the election timeout asks for votes. Measured with the hint that a closed
/// connection gives: a new leader commits 211 ms (median of 40) after the old one was killed.
pub const HEARTBEAT_INTERVAL_MS: u64 = 50;
pub const ELECTION_TIMEOUT_MS_MIN: u64 = 150;
/// Also the leader's lease: no other member can be elected for this long after a quorum acknowledged the leader.
/// The range is narrow because openraft waits for the lease *plus* a random timeout of the range.
pub const ELECTION_TIMEOUT_MS_MAX: u64 = 200;

/// What a daemon may choose.
#[derive(Clone, Debug)]
pub struct Options {
    /// The smallest session timeout that this ensemble grants; the serving lease is a third of it.
    pub session_timeout_ms_min: u64,
    /// How often the leader looks for containers and TTL nodes that are due to go, in milliseconds.
    pub container_check_interval_ms: u64,
    /// A snapshot is taken after so many applied entries. ZooKeeper's snapCount is of the same size.
    pub snapshot_entries: u64,
    /// Or after so many bytes of the log, since an entry may hold one small write or hundreds of large ones. In whole
    /// segments. Half of it is kept behind a snapshot, at most.
    pub snapshot_log_bytes: u64,
    /// Entries kept behind a snapshot, so that a member that was away for a moment needs no snapshot.
    pub keep_entries: u64,
    /// Let clients in as soon as there is a leader: for an ensemble without an operator to decide it.
    pub serve_at_once: bool,
    /// What this member stamps on entries while it leads.
    pub settings: Settings,
    pub configured: Configured,
    /// Up to which apply level this member goes; the ensemble takes up what all of them can.
    pub newest_apply_level: u32,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            session_timeout_ms_min: 4_000,
            // As ZooKeeper.
            container_check_interval_ms: 60_000,
            snapshot_entries: 100_000,
            // Read back at a start within seconds, and small on the volumes that people give to such a service.
            snapshot_log_bytes: 1 << 30,
            keep_entries: 20_000,
            serve_at_once: false,
            settings: Settings::default(),
            configured: Configured::Nowhere,
            newest_apply_level: zke_tree::newest_apply_level(),
        }
    }
}

impl Options {
    #[allow(deprecated, reason = "send_snapshot_timeout still has to be given a value")]
    pub(crate) fn raft_config(&self) -> Result<Config, ConfigError> {
        let config = Config {
            cluster_name: "zkensemble".to_owned(),
            election_timeout_min: ELECTION_TIMEOUT_MS_MIN,
            election_timeout_max: ELECTION_TIMEOUT_MS_MAX,
            heartbeat_interval: HEARTBEAT_INTERVAL_MS,
            heartbeat_min_interval: None,
            // Not looked at: a transfer ends when nothing moves any more, however long it takes.
            install_snapshot_timeout: 600_000,
            send_snapshot_timeout: 0,
            // Replication is cut by bytes in the log reader; these bound the number of entries, each a batch.
            max_payload_entries: 4_096,
            max_append_entries: Some(4_096),
            replication_lag_threshold: self.keep_entries,
            snapshot_policy: SnapshotPolicy::LogsSinceLast(self.snapshot_entries),
            max_in_snapshot_log_to_keep: self.keep_entries,
            // Segments are freed whole; small steps would only cost writes.
            purge_batch_size: 1_024,
            api_channel_size: Some(4_096),
            api_batch_capacity: 4_096,
            // Batching comes from the fdatasync under way; waiting on top would only add to a lone write's time.
            api_batch_linger_ms: 0,
            notification_channel_size: Some(65_536),
            state_machine_channel_size: Some(1_024),
            // Long enough for the others to learn that the change is committed.
            removed_leader_step_down: StepDownPolicy::After(ELECTION_TIMEOUT_MS_MIN),
            enable_tick: true,
            enable_heartbeat: true,
            enable_elect: true,
            // A leader that can send but not receive would otherwise stay for ever.
            quorum_loss_probe_interval: Some(400),
            enable_pre_vote: Some(true),
            reset_backoff_on_transfer_leader: Some(true),
            // A log that went back has lost what it acknowledged: never go on with it.
            allow_log_reversion: Some(false),
            // Seen to go wrong: a leader restarted with its whole ensemble went on in its old term, and its read
            // barrier answered index 1 after 201 acknowledged writes, 15 runs of 15.
            enable_leader_restore: Some(false),
            ..Config::default()
        };
        config.validate()
    }
}
