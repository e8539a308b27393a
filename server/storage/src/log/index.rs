//! What the log says, in memory: the vote, the marks, and where each entry stands. Pure; the same rules hold when
//! entries arrive and when they are read back.

use std::collections::VecDeque;

use super::entry::{LogId, Vote};
use super::record::Head;

/// Where an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Slot {
    /// Only in memory; the number says which append put it there.
    Pending(u64),
    At(Position),
}

/// Where an entry stands on disk. Twelve bytes, since there is one for every entry that is not purged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position {
    /// Counts the segments that this process has seen.
    pub segment: u32,
    pub offset: u32,
    /// Of the whole record.
    pub bytes: u32,
}

/// Invariant: `first + slots.len()` is the index after the last entry.
#[derive(Debug, Clone, Default)]
pub(super) struct Index {
    head: Head,
    /// The index of `slots[0]`. While a log is read back it may be above what is not purged: see [`Index::gap`].
    first: u64,
    slots: VecDeque<Slot>,
}

/// Why an operation does not fit the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Misfit {
    #[error("entry {found:?} does not follow {last:?}")]
    Entry { found: LogId, last: Option<LogId> },
    #[error("vote {found:?} may not follow {before:?}")]
    Vote { found: Vote, before: Vote },
    #[error(
        "a cut after {after:?} is outside of the log, which is purged to {purged:?} and ends at {last:?}"
    )]
    Truncate { after: Option<LogId>, purged: Option<LogId>, last: Option<LogId> },
    #[error("the purge mark would fall from {from:?} to {to:?}")]
    Purge { from: LogId, to: LogId },
}

impl Index {
    /// The log as the first segment that is left describes it: its entries may be in segments that are gone.
    pub fn from_head(head: Head) -> Index {
        Index { head, first: head.next_index(), slots: VecDeque::new() }
    }

    pub fn head(&self) -> Head {
        self.head
    }

    pub fn first_index(&self) -> u64 {
        self.first
    }

    pub fn next_index(&self) -> u64 {
        self.first + self.slots.len() as u64
    }

    pub fn slot(&self, index: u64) -> Option<&Slot> {
        self.slots.get(usize::try_from(index.checked_sub(self.first)?).ok()?)
    }

    pub fn slot_mut(&mut self, index: u64) -> Option<&mut Slot> {
        self.slots.get_mut(usize::try_from(index.checked_sub(self.first)?).ok()?)
    }

    /// In which segment an entry stands, once it is written. What is purged counts as standing where the first is that
    /// is not.
    pub fn segment_of(&self, index: u64) -> Option<u32> {
        match self.slot(index.max(self.first))? {
            Slot::At(position) => Some(position.segment),
            Slot::Pending(_) => None,
        }
    }

    /// The last entry that stands in a segment before this one.
    pub fn last_before(&self, segment: u32) -> Option<u64> {
        // Later entries are written later, so their segments never fall.
        let is_before = |slot: &Slot| matches!(slot, Slot::At(at) if at.segment < segment);
        let count = self.slots.partition_point(is_before);
        (self.first + count as u64).checked_sub(1).filter(|_| count > 0)
    }

    /// Whether `ids` may be appended, all of them.
    pub fn check_append(&self, ids: impl Iterator<Item = LogId>) -> Result<(), Misfit> {
        let mut last = self.head.last;
        for found in ids {
            let follows = last.map_or(found.index == 0, |last| {
                last.index.checked_add(1) == Some(found.index) && found.term >= last.term
            });
            if !follows {
                return Err(Misfit::Entry { found, last });
            }
            last = Some(found);
        }
        Ok(())
    }

    pub fn append(&mut self, id: LogId, slot: Slot) -> Result<(), Misfit> {
        self.check_append([id].into_iter())?;
        self.slots.push_back(slot);
        self.head.last = Some(id);
        Ok(())
    }

    pub fn save_vote(&mut self, vote: Vote) -> Result<(), Misfit> {
        match self.head.vote {
            Some(before) if !vote.may_follow(&before) => Err(Misfit::Vote { found: vote, before }),
            _ => {
                self.head.vote = Some(vote);
                Ok(())
            }
        }
    }

    /// Drops every entry after `after`.
    pub fn truncate_after(&mut self, after: Option<LogId>) -> Result<(), Misfit> {
        let next = after.map_or(0, |after| after.index.saturating_add(1));
        let Head { purged, last, .. } = self.head;
        if next > self.next_index() || next < self.head.first_index() {
            return Err(Misfit::Truncate { after, purged, last });
        }
        match next.checked_sub(self.first) {
            Some(kept) => self.slots.truncate(kept as usize),
            None => {
                self.slots.clear();
                self.first = next;
            }
        }
        self.head.last = after;
        Ok(())
    }

    /// Drops every entry up to and including `upto`, which may lie beyond the last one (a snapshot was installed).
    pub fn purge(&mut self, upto: LogId) -> Result<(), Misfit> {
        if let Some(from) = self.head.purged
            && upto.index < from.index
        {
            return Err(Misfit::Purge { from, to: upto });
        }
        let first = upto.index.saturating_add(1);
        if first >= self.next_index() {
            self.slots.clear();
            self.first = first;
        } else if let Some(dropped) = first.checked_sub(self.first) {
            self.slots.drain(..dropped as usize);
            self.first = first;
        }
        self.head.purge(upto);
        Ok(())
    }

    /// The indexes that are neither purged nor there. Not empty only when a segment is missing.
    pub fn gap(&self) -> std::ops::Range<u64> {
        self.head.first_index()..self.first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(term: u64, index: u64) -> LogId {
        LogId { term, index }
    }

    fn log(upto: u64) -> Index {
        let mut log = Index::default();
        (0..=upto).for_each(|index| log.append(id(1, index), Slot::Pending(index)).unwrap());
        log
    }

    #[test]
    fn entries_follow_each_other() {
        let mut log = log(2);
        assert!(log.append(id(1, 4), Slot::Pending(9)).is_err(), "a hole");
        assert!(log.append(id(1, 2), Slot::Pending(9)).is_err(), "twice");
        log.append(id(3, 3), Slot::Pending(3)).unwrap();
        assert!(log.append(id(2, 4), Slot::Pending(9)).is_err(), "a falling term");
    }

    #[test]
    fn truncation_keeps_the_purged_part() {
        let mut log = log(9);
        log.purge(id(1, 3)).unwrap();
        assert!(log.truncate_after(Some(id(1, 2))).is_err());
        assert!(log.truncate_after(None).is_err());
        assert!(log.truncate_after(Some(id(1, 10))).is_err());
        log.truncate_after(Some(id(1, 5))).unwrap();
        assert_eq!((log.first_index(), log.next_index(), log.head().last), (4, 6, Some(id(1, 5))));
        log.truncate_after(Some(id(1, 3))).unwrap();
        assert_eq!((log.first_index(), log.next_index()), (4, 4));
        log.append(id(2, 4), Slot::Pending(77)).unwrap();
        assert_eq!(log.slot(4), Some(&Slot::Pending(77)));
    }

    #[test]
    fn a_purge_beyond_the_end_moves_the_end() {
        let mut log = log(2);
        log.purge(id(5, 20)).unwrap();
        assert_eq!((log.first_index(), log.next_index(), log.head().last), (21, 21, Some(id(5, 20))));
        assert!(log.purge(id(5, 19)).is_err());
        log.append(id(5, 21), Slot::Pending(0)).unwrap();
    }

    #[test]
    fn entries_of_missing_segments_are_a_gap_until_purged() {
        let head = Head { vote: None, purged: None, last: Some(id(1, 9)) };
        let mut log = Index::from_head(head);
        log.append(id(1, 10), Slot::Pending(0)).unwrap();
        assert_eq!(log.gap(), 0..10);
        log.truncate_after(Some(id(1, 4))).unwrap();
        log.append(id(2, 5), Slot::Pending(1)).unwrap();
        assert_eq!(log.gap(), 0..5);
        log.purge(id(1, 4)).unwrap();
        assert!(log.gap().is_empty());
        assert_eq!(log.slot(5), Some(&Slot::Pending(1)));
    }
}
