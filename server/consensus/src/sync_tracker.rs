//! Which members are in sync, as the operator means it: matched the leader's commit index of 500 ms ago, for 5 s.
//!
//! A member that merely catches up once does not count, and neither does one that falls behind under load. Pure.

use std::collections::BTreeMap;

/// How far apart the samples are, in milliseconds.
pub const SAMPLE_INTERVAL_MS: u64 = 500;
/// Samples in a row that a member must have kept up for: 5 s.
const SAMPLES_IN_SYNC: u32 = 10;

#[derive(Debug, Default)]
pub struct SyncTracker {
    commit_index_before: Option<u64>,
    kept_up: BTreeMap<u64, u32>,
}

impl SyncTracker {
    /// Takes one sample; called by the leader every [`SAMPLE_INTERVAL_MS`].
    pub fn sample(&mut self, commit_index: u64, matched: &BTreeMap<u64, u64>) {
        let Some(before) = self.commit_index_before.replace(commit_index) else { return };
        let kept_up = matched.iter().map(|(member, matched)| {
            let samples = self.kept_up.get(member).copied().unwrap_or(0);
            (*member, if *matched >= before { samples.saturating_add(1) } else { 0 })
        });
        self.kept_up = kept_up.collect();
    }

    /// Whether it had at the last sample what was committed at the one before.
    pub fn keeps_up(&self, member: u64) -> bool {
        self.kept_up.get(&member).is_some_and(|samples| *samples > 0)
    }

    pub fn in_sync(&self, member: u64) -> bool {
        self.kept_up.get(&member).is_some_and(|samples| *samples >= SAMPLES_IN_SYNC)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_seconds_of_keeping_up_and_one_miss_starts_over() {
        let mut tracker = SyncTracker::default();
        for sample in 0..=10 {
            assert!(!tracker.in_sync(2), "after {sample} samples");
            tracker.sample(100, &BTreeMap::from([(2, 100)]));
        }
        assert!(tracker.in_sync(2));
        tracker.sample(500, &BTreeMap::from([(2, 100)]));
        assert!(tracker.in_sync(2));
        tracker.sample(500, &BTreeMap::from([(2, 499)]));
        assert!(!tracker.in_sync(2));
    }
}
