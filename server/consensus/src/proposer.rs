//! The origin's side of "once, in order": the commands of this process that are not yet seen applied.
//!
//! Commands get consecutive sequences. They leave in batches, each becoming one log entry, and are kept until the
//! member's own apply has passed them; an answer from the leader never completes anything. After a lost link the
//! leader says which sequence it wants next and everything from there on is sent again. Replicated state skips
//! what it has already applied, so resending is always safe and nothing happens twice.
//!
//! Pure: no clock, no I/O. Never drops a command that it accepted.

use std::collections::VecDeque;

use bytes::Bytes;
use zke_tree::{Command, Origin, Proposal, Settings};

/// More waiting commands than this refuse new ones: the network threads then stop reading their sockets.
/// 16,384 commands of 1 KiB are 16 MiB, and at 100,000 writes a second a backlog of 160 ms.
pub const BACKLOG_COMMANDS_MAX: usize = 16_384;
/// Bytes of waiting commands at which new ones are refused, for few but large writes. One more command of
/// jute.maxbuffer may exceed it.
pub const BACKLOG_BYTES_MAX: usize = 64 << 20;
/// One log entry holds at most this many commands, which bounds how long apply holds the state's lock (about 1 ms).
pub const BATCH_COMMANDS_MAX: usize = 512;
/// ... and at most this many bytes, unless one command alone is larger. Well under a replication frame.
pub const BATCH_BYTES_MAX: usize = 512 << 10;
/// Batches sent and not yet seen applied. While as many are under way new commands gather into larger batches,
/// which is what keeps one fdatasync per many writes under load.
pub const BATCHES_IN_FLIGHT_MAX: usize = 4;

/// The backlog is full: try again when [`Proposer::has_room`].
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("too many writes wait for the ensemble: stop reading from clients until some are applied")]
pub struct Busy;

/// A batch in its final encoding, apart from the leader's clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    pub first_sequence: u64,
    pub last_sequence: u64,
    pub encoded: Bytes,
}

/// All commands of this process between acceptance and its own apply.
#[derive(Debug)]
pub struct Proposer {
    origin: Origin,
    /// Sequence the next accepted command gets. Sequences start at 1; 0 is "none applied".
    next_sequence: u64,
    /// Accepted, not yet in a batch: sequences `next_sequence - waiting.len() .. next_sequence`.
    waiting: VecDeque<Command>,
    waiting_bytes: usize,
    /// In batches, not yet seen applied, in order; contiguous with `waiting`.
    batches: VecDeque<Batch>,
    /// How many of `batches`, from the front, were sent on the present link. `None` without a link.
    sent: Option<usize>,
}

impl Proposer {
    pub fn new(origin: Origin) -> Proposer {
        Proposer {
            origin,
            next_sequence: 1,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            batches: VecDeque::new(),
            sent: None,
        }
    }

    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// Accepts a command and says its sequence: one more than the last one's.
    pub fn propose(&mut self, command: Command) -> Result<u64, Busy> {
        if !self.has_room() {
            return Err(Busy);
        }
        self.waiting_bytes += command.size_hint();
        self.waiting.push_back(command);
        self.next_sequence += 1;
        Ok(self.next_sequence - 1)
    }

    pub fn has_room(&self) -> bool {
        self.waiting.len() < BACKLOG_COMMANDS_MAX && self.waiting_bytes < BACKLOG_BYTES_MAX
    }

    /// Commands accepted and not yet seen applied.
    pub fn outstanding(&self) -> u64 {
        let first = self.batches.front().map_or(self.first_waiting(), |batch| batch.first_sequence);
        self.next_sequence - first
    }

    /// The leader wants `next` next on this link: batches before it are in its log already, the rest goes out again.
    pub fn resume(&mut self, next: u64) {
        let in_log = self.batches.iter().take_while(|batch| batch.last_sequence < next).count();
        self.sent = Some(in_log);
    }

    /// The link is gone; nothing is sent before the next [`Proposer::resume`].
    pub fn link_lost(&mut self) {
        self.sent = None;
    }

    /// The next batch to send now, if any. Marks it as sent.
    pub fn next_batch(&mut self) -> Option<Batch> {
        let sent = self.sent?;
        if sent == self.batches.len() {
            if sent >= BATCHES_IN_FLIGHT_MAX || self.waiting.is_empty() {
                return None;
            }
            let batch = self.cut_batch();
            self.batches.push_back(batch);
        }
        self.sent = Some(sent + 1);
        self.batches.get(sent).cloned()
    }

    /// This member applied the command `sequence` of its own.
    pub fn applied(&mut self, sequence: u64) {
        assert!(
            sequence < self.next_sequence,
            "applied a sequence that was never proposed: the disk was cloned"
        );
        while self.batches.front().is_some_and(|batch| batch.last_sequence <= sequence) {
            self.batches.pop_front();
            // A batch can be applied although this link never sent it: the link before did.
            self.sent = self.sent.map(|sent| sent.saturating_sub(1));
        }
    }

    fn first_waiting(&self) -> u64 {
        self.next_sequence - self.waiting.len() as u64
    }

    fn cut_batch(&mut self) -> Batch {
        let first_sequence = self.first_waiting();
        let mut commands = Vec::with_capacity(self.waiting.len().min(BATCH_COMMANDS_MAX));
        let mut bytes = 0;
        while let Some(command) = self.waiting.front() {
            let size = command.size_hint();
            let full = commands.len() == BATCH_COMMANDS_MAX || bytes + size > BATCH_BYTES_MAX;
            if full && !commands.is_empty() {
                break;
            }
            bytes += size;
            self.waiting_bytes -= size;
            commands.extend(self.waiting.pop_front());
        }
        let last_sequence = first_sequence + commands.len() as u64 - 1;
        let proposal = Proposal {
            time_ms: 0,
            settings: Settings::default(),
            origin: self.origin,
            first_sequence,
            commands,
        };
        Batch { first_sequence, last_sequence, encoded: proposal.encode() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zke_tree::MemberId;

    fn proposer() -> Proposer {
        Proposer::new(Origin { member: MemberId(7), incarnation: 3 })
    }

    fn propose(proposer: &mut Proposer, count: usize) {
        for _ in 0..count {
            proposer.propose(Command::TakeControl {}).expect("there is room");
        }
    }

    fn spans(proposer: &mut Proposer) -> Vec<(u64, u64)> {
        std::iter::from_fn(|| proposer.next_batch()).map(|b| (b.first_sequence, b.last_sequence)).collect()
    }

    #[test]
    fn nothing_is_sent_before_the_leader_says_where_to_start() {
        let mut proposer = proposer();
        propose(&mut proposer, 2);
        assert_eq!(spans(&mut proposer), []);
        proposer.resume(1);
        assert_eq!(spans(&mut proposer), [(1, 2)]);
    }

    #[test]
    fn commands_gather_while_batches_are_in_flight() {
        let mut proposer = proposer();
        proposer.resume(1);
        for sequence in 1..=BATCHES_IN_FLIGHT_MAX as u64 {
            propose(&mut proposer, 1);
            assert_eq!(spans(&mut proposer), [(sequence, sequence)]);
        }
        propose(&mut proposer, 10);
        assert_eq!(spans(&mut proposer), []);
        proposer.applied(1);
        assert_eq!(spans(&mut proposer), [(5, 14)]);
    }

    #[test]
    fn a_new_leader_gets_again_what_was_not_applied_in_the_same_batches() {
        let mut proposer = proposer();
        proposer.resume(1);
        propose(&mut proposer, 2);
        assert_eq!(spans(&mut proposer), [(1, 2)]);
        propose(&mut proposer, 3);
        assert_eq!(spans(&mut proposer), [(3, 5)]);
        proposer.link_lost();
        propose(&mut proposer, 1);
        assert_eq!(spans(&mut proposer), []);
        proposer.resume(3);
        assert_eq!(spans(&mut proposer), [(3, 5), (6, 6)]);
        proposer.applied(2);
        proposer.applied(5);
        assert_eq!(proposer.outstanding(), 1);
        proposer.applied(6);
        assert_eq!(proposer.outstanding(), 0);
    }

    #[test]
    fn an_apply_from_the_link_before_keeps_the_count_of_sent_batches_right() {
        let mut proposer = proposer();
        proposer.resume(1);
        propose(&mut proposer, 1);
        assert_eq!(spans(&mut proposer), [(1, 1)]);
        proposer.link_lost();
        propose(&mut proposer, 1);
        proposer.resume(1);
        proposer.applied(1);
        assert_eq!(spans(&mut proposer), [(2, 2)]);
    }

    #[test]
    fn the_backlog_is_bounded_and_frees_up() {
        let mut proposer = proposer();
        propose(&mut proposer, BACKLOG_COMMANDS_MAX);
        assert_eq!(proposer.propose(Command::TakeControl {}), Err(Busy));
        proposer.resume(1);
        assert_eq!(spans(&mut proposer).len(), BATCHES_IN_FLIGHT_MAX);
        assert!(proposer.has_room());
    }
}
