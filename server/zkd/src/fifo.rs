//! The order of one session: which of its requests may be answered now.
//!
//! Promises that answers leave in the order in which requests came, that a read is evaluated after every own write in
//! front of it and before any own write behind it, and that it waits for nothing else. A connection with nothing
//! outstanding does not need the queue: its reads are evaluated where they arrive.
//!
//! Never evaluates or answers anything itself: a pure data structure without clock, lock or wait, whose owner calls
//! it under the connection's lock.

use std::collections::VecDeque;

/// The requests of one connection, oldest first: each write with a `W` to answer it by, everything else with an `R`.
#[derive(Debug)]
pub struct Fifo<W, R> {
    waiting: VecDeque<Waiting<W, R>>,
    /// Read barriers asked for and reached so far, numbered from 1 in the order of their syncs.
    barriers_asked: u64,
    barriers_reached: u64,
}

#[derive(Debug)]
enum Waiting<W, R> {
    /// Proposed; completes when it is applied.
    Write(W),
    /// Waits for the numbered read barrier.
    Sync(u64, R),
    /// Waits for what stands in front of it and for nothing else: reads, pings, refusals.
    Read(R),
}

/// A write was applied that the connection does not wait for: an invariant is broken and its answers can no longer
/// be trusted, so the connection must be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("cannot answer in order: a write was applied that is not the next one of its session")]
pub struct OutOfOrder;

impl<W, R> Default for Fifo<W, R> {
    fn default() -> Self {
        Self { waiting: VecDeque::new(), barriers_asked: 0, barriers_reached: 0 }
    }
}

impl<W, R> Fifo<W, R> {
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether a write may be proposed now. Not while a sync waits for its barrier: the write could be applied before
    /// that sync is answered, and a read between the two would see it.
    pub fn takes_writes(&self) -> bool {
        self.barriers_asked == self.barriers_reached
    }

    /// Queues a write that was just proposed. Only while [`takes_writes`](Self::takes_writes) holds.
    pub fn push_write(&mut self, request: W) {
        debug_assert!(self.takes_writes());
        self.waiting.push_back(Waiting::Write(request));
    }

    pub fn push_read(&mut self, request: R) {
        self.waiting.push_back(Waiting::Read(request));
    }

    /// Queues a sync and returns the number of the barrier it waits for.
    pub fn push_sync(&mut self, request: R) -> u64 {
        self.barriers_asked += 1;
        self.waiting.push_back(Waiting::Sync(self.barriers_asked, request));
        self.barriers_asked
    }

    /// Every barrier up to `number` is reached. Call [`next_ready`](Self::next_ready) afterwards.
    pub fn barrier_reached(&mut self, number: u64) {
        self.barriers_reached = self.barriers_reached.max(number);
    }

    /// The oldest write was applied: returns it. Call [`next_ready`](Self::next_ready) afterwards.
    ///
    /// # Errors
    /// [`OutOfOrder`] if the oldest request is not a write.
    pub fn complete_write(&mut self) -> Result<W, OutOfOrder> {
        match self.waiting.pop_front() {
            Some(Waiting::Write(request)) => Ok(request),
            _ => Err(OutOfOrder),
        }
    }

    /// Takes the next request that nothing in front of it holds up; to be answered at once.
    pub fn next_ready(&mut self) -> Option<R> {
        let reached = self.barriers_reached;
        let ready = self.waiting.pop_front_if(|front| match front {
            Waiting::Write(_) => false,
            Waiting::Sync(number, _) => *number <= reached,
            Waiting::Read(_) => true,
        })?;
        match ready {
            Waiting::Write(_) => None,
            Waiting::Sync(_, request) | Waiting::Read(request) => Some(request),
        }
    }

    /// Forgets everything, as the connection is over; returns how many requests stay without an answer.
    pub fn clear(&mut self) -> usize {
        let unanswered = self.waiting.len();
        self.waiting.clear();
        self.barriers_reached = self.barriers_asked;
        unanswered
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a script of words and returns what was answered, in order, after each word.
    /// `w1 r1 p1 s1` arrive; `done` is one write applied; `barrier2` is barrier 2 reached.
    fn answers(script: &str) -> String {
        let mut fifo = Fifo::default();
        let mut steps = Vec::new();
        for word in script.split(' ') {
            let mut answered = Vec::new();
            match word.split_at(1) {
                ("w", _) if fifo.takes_writes() => fifo.push_write(word),
                ("w", _) => answered.push("held"),
                ("r" | "p", _) => fifo.push_read(word),
                ("s", _) => drop(fifo.push_sync(word)),
                ("d", "one") => answered.push(fifo.complete_write().unwrap_or("out-of-order")),
                ("b", barrier) => fifo.barrier_reached(barrier["arrier".len()..].parse().unwrap()),
                _ => panic!("no such word: {word}"),
            }
            answered.extend(std::iter::from_fn(|| fifo.next_ready()));
            steps.push(answered.join("+"));
        }
        steps.join(",")
    }

    #[test]
    fn requests_are_answered_in_the_order_they_came() {
        for (script, expected) in [
            ("r1 p2 r3", "r1,p2,r3"),
            ("w1 r2 p3 w4 r5 done done", ",,,,,w1+r2+p3,w4+r5"),
            ("w1 w2 done r3 done", ",,w1,,w2+r3"),
            ("s1 r2 barrier1 r3", ",,s1+r2,r3"),
            ("w1 s2 r3 barrier1 done", ",,,,w1+s2+r3"),
            ("w1 s2 r3 done barrier1", ",,,w1,s2+r3"),
            ("s1 s2 r3 barrier2", ",,,s1+s2+r3"),
            ("s1 r2 s3 barrier1 barrier2", ",,,s1+r2,s3"),
        ] {
            assert_eq!(answers(script), expected, "{script}");
        }
    }

    #[test]
    fn a_write_is_not_proposed_while_a_sync_waits_for_its_barrier() {
        assert_eq!(answers("s1 w2 barrier1 w2 done"), ",held,s1,,w2");
        // The barrier is enough: the sync itself may still wait behind an own write.
        assert_eq!(answers("w1 s2 w3 barrier1 w3 done done"), ",,held,,,w1+s2,w3");
    }

    #[test]
    fn a_completion_nobody_waits_for_is_told() {
        assert_eq!(answers("done"), "out-of-order");
        assert_eq!(answers("w1 done done"), ",w1,out-of-order");
    }

    #[test]
    fn a_cleared_queue_counts_what_stays_unanswered() {
        let mut fifo = Fifo::default();
        fifo.push_write('w');
        fifo.push_read('r');
        fifo.push_sync('s');
        assert_eq!(fifo.clear(), 3);
        assert!(fifo.is_empty() && fifo.takes_writes());
    }
}
