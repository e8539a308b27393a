//! Keeps the log's bytes in bounds, whatever its entries weigh.
//!
//! Raft counts entries, for when to take a snapshot and for what to keep behind it; but an entry may be one small write or a
//! batch of hundreds, so that the same number of them may take a megabyte or many gigabytes. So segments are counted too, and
//! compared with what is left of the volume, so that it is not the log that makes room scarce.
//!
//! Never decides what may go: Raft purges no entry that its newest snapshot does not hold.

use std::sync::Arc;
use std::time::Duration;

use openraft::AsyncRuntime;
use openraft::async_runtime::watch::WatchReceiver;
use zke_storage::{Disk, LogReader};

use crate::ensemble::Inner;

/// A fast disk fills a segment in about as long.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// How many segments the log has where.
pub(crate) struct LogSize {
    limits: Limits,
    segments_behind: Box<dyn Fn(u64) -> u32 + Send + Sync>,
    last_before: Box<dyn Fn(u64, u32) -> Option<u64> + Send + Sync>,
}

impl LogSize {
    pub(crate) fn new<D: Disk>(log: LogReader<D>, segment_bytes: u64, bytes_max: u64) -> LogSize {
        let reader = log.clone();
        LogSize {
            limits: Limits::of(segment_bytes, bytes_max),
            segments_behind: Box::new(move |index| log.segments_behind(index)),
            last_before: Box::new(move |index, segments| reader.last_before(index, segments)),
        }
    }

    /// Whether so much was written behind the newest snapshot, which holds the entry at this index as its last, that
    /// another one is due.
    fn is_due(&self, snapshot: Option<u64>, available_bytes: u64) -> bool {
        self.limits.ask_for_snapshot((self.segments_behind)(snapshot.unwrap_or(0)), available_bytes)
    }

    /// Up to which entry the log goes on too far back behind its newest snapshot.
    fn excess(&self, snapshot: Option<u64>) -> Option<u64> {
        (self.last_before)(snapshot?, self.limits.segments_max / 2)
    }
}

#[derive(Clone, Copy, Debug)]
struct Limits {
    segment_bytes: u64,
    /// Behind the newest snapshot; half of it is kept before it.
    segments_max: u32,
}

impl Limits {
    fn of(segment_bytes: u64, bytes_max: u64) -> Limits {
        // The one that is being written is not whole.
        let segments_max = u32::try_from(bytes_max / segment_bytes).unwrap_or(u32::MAX).max(1);
        Limits { segment_bytes, segments_max }
    }

    /// On a small volume before the log takes a third of what it and the snapshots may share; never before a whole segment
    /// was written, so that a volume that others fill has no snapshot taken all the time.
    fn ask_for_snapshot(self, segments_behind: u32, available_bytes: u64) -> bool {
        let bytes_behind = u64::from(segments_behind) * self.segment_bytes;
        // Where there is nothing left, or nobody has looked yet, a snapshot is no help.
        let takes_too_much = available_bytes > 0 && bytes_behind >= available_bytes / 2;
        segments_behind >= self.segments_max || (segments_behind >= 1 && takes_too_much)
    }
}

impl<R: AsyncRuntime> Inner<R> {
    /// Runs for the life of the process.
    pub(crate) async fn run_log_size(self: Arc<Self>, log: LogSize) {
        // A snapshot takes longer than a look does; one of the same state is not asked for twice.
        let mut asked = None;
        while !self.is_stopping() {
            let snapshot = self.raft.metrics().borrow_watched().snapshot.map(|snapshot| snapshot.index);
            let raft = self.raft.trigger();
            let mut outcome = Ok(());
            if let Some(upto) = log.excess(snapshot) {
                outcome = raft.purge_log(upto).await;
            }
            if log.is_due(snapshot, self.space.available_bytes()) && asked != Some(snapshot) {
                asked = Some(snapshot);
                tracing::info!("the log has grown: taking a snapshot");
                outcome = outcome.and(raft.snapshot().await);
            }
            if outcome.is_err() {
                // Whoever waits for failures of Raft ends the process.
                return;
            }
            R::sleep(LOOK_INTERVAL).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn a_snapshot_is_due_by_the_log_s_bytes_and_by_what_is_left_of_the_volume() {
        let limits = Limits::of(64 * MIB, 1 << 30);
        for (segments_behind, available_mib, due) in [
            (15, 100_000, false),
            (16, 100_000, true),
            (0, 1, false),
            (3, 0, false),
            (1, 128, true),
            (1, 129, false),
            (4, 500, true),
            (4, 520, false),
        ] {
            let asked = limits.ask_for_snapshot(segments_behind, available_mib * MIB);
            assert_eq!(asked, due, "{segments_behind} segments, {available_mib} MiB left");
        }
    }

    #[test]
    fn a_limit_below_a_segment_is_one_segment_and_none_is_none() {
        assert_eq!(Limits::of(64 * MIB, 1).segments_max, 1);
        assert!(!Limits::of(64 * MIB, u64::MAX).ask_for_snapshot(1_000_000, u64::MAX));
    }
}
