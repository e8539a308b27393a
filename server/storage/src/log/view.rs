//! The log as consensus sees it: what was appended, whether or not it is on disk yet.
//!
//! One lock, held for memory operations only. Entries that are not on disk are always in the tail; others stay there
//! as long as there is room.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use parking_lot::RwLock;

use super::entry::{Entry, LogId, Vote};
use super::index::{Index, Misfit, Position, Slot};
use super::record::{self, Head, Record};
use super::segment::{self, Segment};
use super::writer::Ticketed;
use crate::disk::read_exact_at;
use crate::{DiskFile, StorageError};

pub(super) struct View<F> {
    inner: RwLock<Inner<F>>,
    salt: u32,
    tail_cache_bytes: usize,
    full: AtomicBool,
}

struct Inner<F> {
    index: Index,
    /// How many entries were ever appended; tells apart two entries that had the same index.
    tickets: u64,
    /// The last entries of the log.
    tail: VecDeque<Entry>,
    tail_bytes: usize,
    segments: VecDeque<Source<F>>,
}

/// A segment to read from.
struct Source<F> {
    number: u32,
    first_seq: u64,
    file: Arc<F>,
}

impl<F> Clone for Source<F> {
    fn clone(&self) -> Self {
        Source { file: self.file.clone(), ..*self }
    }
}

/// Neighbouring records of one segment, fetched with one read.
struct Run<F> {
    source: Source<F>,
    first_index: u64,
    positions: Vec<Position>,
}

/// Between two entries stand at most a few marks and votes; a wider gap (entries that were truncated) is not read over.
const RUN_GAP_BYTES: u32 = 4096;

/// One read is not larger, unless one entry is.
const RUN_BYTES: u32 = 4 << 20;

/// What an entry costs in memory besides its payload, roughly.
const ENTRY_BYTES: usize = 64;

impl<F: DiskFile> View<F> {
    pub fn new(index: Index, salt: u32, tail_cache_bytes: usize) -> Self {
        let inner =
            Inner { index, tickets: 0, tail: VecDeque::new(), tail_bytes: 0, segments: VecDeque::new() };
        View { inner: RwLock::new(inner), salt, tail_cache_bytes, full: AtomicBool::new(false) }
    }

    /// Appends all entries, or none.
    pub fn append(&self, entries: &[Entry]) -> Result<Vec<Ticketed>, StorageError> {
        let mut inner = self.inner.write();
        inner.index.check_append(entries.iter().map(|entry| entry.id))?;
        let mut records = Vec::with_capacity(entries.len());
        for entry in entries {
            let ticket = inner.tickets;
            inner.tickets += 1;
            inner.index.append(entry.id, Slot::Pending(ticket))?;
            inner.tail_bytes += cost(entry);
            inner.tail.push_back(entry.clone());
            records.push(Ticketed { ticket, record: Record::Entry(entry.clone()) });
        }
        inner.evict(self.tail_cache_bytes);
        Ok(records)
    }

    pub fn save_vote(&self, vote: Vote) -> Result<Vec<Ticketed>, StorageError> {
        self.inner.write().index.save_vote(vote)?;
        Ok(vec![Ticketed { ticket: 0, record: Record::Vote(vote) }])
    }

    pub fn truncate_after(&self, after: Option<LogId>) -> Result<Vec<Ticketed>, StorageError> {
        let mut inner = self.inner.write();
        inner.index.truncate_after(after)?;
        inner.trim_tail();
        Ok(vec![Ticketed { ticket: 0, record: Record::TruncateAfter(after) }])
    }

    pub fn purge(&self, upto: LogId) -> Result<Vec<Ticketed>, StorageError> {
        let mut inner = self.inner.write();
        inner.index.purge(upto)?;
        inner.trim_tail();
        Ok(vec![Ticketed { ticket: 0, record: Record::Purge(upto) }])
    }

    /// Takes note of where entries were written: (ticket, index, position). An entry that was truncated meanwhile is
    /// passed over, and so is its index if another entry has it now.
    pub fn publish<'a>(&self, placed: &[(u64, u64, Position)], segments: impl Iterator<Item = &'a Segment<F>>)
    where
        F: 'a,
    {
        let mut inner = self.inner.write();
        inner.learn_segments(segments);
        for &(ticket, index, position) in placed {
            if let Some(slot) = inner.index.slot_mut(index)
                && *slot == Slot::Pending(ticket)
            {
                *slot = Slot::At(position);
            }
        }
        inner.evict(self.tail_cache_bytes);
    }

    /// Lets go of the segments before `first`.
    pub fn forget_segments(&self, first: u32) {
        self.inner.write().segments.retain(|source| source.number >= first);
    }

    /// Says whether the writer waits for space.
    pub fn set_full(&self, full: bool) {
        self.full.store(full, Ordering::Relaxed);
    }

    pub fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    pub fn head(&self) -> Head {
        self.inner.read().index.head()
    }

    /// See [`super::LogReader::segments_behind`].
    pub fn segments_behind(&self, index: u64) -> u32 {
        let inner = self.inner.read();
        let newest = inner.segments.back().map(|source| source.number);
        newest.zip(inner.index.segment_of(index)).map_or(0, |(newest, segment)| newest - segment)
    }

    /// See [`super::LogReader::last_before`].
    pub fn last_before(&self, index: u64, segments: u32) -> Option<u64> {
        let inner = self.inner.read();
        let segment = inner.index.segment_of(index)?.checked_sub(segments)?;
        inner.index.last_before(segment)
    }

    /// See [`super::LogReader::entries`].
    pub fn entries(&self, range: Range<u64>, max_bytes: usize) -> Result<Vec<Entry>, StorageError> {
        let (runs, tail) = self.inner.read().plan(range, max_bytes);
        let mut entries =
            Vec::with_capacity(runs.iter().map(|run| run.positions.len()).sum::<usize>() + tail.len());
        for run in runs {
            run.read(self.salt, &mut entries)?;
        }
        entries.extend(tail);
        Ok(entries)
    }
}

impl<F: DiskFile> Inner<F> {
    fn learn_segments<'a>(&mut self, segments: impl Iterator<Item = &'a Segment<F>>)
    where
        F: 'a,
    {
        let known = self.segments.back().map_or(0, |last| last.number + 1);
        for segment in segments.filter(|segment| segment.number >= known) {
            let Segment { number, first_seq, .. } = *segment;
            self.segments.push_back(Source { number, first_seq, file: segment.file.clone() });
        }
    }

    fn tail_first(&self) -> u64 {
        self.index.next_index() - self.tail.len() as u64
    }

    /// Lets the oldest entries go that are on disk, until the rest fits.
    fn evict(&mut self, tail_cache_bytes: usize) {
        while self.tail_bytes > tail_cache_bytes
            && matches!(self.index.slot(self.tail_first()), Some(Slot::At(_)))
            && let Some(entry) = self.tail.pop_front()
        {
            self.tail_bytes -= cost(&entry);
        }
    }

    /// Drops what the index no longer has, at either end.
    fn trim_tail(&mut self) {
        let (first, next) = (self.index.first_index(), self.index.next_index());
        while let Some(entry) = self.tail.pop_back_if(|entry| entry.id.index >= next) {
            self.tail_bytes -= cost(&entry);
        }
        while let Some(entry) = self.tail.pop_front_if(|entry| entry.id.index < first) {
            self.tail_bytes -= cost(&entry);
        }
    }

    /// What to read from files, and what follows it from memory.
    fn plan(&self, range: Range<u64>, max_bytes: usize) -> (Vec<Run<F>>, Vec<Entry>) {
        let (mut runs, mut tail) = (Vec::new(), Vec::new());
        let from = range.start.max(self.index.first_index());
        let to = range.end.min(self.index.next_index()).max(from);
        let tail_first = self.tail_first();
        let split = tail_first.clamp(from, to);
        let mut room = Room { bytes: max_bytes, empty: true };
        for index in from..split {
            let Some(&Slot::At(position)) = self.index.slot(index) else { return (runs, tail) };
            if !room.takes(position.bytes as usize) || !self.add_to_runs(&mut runs, index, position) {
                return (runs, tail);
            }
        }
        let skipped = (split - tail_first.min(split)) as usize;
        let cached = self.tail.iter().skip(skipped).take((to - split) as usize);
        tail.extend(cached.take_while(|entry| room.takes(cost(entry))).cloned());
        (runs, tail)
    }

    /// `false` when the segment is not there, which ends the plan: no entry is ever left out in the middle.
    fn add_to_runs(&self, runs: &mut Vec<Run<F>>, index: u64, position: Position) -> bool {
        if let Some(run) = runs.last_mut()
            && run.takes(position)
        {
            run.positions.push(position);
            return true;
        }
        let oldest = self.segments.front().map_or(0, |source| source.number);
        let at = position.segment.checked_sub(oldest).map(|at| at as usize);
        let Some(source) = at.and_then(|at| self.segments.get(at)) else { return false };
        runs.push(Run { source: source.clone(), first_index: index, positions: vec![position] });
        true
    }
}

impl<F: DiskFile> Run<F> {
    fn takes(&self, next: Position) -> bool {
        let (Some(first), Some(last)) = (self.positions.first(), self.positions.last()) else { return false };
        let end = last.offset + last.bytes;
        next.segment == last.segment
            && (end..=end + RUN_GAP_BYTES).contains(&next.offset)
            && next.offset + next.bytes - first.offset <= RUN_BYTES
    }

    fn read(&self, salt: u32, entries: &mut Vec<Entry>) -> Result<(), StorageError> {
        let (Some(first), Some(last)) = (self.positions.first(), self.positions.last()) else {
            return Ok(());
        };
        let name = || segment::name(self.source.first_seq);
        let mut bytes = vec![0; (last.offset + last.bytes - first.offset) as usize];
        read_exact_at(&*self.source.file, u64::from(first.offset), &mut bytes)
            .map_err(|e| StorageError::io("read", &name(), e))?;
        let bytes = Bytes::from(bytes);
        for (index, position) in (self.first_index..).zip(&self.positions) {
            let at = (position.offset - first.offset) as usize;
            let record = bytes.slice(at..at + position.bytes as usize);
            match record::read_entry(&record, salt) {
                Some(entry) if entry.id.index == index => entries.push(entry),
                _ => {
                    let what = format!("entry {index}, which was read before, is damaged");
                    return Err(StorageError::corrupt(&name(), u64::from(position.offset), what));
                }
            }
        }
        Ok(())
    }
}

/// What may still be added to an answer; the first entry always may.
struct Room {
    bytes: usize,
    empty: bool,
}

impl Room {
    fn takes(&mut self, bytes: usize) -> bool {
        let takes = self.empty || bytes <= self.bytes;
        self.empty = false;
        self.bytes = self.bytes.saturating_sub(bytes);
        takes
    }
}

fn cost(entry: &Entry) -> usize {
    entry.payload.bytes().len() + ENTRY_BYTES
}

impl From<Misfit> for StorageError {
    fn from(misfit: Misfit) -> Self {
        StorageError::OutOfOrder { what: misfit.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{Log, LogOptions, Payload};
    use crate::{Disk, SimDisk};

    fn entry(index: u64, fill: u8) -> Entry {
        Entry { id: LogId { term: 1, index }, payload: Payload::Proposal(Bytes::from(vec![fill; 900])) }
    }

    #[test]
    fn an_entry_that_was_replaced_while_it_was_written_is_not_taken_for_the_new_one() {
        let view = View::<crate::disk::SimFile>::new(Index::default(), 0, 0);
        let old = view.append(&[entry(0, b'a')]).unwrap();
        view.truncate_after(None).unwrap();
        view.append(&[entry(0, b'b')]).unwrap();
        let position = Position { segment: 0, offset: 100, bytes: 1000 };
        view.publish(&[(old[0].ticket, 0, position)], [].iter());
        assert_eq!(view.entries(0..1, 0).unwrap(), [entry(0, b'b')]);
    }

    #[test]
    fn a_read_that_was_begun_ends_well_when_its_segments_are_purged_and_used_again() {
        let disk = SimDisk::new(1);
        let options =
            LogOptions { segment_bytes: 4096, tail_cache_bytes: 0, ..LogOptions::new(Default::default()) };
        let (mut log, _) = Log::open(disk.clone(), options).unwrap();
        log.append(&(0..10).map(|index| entry(index, b'a')).collect::<Vec<_>>());
        log.flush().unwrap();
        let (runs, tail) = log.view.inner.read().plan(0..10, usize::MAX);
        assert!(runs.len() > 1 && tail.is_empty());

        for index in 10..60 {
            log.append(&[entry(index, b'b')]);
            log.purge(LogId { term: 1, index: index - 5 });
            log.flush().unwrap();
        }
        assert!(disk.list().unwrap().contains(&"log.spare".to_owned()), "nothing was used again");
        let mut entries = Vec::new();
        runs.iter().for_each(|run| run.read(log.view.salt, &mut entries).unwrap());
        assert!(entries.iter().eq((0..10).map(|index| entry(index, b'a')).collect::<Vec<_>>().iter()));
    }
}
