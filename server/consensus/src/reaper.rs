//! When containers and TTL nodes that are due to go are removed: ZooKeeper's `ContainerManager`.
//!
//! The leader looks for them once in an interval and proposes their removal little by little, so that many of them
//! delay no client. Only proposed: apply looks again, and keeps what came to be used meanwhile. Pure.

use std::collections::VecDeque;

/// Removals proposed in one look. With ten looks a second this is the 10,000 a minute that ZooKeeper allows itself.
const REMOVALS_PER_LOOK_MAX: usize = 17;
/// Paths kept from one search: more than are removed until the next one at its ordinary interval.
pub(crate) const FOUND_MAX: usize = 10_000;

/// Of one term of leadership.
#[derive(Debug)]
pub(crate) struct Reaper {
    interval_ms: u64,
    since_search_ms: u64,
    due: VecDeque<String>,
}

impl Reaper {
    /// `interval_ms`: how far apart the searches are.
    pub fn new(interval_ms: u64) -> Reaper {
        Reaper { interval_ms, since_search_ms: 0, due: VecDeque::new() }
    }

    /// What to remove now, `elapsed_ms` after the last look. `search` gives at most [`FOUND_MAX`] paths, those that are
    /// still waiting here among them.
    pub fn look(&mut self, elapsed_ms: u64, search: impl FnOnce() -> Vec<String>) -> Vec<String> {
        self.since_search_ms += elapsed_ms;
        if self.since_search_ms >= self.interval_ms {
            self.since_search_ms = 0;
            self.due = search().into();
        }
        self.due.drain(..self.due.len().min(REMOVALS_PER_LOOK_MAX)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(count: usize) -> Vec<String> {
        (0..count).map(|n| format!("/{n}")).collect()
    }

    #[test]
    fn it_searches_once_in_an_interval() {
        let mut reaper = Reaper::new(1_000);
        for _ in 0..9 {
            assert_eq!(reaper.look(100, || panic!("too early")), paths(0));
        }
        assert_eq!(reaper.look(100, || paths(1)), paths(1));
        assert_eq!(reaper.look(100, || panic!("too early again")), paths(0));
    }

    #[test]
    fn many_go_little_by_little_in_order_and_once() {
        let mut reaper = Reaper::new(60_000);
        let mut removed = reaper.look(60_000, || paths(100));
        assert_eq!(removed.len(), REMOVALS_PER_LOOK_MAX);
        while removed.len() < 100 {
            removed.extend(reaper.look(100, || panic!("too early")));
        }
        assert_eq!(removed, paths(100));
        assert_eq!(reaper.look(100, || panic!("too early")), paths(0));
    }
}
