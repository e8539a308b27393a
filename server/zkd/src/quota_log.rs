//! Tells of writes that went over a quota, on the member where the client is.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use zke_tree::OverQuota;

use crate::stats::Stats;

/// A client that ignores a soft quota does so with each write; one line in this time is enough to find it. All are
/// counted.
const INTERVAL: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub struct QuotaLog {
    last_line: Mutex<Option<Instant>>,
}

impl QuotaLog {
    /// Notes what one applied command of this process went over. Cheap if that is nothing.
    pub fn note(&self, over_quota: &[OverQuota], stats: &Stats) {
        for OverQuota { path, measure, usage, limit, refused } in over_quota {
            let counter = if *refused { &stats.quota_refused } else { &stats.quota_exceeded };
            counter.add(1);
            if self.may_tell() {
                // Debug escapes whatever the path holds.
                tracing::warn!(?path, ?measure, usage, limit, refused, "quota exceeded");
            }
        }
    }

    fn may_tell(&self) -> bool {
        let now = Instant::now();
        let mut last_line = self.last_line.lock();
        let may = last_line.is_none_or(|last| now - last >= INTERVAL);
        if may {
            *last_line = Some(now);
        }
        may
    }
}
