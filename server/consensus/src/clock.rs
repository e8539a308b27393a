//! Where time enters: one trait, so that a simulation can stand in for the machine's clocks.

use std::time::{SystemTime, UNIX_EPOCH};

use openraft::AsyncRuntime;
pub use openraft::async_runtime::Instant;
use rustix::time::{ClockId, clock_gettime};

pub trait Clock: Send + Sync + 'static {
    /// Milliseconds since some fixed moment, counting the time a suspended machine slept. For leases.
    fn boot_ms(&self) -> u64;
    /// Milliseconds since the Unix epoch, for the times that clients see in a Stat. May jump.
    fn wall_ms(&self) -> i64;
}

/// The machine's own clocks.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn boot_ms(&self) -> u64 {
        let now = clock_gettime(ClockId::Boottime);
        now.tv_sec as u64 * 1_000 + now.tv_nsec as u64 / 1_000_000
    }

    fn wall_ms(&self) -> i64 {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)
    }
}

/// The clock of a runtime with virtual time: both of its readings are the virtual time since `start`.
pub struct RuntimeClock<R: AsyncRuntime> {
    start: R::Instant,
}

impl<R: AsyncRuntime> RuntimeClock<R> {
    pub fn starting_now() -> Self {
        RuntimeClock { start: R::Instant::now() }
    }
}

impl<R: AsyncRuntime> Clock for RuntimeClock<R> {
    fn boot_ms(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn wall_ms(&self) -> i64 {
        i64::try_from(self.start.elapsed().as_millis()).unwrap_or(i64::MAX)
    }
}
