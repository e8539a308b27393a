//! What a log must say, kept in a plain vector; and how to make operations from a seed.

use std::fmt;

use bytes::Bytes;
use zke_storage::{Entry, Log, LogId, LogOptions, LogReader, Payload, Recovered, SimDisk, Vote};
use zke_tree::MemberId;

/// The logical content of a log.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct State {
    pub vote: Option<Vote>,
    pub purged: Option<LogId>,
    pub last: Option<LogId>,
    pub entries: Vec<Entry>,
}

#[derive(Debug, Clone)]
pub enum Op {
    Append(Vec<Entry>),
    SaveVote(Vote),
    TruncateAfter(Option<LogId>),
    Purge(LogId),
}

impl Op {
    /// What a crash can keep of it is a beginning of these.
    pub fn records(&self) -> Vec<Op> {
        match self {
            Op::Append(entries) => entries.iter().map(|entry| Op::Append(vec![entry.clone()])).collect(),
            other => vec![other.clone()],
        }
    }
}

impl fmt::Debug for State {
    /// Payloads by their length only: a failure is to be read by a person.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "vote {:?} purged {:?} last {:?} entries", self.vote, self.purged, self.last)?;
        self.entries.iter().try_for_each(|Entry { id, payload }| {
            write!(f, " {}/{}:{}", id.term, id.index, payload.bytes().len())
        })
    }
}

impl State {
    pub fn of(recovered: &Recovered, reader: &LogReader<SimDisk>) -> State {
        let Recovered { vote, purged, last, .. } = recovered.clone();
        assert_eq!((vote, purged, last), (reader.vote(), reader.purged(), reader.last()));
        State { vote, purged, last, entries: reader.entries(0..u64::MAX, usize::MAX).expect("read the log") }
    }

    pub fn apply(&mut self, op: &Op) {
        match op {
            Op::Append(entries) => {
                self.entries.extend(entries.iter().cloned());
                self.last = entries.last().map(|entry| entry.id).or(self.last);
            }
            Op::SaveVote(vote) => self.vote = Some(*vote),
            Op::TruncateAfter(after) => {
                self.entries.retain(|entry| Some(entry.id.index) <= after.map(|after| after.index));
                self.last = *after;
            }
            Op::Purge(upto) => {
                self.entries.retain(|entry| entry.id.index > upto.index);
                self.purged = Some(*upto);
                if self.entries.is_empty() {
                    self.last = Some(*upto);
                }
            }
        }
    }

    fn next_index(&self) -> u64 {
        self.last.map_or(0, |last| last.index + 1)
    }

    /// An operation that consensus could ask for in this state.
    pub fn random_op(&self, random: &mut Random) -> Op {
        let term = self.vote.map_or(0, |vote| vote.term).max(self.last.map_or(0, |last| last.term));
        match random.below(20) {
            0..=12 => {
                let first = self.next_index();
                let count = 1 + random.below(4);
                Op::Append((first..first + count).map(|index| random.entry(term, index)).collect())
            }
            13..=14 => Op::SaveVote(Vote { term: term + 1, member: Some(random.below(3)), committed: false }),
            15 if self.vote.is_some_and(|vote| vote.term == term) => {
                let member = self.vote.and_then(|vote| vote.member);
                Op::SaveVote(Vote { term, member, committed: true })
            }
            15..=16 => match random.pick(&self.entries) {
                Some(entry) => Op::TruncateAfter(Some(entry.id)),
                None => Op::TruncateAfter(self.purged),
            },
            17 => Op::TruncateAfter(self.purged),
            18 => match random.pick(&self.entries) {
                Some(entry) => Op::Purge(entry.id),
                None => Op::Append(vec![random.entry(term, self.next_index())]),
            },
            // A snapshot of a leader that is ahead was installed.
            _ => Op::Purge(LogId { term, index: self.next_index() + random.below(5) }),
        }
    }
}

pub fn give(log: &mut Log<SimDisk>, op: &Op) {
    match op {
        Op::Append(entries) => log.append(entries),
        Op::SaveVote(vote) => log.save_vote(*vote),
        Op::TruncateAfter(after) => log.truncate_after(*after),
        Op::Purge(upto) => log.purge(*upto),
    }
}

pub const MEMBER: MemberId = MemberId(0xfeed);

/// Small segments, so that every run crosses many; a small tail, so that files are read.
pub fn small() -> LogOptions {
    LogOptions { segment_bytes: 4096, tail_cache_bytes: 600, ..LogOptions::new(MEMBER) }
}

/// SplitMix64.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }

    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        if from.is_empty() { None } else { from.get(self.below(from.len() as u64) as usize) }
    }

    pub fn entry(&mut self, term: u64, index: u64) -> Entry {
        let len = match self.below(12) {
            0 => 0,
            1 => 3000,
            // Larger than a segment.
            2 if self.below(4) == 0 => 6000,
            _ => self.below(300),
        };
        // Zeros are what free space looks like; make them part of what is stored.
        let fill = [0, self.below(256) as u8][self.below(2) as usize];
        let bytes = Bytes::from(vec![fill; len as usize]);
        let payload = match self.below(8) {
            0 => Payload::Blank,
            1 => Payload::Membership(bytes),
            _ => Payload::Proposal(bytes),
        };
        Entry { id: LogId { term, index }, payload }
    }
}
