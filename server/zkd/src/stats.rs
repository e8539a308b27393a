//! What is counted while clients are served: for the four-letter words, the admin commands and `/metrics`.
//!
//! Counters are relaxed atomics: each is right by itself, two read together may be of slightly different moments.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use zke_storage::Flushes;
use zke_wire::EventKind;

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
    pub outstanding_bytes: Gauge,
    /// Of answers and events that have not gone into a socket yet.
    pub unwritten_bytes: Gauge,
    /// Connect requests, of new sessions and of old ones.
    pub connection_requests: Counter,
    /// Connections that a limit turned away, and those that came while this member did not serve.
    pub connections_rejected: Counter,
    /// Connections that this server closed without being asked to.
    pub connections_dropped: Counter,
    /// Sessions that were taken up again.
    pub revalidations: Counter,
    pub auth_failures: Counter,
    /// Commands applied here, whoever asked.
    pub commits: Counter,
    /// Times that the first entry of a new leader was applied here.
    pub elections: Counter,
    /// Writes of clients here that a hard quota refused, ...
    pub quota_refused: Counter,
    /// ... and those that were done although a limit says otherwise.
    pub quota_exceeded: Counter,
    /// Bytes of the paths in watch events.
    pub watch_bytes: Counter,
    /// How many watches each event of a kind set off.
    pub created_watches: Amounts,
    pub deleted_watches: Amounts,
    pub changed_watches: Amounts,
    pub children_watches: Amounts,
    /// Bytes of each reply or event.
    pub response_bytes: Amounts,
    /// Each time that this member did not serve clients for a while, in ms.
    pub unavailable_ms: Amounts,
    /// Of the disk that holds the log, once it is open.
    pub flushes: OnceLock<Arc<Flushes>>,
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
            outstanding_bytes: Gauge::default(),
            unwritten_bytes: Gauge::default(),
            connection_requests: Counter::default(),
            connections_rejected: Counter::default(),
            connections_dropped: Counter::default(),
            revalidations: Counter::default(),
            auth_failures: Counter::default(),
            commits: Counter::default(),
            elections: Counter::default(),
            quota_refused: Counter::default(),
            quota_exceeded: Counter::default(),
            watch_bytes: Counter::default(),
            created_watches: Amounts::default(),
            deleted_watches: Amounts::default(),
            changed_watches: Amounts::default(),
            children_watches: Amounts::default(),
            response_bytes: Amounts::default(),
            unavailable_ms: Amounts::default(),
            flushes: OnceLock::new(),
            reads: Latency::default(),
            writes: Latency::default(),
        }
    }
}

impl Stats {
    pub fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// What it was at `moment`: with the time that an answer took, no second look at the clock is needed for it.
    pub fn uptime_at(&self, moment: Instant) -> Duration {
        moment.duration_since(self.started)
    }

    /// Of reads and writes together since the last reset, as ZooKeeper reports it.
    pub fn latency(&self) -> LatencySummary {
        self.reads.since_reset().merge(self.writes.since_reset())
    }

    /// How many watches an event set off. The kinds that are not counted are made by clients alone.
    pub fn record_watches(&self, kind: EventKind, watches: usize) {
        let amounts = match kind {
            EventKind::NodeCreated => &self.created_watches,
            EventKind::NodeDeleted => &self.deleted_watches,
            EventKind::NodeDataChanged => &self.changed_watches,
            EventKind::NodeChildrenChanged => &self.children_watches,
            _ => return,
        };
        amounts.record(watches as u64);
    }

    /// What ZooKeeper's `srst` sets back: packets, latencies and sizes of responses. All else only ever rises.
    pub fn reset(&self) {
        self.received.reset();
        self.sent.reset();
        self.reads.reset();
        self.writes.reset();
        self.response_bytes.reset();
    }
}

/// Only ever rises, but for those that operators may set back.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn reset(&self) {
        self.0.store(0, Relaxed);
    }

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

/// How many there were of something, and how much: count, sum, smallest, largest and last.
#[derive(Debug)]
pub struct Amounts {
    count: AtomicU64,
    sum: AtomicU64,
    min: AtomicU64,
    max: AtomicU64,
    last: AtomicU64,
}

impl Default for Amounts {
    fn default() -> Self {
        Self {
            count: AtomicU64::new(0),
            sum: AtomicU64::new(0),
            min: AtomicU64::new(u64::MAX),
            max: AtomicU64::new(0),
            last: AtomicU64::new(0),
        }
    }
}

impl Amounts {
    pub fn record(&self, amount: u64) {
        self.count.fetch_add(1, Relaxed);
        self.sum.fetch_add(amount, Relaxed);
        self.last.store(amount, Relaxed);
        lower(&self.min, amount);
        raise(&self.max, amount);
    }

    /// `None` as long as nothing is recorded.
    pub fn read(&self) -> Option<AmountsRead> {
        let count = self.count.load(Relaxed);
        (count > 0).then(|| AmountsRead {
            count,
            sum: self.sum.load(Relaxed),
            min: self.min.load(Relaxed),
            max: self.max.load(Relaxed),
            last: self.last.load(Relaxed),
        })
    }

    pub fn reset(&self) {
        self.count.store(0, Relaxed);
        self.sum.store(0, Relaxed);
        self.min.store(u64::MAX, Relaxed);
        self.max.store(0, Relaxed);
    }
}

/// A moment's reading of [`Amounts`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AmountsRead {
    pub count: u64,
    pub sum: u64,
    pub min: u64,
    pub max: u64,
    pub last: u64,
}

/// Most values are neither the least nor the most: a load is cheaper than an exchange that other cores have to see.
fn lower(least: &AtomicU64, value: u64) {
    if value < least.load(Relaxed) {
        least.fetch_min(value, Relaxed);
    }
}

fn raise(most: &AtomicU64, value: u64) {
    if value > most.load(Relaxed) {
        most.fetch_max(value, Relaxed);
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
    /// Since the last reset; of the sums, what they were then.
    reset: Reset,
}

#[derive(Debug)]
struct Reset {
    count: AtomicU64,
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
            reset: Reset {
                count: AtomicU64::new(0),
                sum_us: AtomicU64::new(0),
                min_us: AtomicU64::new(u64::MAX),
                max_us: AtomicU64::new(0),
            },
        }
    }
}

impl Latency {
    pub fn record(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = LATENCY_BUCKETS_US.partition_point(|bound| *bound < us);
        self.buckets[bucket].fetch_add(1, Relaxed);
        self.sum_us.fetch_add(us, Relaxed);
        lower(&self.min_us, us);
        raise(&self.max_us, us);
        lower(&self.reset.min_us, us);
        raise(&self.reset.max_us, us);
    }

    /// Since the start.
    pub fn summary(&self) -> LatencySummary {
        LatencySummary {
            count: self.buckets.iter().map(|bucket| bucket.load(Relaxed)).sum(),
            sum_us: self.sum_us.load(Relaxed),
            min_us: self.min_us.load(Relaxed),
            max_us: self.max_us.load(Relaxed),
        }
    }

    pub fn since_reset(&self) -> LatencySummary {
        let whole = self.summary();
        LatencySummary {
            count: whole.count.saturating_sub(self.reset.count.load(Relaxed)),
            sum_us: whole.sum_us.saturating_sub(self.reset.sum_us.load(Relaxed)),
            min_us: self.reset.min_us.load(Relaxed),
            max_us: self.reset.max_us.load(Relaxed),
        }
    }

    fn reset(&self) {
        let whole = self.summary();
        self.reset.count.store(whole.count, Relaxed);
        self.reset.sum_us.store(whole.sum_us, Relaxed);
        self.reset.min_us.store(u64::MAX, Relaxed);
        self.reset.max_us.store(0, Relaxed);
    }

    /// The time in ms within which this part of all requests was answered, as near as the buckets tell: between two
    /// bounds a straight line is drawn, and nothing is above the longest.
    pub fn quantile_ms(&self, part: f64) -> f64 {
        let whole = self.summary();
        let rank = part * whole.count as f64;
        let (mut below_us, mut below) = (0, 0);
        for (bound_us, count) in self.cumulative() {
            if count > below && count as f64 >= rank {
                let within = (rank - below as f64) / (count - below) as f64;
                let bound_us = bound_us.min(whole.max_us).max(below_us);
                return (below_us as f64 + within * (bound_us - below_us) as f64) / 1e3;
            }
            (below_us, below) = (bound_us, count);
        }
        whole.max_us as f64 / 1e3
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
        if self.count == 0 || self.min_us == u64::MAX { 0 } else { self.min_us / 1_000 }
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
    fn a_reset_sets_back_what_zookeeper_s_does_and_nothing_else() {
        let stats = Stats::default();
        stats.reads.record(Duration::from_millis(20));
        stats.received.add(3);
        stats.bytes_received.add(100);
        stats.reset();
        let latency = stats.latency();
        assert_eq!((latency.count, latency.min_ms(), latency.max_ms()), (0, 0, 0));
        stats.reads.record(Duration::from_millis(4));
        let latency = stats.latency();
        assert_eq!((latency.min_ms(), latency.avg_ms(), latency.max_ms()), (4, 4.0, 4));
        assert_eq!((stats.received.get(), stats.bytes_received.get()), (0, 100));
        let whole = stats.reads.summary();
        assert_eq!((whole.count, whole.min_ms(), whole.max_ms()), (2, 4, 20));
    }

    #[test]
    fn quantiles_lie_between_the_bounds_of_their_buckets() {
        let latency = Latency::default();
        assert_eq!(latency.quantile_ms(0.5), 0.0);
        (0..90).for_each(|_| latency.record(Duration::from_micros(80)));
        (0..10).for_each(|_| latency.record(Duration::from_millis(30)));
        assert!((0.05..=0.1).contains(&latency.quantile_ms(0.5)));
        assert!((25.0..=30.0).contains(&latency.quantile_ms(0.95)));
        assert_eq!(latency.quantile_ms(1.0), 30.0);
    }

    #[test]
    fn amounts_are_summed_up() {
        let amounts = Amounts::default();
        assert_eq!(amounts.read(), None);
        [5, 2, 9].into_iter().for_each(|amount| amounts.record(amount));
        assert_eq!(amounts.read(), Some(AmountsRead { count: 3, sum: 16, min: 2, max: 9, last: 9 }));
        amounts.reset();
        assert_eq!(amounts.read(), None);
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
