//! How long flushes took, for whoever watches the disk.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Of one real disk, since it was opened. Counters are relaxed: two read together may be of different moments.
#[derive(Debug)]
pub struct Flushes {
    count: AtomicU64,
    sum_us: AtomicU64,
    min_us: AtomicU64,
    max_us: AtomicU64,
}

/// A moment's reading of [`Flushes`]; all 0 as long as there were none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlushTimes {
    pub count: u64,
    pub sum_us: u64,
    pub min_us: u64,
    pub max_us: u64,
}

impl Default for Flushes {
    fn default() -> Self {
        Self {
            count: AtomicU64::new(0),
            sum_us: AtomicU64::new(0),
            min_us: AtomicU64::new(u64::MAX),
            max_us: AtomicU64::new(0),
        }
    }
}

impl Flushes {
    pub(super) fn record(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.count.fetch_add(1, Relaxed);
        self.sum_us.fetch_add(us, Relaxed);
        self.min_us.fetch_min(us, Relaxed);
        self.max_us.fetch_max(us, Relaxed);
    }

    pub fn read(&self) -> FlushTimes {
        let count = self.count.load(Relaxed);
        let min_us = if count == 0 { 0 } else { self.min_us.load(Relaxed) };
        FlushTimes { count, sum_us: self.sum_us.load(Relaxed), min_us, max_us: self.max_us.load(Relaxed) }
    }
}
