//! The arithmetic: the longest time between two acknowledged writes of one session.
//!
//! A gap counts if it ends after the mark, so the one that the fault falls into counts whole, from the write before
//! it. Whoever is not acknowledged any more has a gap up to the end.

use std::time::{Duration, Instant};

#[derive(Debug, Default)]
pub struct Gap {
    last: Option<Instant>,
    is_marked: bool,
    longest: Duration,
}

impl Gap {
    /// A write was acknowledged.
    pub fn acknowledged(&mut self, now: Instant) {
        if self.is_marked {
            self.longest = self.longest.max(self.open(now));
        }
        self.last = Some(now);
    }

    /// Gaps that end later count. Without a write before, the first begins here.
    pub fn mark(&mut self, now: Instant) {
        self.is_marked = true;
        self.last.get_or_insert(now);
    }

    /// The longest gap that counts, when nothing comes any more.
    pub fn longest(&self, end: Instant) -> Duration {
        self.longest.max(self.open(end))
    }

    pub fn last(&self) -> Option<Instant> {
        self.last
    }

    fn open(&self, now: Instant) -> Duration {
        self.last.map_or(Duration::ZERO, |last| now.saturating_duration_since(last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn the_gap_of_the_fault_counts_from_the_write_before_it() {
        let begin = Instant::now();
        let mut gap = Gap::default();
        gap.acknowledged(begin);
        // Long, and before the fault.
        gap.acknowledged(begin + ms(900));
        gap.mark(begin + ms(910));
        gap.acknowledged(begin + ms(1_100));
        gap.acknowledged(begin + ms(1_110));
        assert_eq!(gap.longest(begin + ms(1_120)), ms(200));
    }

    #[test]
    fn the_longest_of_several_counts() {
        let begin = Instant::now();
        let mut gap = Gap::default();
        gap.acknowledged(begin);
        gap.mark(begin);
        for at in [10, 60, 65, 95] {
            gap.acknowledged(begin + ms(at));
        }
        assert_eq!(gap.longest(begin + ms(96)), ms(50));
    }

    #[test]
    fn who_is_never_acknowledged_again_has_a_gap_up_to_the_end() {
        let begin = Instant::now();
        let mut gap = Gap::default();
        gap.acknowledged(begin);
        gap.mark(begin + ms(5));
        gap.acknowledged(begin + ms(10));
        assert_eq!(gap.longest(begin + ms(3_010)), ms(3_000));
        let mut never = Gap::default();
        never.mark(begin);
        assert_eq!(never.longest(begin + ms(40)), ms(40));
    }
}
