//! Notices a disk that hangs under a leader.
//!
//! The others commit without the leader's own disk, so nothing would end the term: but this member could not save a
//! vote any more, and nobody knows whether its disk ever comes back. So it hands leadership to the most advanced
//! voter, and if no other leader appears it asks the process to end. A follower's slow disk moves nobody.
//!
//! [`FlushWatch`] is pure. Time is its own and advances by at most two steps a look: a process that was stopped and
//! goes on does not find its disk hung.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use openraft::AsyncRuntime;

use crate::ensemble::Inner;

/// How often the disk is looked at, in milliseconds: a tenth of what is tolerated.
const LOOK_INTERVAL_MS: u64 = 100;
/// A leader tolerates a flush of this length, in milliseconds. Ordinary disks stall for some hundred under load.
const HANG_MS_MAX: u64 = 1_000;
/// How long another leader may take to appear, in milliseconds: ten elections.
const SUCCESSOR_WAIT_MS: u64 = 2_000;

/// Counts what the log was given and what of it is on disk. Shared with the log's thread.
#[derive(Debug, Default)]
pub(crate) struct Flushes {
    begun: AtomicU64,
    ended: AtomicU64,
}

impl Flushes {
    /// Called before the log gets an operation.
    pub(crate) fn begin(&self) {
        self.begun.fetch_add(1, Ordering::Relaxed);
    }

    /// Called when that operation is durable, or failed.
    pub(crate) fn end(&self) {
        self.ended.fetch_add(1, Ordering::Relaxed);
    }

    /// How many operations have ended, if one is under way.
    fn under_way(&self) -> Option<u64> {
        // In this order: one that begins and ends in between looks idle, never hung.
        let ended = self.ended.load(Ordering::Relaxed);
        (self.begun.load(Ordering::Relaxed) > ended).then_some(ended)
    }
}

/// Whether the log waits for space on its volume.
pub(crate) type IsFull = Box<dyn Fn() -> bool + Send + Sync>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Advice {
    GoOn,
    HandOver,
    End,
}

#[derive(Debug, Default)]
struct FlushWatch {
    ended: Option<u64>,
    hung_ms: u64,
}

impl FlushWatch {
    /// One look, `elapsed_ms` after the one before. `under_way` is [`Flushes::under_way`]; `full` says that the disk
    /// waits for space, which another process would wait for too: so that never ends this one.
    fn look(&mut self, elapsed_ms: u64, under_way: Option<u64>, leads: bool, full: bool) -> Advice {
        if under_way.is_none() || under_way != self.ended || !leads {
            *self = FlushWatch { ended: under_way, hung_ms: 0 };
            return Advice::GoOn;
        }
        let before_ms = self.hung_ms;
        self.hung_ms += elapsed_ms.min(2 * LOOK_INTERVAL_MS);
        if full {
            self.hung_ms = self.hung_ms.min(HANG_MS_MAX + 1);
        }
        if self.hung_ms > HANG_MS_MAX + SUCCESSOR_WAIT_MS {
            Advice::End
        } else if before_ms <= HANG_MS_MAX && self.hung_ms > HANG_MS_MAX {
            Advice::HandOver
        } else {
            Advice::GoOn
        }
    }
}

impl<R: AsyncRuntime> Inner<R> {
    /// Runs for the life of the process.
    pub(crate) async fn run_flush_watch(self: Arc<Self>, flushes: Arc<Flushes>, is_full: IsFull) {
        let mut was_full = false;
        let mut watch = FlushWatch::default();
        let mut before_ms = self.clock.boot_ms();
        while !self.is_stopping() {
            R::sleep(Duration::from_millis(LOOK_INTERVAL_MS)).await;
            let now_ms = self.clock.boot_ms();
            let elapsed_ms = now_ms.saturating_sub(before_ms);
            before_ms = now_ms;
            let full = is_full();
            if full != was_full {
                was_full = full;
                say_full(full);
            }
            match watch.look(elapsed_ms, flushes.under_way(), self.raft.is_leader(), full) {
                Advice::GoOn => {}
                Advice::HandOver => self.leave_hung_disk().await,
                Advice::End => {
                    self.hung.notify_one();
                    return;
                }
            }
        }
    }

    /// Asks the most advanced voter to take over. Whether it does is seen at the next looks.
    async fn leave_hung_disk(&self) {
        let me = self.member.id().0;
        let matched = self.matched();
        let others = self.raft.voter_ids().filter(|id| *id != me);
        let Some(to) = others.max_by_key(|id| matched.get(id).copied()) else {
            tracing::error!("the disk does not finish a flush, and no other voter could lead");
            return;
        };
        tracing::error!("the disk does not finish a flush: handing leadership over");
        let raft = self.raft.trigger();
        let asked = R::timeout(Duration::from_millis(LOOK_INTERVAL_MS), raft.transfer_leader(to));
        if !matches!(asked.await, Ok(Ok(()))) {
            tracing::warn!("Raft does not take the request to hand leadership over");
        }
    }
}

fn say_full(full: bool) {
    if full {
        tracing::error!(
            "the volume of the log is full: this member waits for space; enlarge the volume or free some of it"
        );
    } else {
        tracing::info!("the volume of the log has space again");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The advice of looks 100 ms apart, as (milliseconds, advice), without those that say to go on.
    fn advice(looks: impl Iterator<Item = (Option<u64>, bool)>) -> Vec<(u64, Advice)> {
        let mut watch = FlushWatch::default();
        let advised = looks.enumerate().map(|(at, (under_way, leads))| {
            (at as u64 * LOOK_INTERVAL_MS, watch.look(LOOK_INTERVAL_MS, under_way, leads, false))
        });
        advised.filter(|(_, advice)| *advice != Advice::GoOn).collect()
    }

    #[test]
    fn a_hung_leader_hands_over_once_and_then_ends() {
        let hung = advice((0..=31).map(|_| (Some(7), true)));
        assert_eq!(hung, [(1_100, Advice::HandOver), (3_100, Advice::End)]);
    }

    #[test]
    fn a_follower_waits_for_its_disk() {
        assert_eq!(advice((0..100).map(|_| (Some(7), false))), []);
    }

    #[test]
    fn a_successor_ends_the_watch() {
        let replaced = advice((0..100).map(|look| (Some(7), look < 15)));
        assert_eq!(replaced, [(1_100, Advice::HandOver)]);
    }

    #[test]
    fn a_slow_disk_that_finishes_something_is_not_hung() {
        assert_eq!(advice((0..100).map(|look| (Some(look / 10), true))), []);
        assert_eq!(advice((0..100).map(|look| ((look % 10 != 0).then_some(7), true))), []);
    }

    #[test]
    fn a_process_that_slept_does_not_blame_its_disk() {
        let mut watch = FlushWatch::default();
        assert_eq!(watch.look(100, Some(7), true, false), Advice::GoOn);
        assert_eq!(watch.look(60_000, Some(7), true, false), Advice::GoOn);
    }

    #[test]
    fn a_leader_on_a_full_volume_hands_over_and_never_ends() {
        let mut watch = FlushWatch::default();
        let looks = (0..100).map(|_| watch.look(LOOK_INTERVAL_MS, Some(7), true, true));
        let advised: Vec<_> = looks.filter(|advice| *advice != Advice::GoOn).collect();
        assert_eq!(advised, [Advice::HandOver]);
    }

    #[test]
    fn what_has_ended_is_not_under_way() {
        let flushes = Flushes::default();
        assert_eq!(flushes.under_way(), None);
        flushes.begin();
        flushes.begin();
        assert_eq!(flushes.under_way(), Some(0));
        flushes.end();
        assert_eq!(flushes.under_way(), Some(1));
        flushes.end();
        assert_eq!(flushes.under_way(), None);
    }
}
