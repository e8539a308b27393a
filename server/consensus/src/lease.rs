//! The serving lease: for how long a member may serve its clients without hearing from the leader.
//!
//! It starts at the member's own clock when it *sent* the request that the leader's answer echoes, so no clock of two
//! machines is ever compared. It lasts a third of the smallest session timeout; the leader adds the same length to
//! every session's timeout before it expires one. Between the two, no client is served by a member while the
//! leader has already let its session go.
//!
//! Pure: the member's clock (CLOCK_BOOTTIME, so that a suspended machine counts the time it slept) comes in.

use std::sync::atomic::{AtomicU64, Ordering};

/// A third of the smallest session timeout that the ensemble grants, in milliseconds.
pub fn lease_ms(session_timeout_ms_min: u64) -> u64 {
    session_timeout_ms_min / 3
}

/// How often a member asks: three requests may be lost before the lease ends. At most 200 ms, since these
/// requests also carry the news of which sessions were heard from.
pub fn renew_interval_ms(lease_ms: u64) -> u64 {
    (lease_ms / 4).clamp(10, 200)
}

/// Asked before every read, by many threads.
#[derive(Debug, Default)]
pub struct ServingLease {
    /// On the member's clock; 0 before the first grant. It only rises, and nothing else hangs on its order.
    until_ms: AtomicU64,
}

impl ServingLease {
    /// A grant for the request that was sent at `sent_ms`. Older answers never shorten a lease.
    pub fn granted(&self, sent_ms: u64, lease_ms: u64) {
        self.until_ms.fetch_max(sent_ms + lease_ms, Ordering::Relaxed);
    }

    pub fn holds(&self, now_ms: u64) -> bool {
        now_ms < self.until_ms.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_counts_from_when_its_request_was_sent() {
        let lease = ServingLease::default();
        assert!(!lease.holds(0));
        lease.granted(1_000, 300);
        assert!(lease.holds(1_299) && !lease.holds(1_300));
        lease.granted(900, 300);
        assert!(lease.holds(1_299));
    }
}
