//! The flushes of a log on a simulated disk, which take virtual time while that disk is slow.
//!
//! What a slow flush writes comes to the disk when its time is over, and only then does anybody hear that it is durable.
//! If the power goes off before, any beginning of it is on the disk, perhaps all, and nobody was told.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use openraft_rt_sim::SimRuntime;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use zke_consensus::AsyncRuntime;
use zke_storage::disk::Fault;
use zke_storage::{Flush, Pace, SimDisk};

/// A flush is a write, a sync and a mark, or these twice and a new segment between: the power goes off in one of the first
/// changes, or behind them.
const CHANGES_MAX: u64 = 5;

/// Of one machine's disk.
#[derive(Clone)]
pub struct Flushes {
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    random: StdRng,
    takes_ms: Option<Range<u64>>,
    under_way: Option<Flush>,
    /// How many were slow, to tell the one under way from those before it.
    begun: u64,
}

impl Flushes {
    pub fn of_disk(seed: u64) -> Flushes {
        let random = StdRng::seed_from_u64(seed);
        let inner = Inner { random, takes_ms: None, under_way: None, begun: 0 };
        Flushes { inner: Arc::new(Mutex::new(inner)) }
    }

    /// How long each that begins from now on takes; `None` for no time.
    pub fn set_time_ms(&self, takes_ms: Option<Range<u64>>) {
        self.inner.lock().takes_ms = takes_ms;
    }

    /// For the log of a process on this disk.
    pub fn pace(&self) -> Pace {
        let flushes = self.clone();
        Arc::new(move |flush| match flushes.time() {
            Some(time) => flushes.begin(flush, time),
            None => flush(),
        })
    }

    fn time(&self) -> Option<Duration> {
        let mut inner = self.inner.lock();
        let takes_ms = inner.takes_ms.clone()?;
        Some(Duration::from_millis(inner.random.random_range(takes_ms)))
    }

    fn begin(&self, flush: Flush, time: Duration) {
        let number = {
            let mut inner = self.inner.lock();
            inner.under_way = Some(flush);
            inner.begun += 1;
            inner.begun
        };
        let flushes = self.clone();
        SimRuntime::spawn(async move {
            SimRuntime::sleep(time).await;
            if let Some(flush) = flushes.take(|inner| inner.begun == number) {
                flush();
            }
        });
    }

    /// The process ends and its machine goes on: the kernel writes what it was given, and nothing behind it.
    pub fn end(&self) {
        if let Some(flush) = self.take(|_| true) {
            flush();
        }
        drop(self.take(|_| true));
    }

    /// The machine loses its power at some change of `disk` that the flush under way makes.
    pub fn lose_power(&self, disk: &SimDisk) {
        let changes = self.inner.lock().random.random_range(0..CHANGES_MAX);
        if let Some(flush) = self.take(|_| true) {
            disk.inject(disk.operations() + changes, Fault::PowerLoss);
            flush();
        }
        drop(self.take(|_| true));
    }

    /// Out of the lock, since a flush that ends begins the next one.
    fn take(&self, if_so: impl FnOnce(&Inner) -> bool) -> Option<Flush> {
        let mut inner = self.inner.lock();
        if if_so(&inner) { inner.under_way.take() } else { None }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

    use zke_storage::log::{LogDriver, LogOptions};
    use zke_storage::{Entry, Log, LogId, LogInline, Payload};

    use super::*;

    fn options() -> LogOptions {
        LogOptions { segment_bytes: 4096, ..LogOptions::new(zke_tree::MemberId(1)) }
    }

    fn entry(index: u64) -> Entry {
        Entry { id: LogId { term: 1, index }, payload: Payload::Proposal(vec![b'x'; 700].into()) }
    }

    /// Gives two entries to a log whose flushes take a second each; returns its disk, its flushes, and for each entry
    /// whether it was reported.
    fn give_two(seed: u64) -> (SimDisk, Flushes, [Arc<AtomicBool>; 2]) {
        let (disk, flushes) = (SimDisk::new(seed), Flushes::of_disk(seed));
        let (log, _) = Log::open(disk.clone(), options()).expect("a blank disk");
        let driver = LogInline::paced(log, flushes.pace());
        flushes.set_time_ms(Some(1_000..1_001));
        let told = [Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false))];
        for (index, told) in (0..).zip(told.clone()) {
            let report = move |result: Result<(), _>| told.store(result.is_ok(), Relaxed);
            driver.append(vec![entry(index)], Box::new(report));
        }
        assert_eq!(driver.reader().last(), Some(LogId { term: 1, index: 1 }), "visible at once");
        (disk, flushes, told)
    }

    fn entries(disk: SimDisk) -> u64 {
        let (_, recovered) = Log::open(disk, LogOptions { must_exist: true, ..options() }).expect("a start");
        recovered.last.map_or(0, |last| last.index + 1)
    }

    #[test]
    fn what_waits_for_a_slow_flush_goes_into_the_next() {
        SimRuntime::with_seed(1).block_on(async {
            let (_, _flushes, told) = give_two(1);
            let told = || told.each_ref().map(|told| told.load(Relaxed));
            SimRuntime::sleep(Duration::from_millis(999)).await;
            assert_eq!(told(), [false, false]);
            SimRuntime::sleep(Duration::from_millis(2)).await;
            assert_eq!(told(), [true, false]);
            SimRuntime::sleep(Duration::from_secs(1)).await;
            assert_eq!(told(), [true, true]);
        });
    }

    #[test]
    fn a_power_loss_leaves_any_beginning_of_a_slow_flush() {
        let found: Vec<u64> = (0..40)
            .map(|seed| {
                SimRuntime::with_seed(seed).block_on(async move {
                    let (disk, flushes, _) = give_two(seed);
                    SimRuntime::sleep(Duration::from_millis(500)).await;
                    flushes.lose_power(&disk);
                    entries(disk.crash())
                })
            })
            .collect();
        for expected in 0..=1 {
            assert!(found.iter().filter(|found| **found == expected).count() > 5, "{found:?}");
        }
        assert!(found.iter().all(|found| *found <= 1), "the second entry was behind the flush: {found:?}");
    }

    #[test]
    fn what_the_kernel_has_outlives_a_process() {
        SimRuntime::with_seed(1).block_on(async {
            let (disk, flushes, _) = give_two(1);
            flushes.end();
            assert_eq!(entries(disk.kill()), 1);
        });
    }
}
