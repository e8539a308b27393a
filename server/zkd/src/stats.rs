//! What is counted while clients are served: for the four-letter words, the admin commands and `/metrics`.
//!
//! Counters are relaxed atomics: each is right by itself, two read together may be of slightly different moments.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Counters of one process, since its start.
#[derive(Debug)]
pub struct Stats {
    started: Instant,
    /// Frames of clients, connect requests included.
    pub received: Counter,
    /// Replies and watch events.
    pub sent: Counter,
    pub bytes_received: Counter,
    pub bytes_sent: Counter,
    /// Read from a socket and not yet answered.
    pub outstanding: Gauge,
    /// Connect requests, of new sessions and of old ones.
    pub connection_requests: Counter,
    /// Connections that a limit turned away, and those that came while this member did not serve.
    pub connections_rejected: Counter,
    /// Connections that this server closed without being asked to.
    pub connections_dropped: Counter,
    pub auth_failures: Counter,
    pub reads: Latency,
    pub writes: Latency,
}

/// Starts now.
impl Default for Stats {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            received: Counter::default(),
            sent: Counter::default(),
            bytes_received: Counter::default(),
            bytes_sent: Counter::default(),
            outstanding: Gauge::default(),
            connection_requests: Counter::default(),
            connections_rejected: Counter::default(),
            connections_dropped: Counter::default(),
            auth_failures: Counter::default(),
            reads: Latency::default(),
            writes: Latency::default(),
        }
    }
}

impl Stats {
    pub fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// Of reads and writes together, as ZooKeeper reports it.
    pub fn latency(&self) -> LatencySummary {
        self.reads.summary().merge(self.writes.summary())
    }
}

/// Only ever rises.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Rises and falls; what was taken was added before.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    pub fn sub(&self, n: u64) {
        self.0.fetch_sub(n, Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Upper bounds of the latency buckets in microseconds: from a read out of memory to a write that waited for an
/// election.
pub const LATENCY_BUCKETS_US: [u64; 14] =
    [50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000, 5_000_000];

/// How long requests took from their last byte to their answer.
#[derive(Debug)]
pub struct Latency {
    /// One more than there are bounds: the last is for what exceeds them all.
    buckets: [AtomicU64; LATENCY_BUCKETS_US.len() + 1],
    sum_us: AtomicU64,
    min_us: AtomicU64,
    max_us: AtomicU64,
}

impl Default for Latency {
    fn default() -> Self {
        Self {
            buckets: Default::default(),
            sum_us: AtomicU64::new(0),
            min_us: AtomicU64::new(u64::MAX),
            max_us: AtomicU64::new(0),
        }
    }
}

impl Latency {
    pub fn record(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = LATENCY_BUCKETS_US.partition_point(|bound| *bound < us);
        self.buckets[bucket].fetch_add(1, Relaxed);
        self.sum_us.fetch_add(us, Relaxed);
        // Most requests are neither: a load is cheaper than an exchange that other cores have to see.
        if us < self.min_us.load(Relaxed) {
            self.min_us.fetch_min(us, Relaxed);
        }
        if us > self.max_us.load(Relaxed) {
            self.max_us.fetch_max(us, Relaxed);
        }
    }

    pub fn summary(&self) -> LatencySummary {
        LatencySummary {
            count: self.buckets.iter().map(|bucket| bucket.load(Relaxed)).sum(),
            sum_us: self.sum_us.load(Relaxed),
            min_us: self.min_us.load(Relaxed),
            max_us: self.max_us.load(Relaxed),
        }
    }

    /// How many requests took at most each of [`LATENCY_BUCKETS_US`].
    pub fn cumulative(&self) -> impl Iterator<Item = (u64, u64)> {
        LATENCY_BUCKETS_US.iter().zip(&self.buckets).scan(0, |below, (bound, bucket)| {
            *below += bucket.load(Relaxed);
            Some((*bound, *below))
        })
    }
}

/// A moment's reading of a [`Latency`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LatencySummary {
    pub count: u64,
    pub sum_us: u64,
    /// `u64::MAX` as long as nothing is counted.
    min_us: u64,
    max_us: u64,
}

impl LatencySummary {
    pub fn min_ms(&self) -> u64 {
        if self.count == 0 { 0 } else { self.min_us / 1_000 }
    }

    pub fn max_ms(&self) -> u64 {
        self.max_us / 1_000
    }

    pub fn avg_ms(&self) -> f64 {
        if self.count == 0 { 0.0 } else { self.sum_us as f64 / self.count as f64 / 1_000.0 }
    }

    fn merge(self, other: Self) -> Self {
        Self {
            count: self.count + other.count,
            sum_us: self.sum_us + other.sum_us,
            min_us: self.min_us.min(other.min_us),
            max_us: self.max_us.max(other.max_us),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_of_reads_and_writes_are_summed_up() {
        let stats = Stats::default();
        assert_eq!(
            (stats.latency().min_ms(), stats.latency().avg_ms(), stats.latency().max_ms()),
            (0, 0.0, 0)
        );
        stats.reads.record(Duration::from_millis(2));
        stats.writes.record(Duration::from_millis(7));
        let latency = stats.latency();
        assert_eq!((latency.min_ms(), latency.avg_ms(), latency.max_ms(), latency.count), (2, 4.5, 7, 2));
    }

    #[test]
    fn buckets_hold_their_bound_and_sum_up() {
        let latency = Latency::default();
        for us in [50, 51, 100, 6_000_000] {
            latency.record(Duration::from_micros(us));
        }
        let cumulative: Vec<_> = latency.cumulative().collect();
        assert_eq!(cumulative[..3], [(50, 1), (100, 3), (250, 3)]);
        assert_eq!(cumulative.last(), Some(&(5_000_000, 3)));
        assert_eq!(latency.summary().count, 4);
    }
}
