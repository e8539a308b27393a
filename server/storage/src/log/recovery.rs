//! Reading a log back, and telling a torn last flush from damage.
//!
//! Records are read in order until the first number that is not there. Every valid record found behind that place
//! says up to which number the log was durable when it was written. If one of them proves that the missing record was
//! durable, or if a later segment exists (which is only made once all before it is durable), then something that was
//! reported as flushed is damaged: [`StorageError::Corrupt`]. Otherwise the last flush never finished, nobody was told
//! that it did, and what is left of it is erased.
//!
//! What is kept of that last flush was perhaps never durable: the process died before its fsync, or the fsync failed
//! and the kernel marked the pages clean. So it is written again and synced before anyone builds on it.

use zke_tree::MemberId;

use super::LogOptions;
use super::index::{Index, Position, Slot};
use super::record::{self, ALIGN, Frame, HEADER_BYTES, Record};
use super::segment::{self, Segment, Window};
use crate::{Disk, DiskFile, StorageError};

/// A log as it was found, made durable.
pub(super) struct Found<F> {
    pub index: Index,
    /// Oldest first; never empty.
    pub segments: Vec<Segment<F>>,
    pub next_seq: u64,
    /// Where the next record goes in the last segment.
    pub end: u64,
    /// Leftovers of a flush that never finished were erased.
    pub torn: Option<Torn>,
}

/// Where the beginning of a flush that never finished was cut off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Torn {
    pub file: String,
    pub offset: u64,
}

/// A log as it was read, with nothing repaired.
pub(super) struct ReadBack<F> {
    pub index: Index,
    /// Oldest first; never empty.
    pub segments: Vec<Segment<F>>,
    pub next_seq: u64,
    pub tail: Tail,
    /// Where records of a flush that never finished stand behind the tail.
    pub leftovers: Vec<u64>,
}

/// Reads the log of `options.member` on `disk`; `None` when there is none.
pub(super) fn recover<D: Disk>(
    disk: &D,
    options: &LogOptions,
) -> Result<Option<Found<D::File>>, StorageError> {
    let Some(ReadBack { index, segments, next_seq, tail, leftovers }) = read_back(disk, options.member)?
    else {
        return Ok(None);
    };
    let torn = torn(&segments, &tail, &leftovers);
    make_durable(last(&segments), &tail, &leftovers)?;
    // The process may have died between a rename and its sync.
    disk.sync_dir().map_err(|e| StorageError::io("sync", "the data directory", e))?;
    Ok(Some(Found { index, next_seq, end: tail.offset, torn, segments }))
}

/// What a start cuts off.
pub(super) fn torn<F>(segments: &[Segment<F>], tail: &Tail, leftovers: &[u64]) -> Option<Torn> {
    (!leftovers.is_empty() || tail.started)
        .then(|| Torn { file: segment::name(last(segments).first_seq), offset: tail.offset })
}

fn last<F>(segments: &[Segment<F>]) -> &Segment<F> {
    segments.last().expect("a log that was read has a segment")
}

/// Reads without changing anything.
pub(super) fn read_back<D: Disk>(
    disk: &D,
    member: MemberId,
) -> Result<Option<ReadBack<D::File>>, StorageError> {
    let names = disk.list().map_err(|e| StorageError::io("list", "the data directory", e))?;
    let firsts: Vec<u64> = names.iter().filter_map(|name| segment::parse_name(name)).collect();
    let mut segments = Vec::with_capacity(firsts.len());
    for (number, first_seq) in firsts.into_iter().enumerate() {
        segments.push(Segment::open(disk, member, first_seq, number as u32)?);
    }
    let Some(oldest) = segments.first() else { return Ok(None) };

    let mut replay = Replay { salt: record::salt(member), next_seq: oldest.first_seq, index: None };
    let mut end = Tail::default();
    for at in 0..segments.len() {
        let next = segments.get(at + 1).map(|next| next.first_seq);
        end = replay.segment(&mut segments[at], next)?;
    }
    let Replay { index, next_seq, salt } = replay;
    let Some(index) = index else {
        // Never `None`, which would begin a new log over these files.
        return Err(StorageError::corrupt(&segment::name(next_seq), 0, "no record could be read"));
    };
    let gap = index.gap();
    if !gap.is_empty() {
        let what = format!("entries {} to {} are in no segment that is left", gap.start, gap.end - 1);
        return Err(StorageError::corrupt(&segment::name(segments[0].first_seq), 0, what));
    }

    let leftovers = leftovers(last(&segments), end.offset, next_seq, salt)?;
    Ok(Some(ReadBack { index, segments, next_seq, tail: end, leftovers }))
}

struct Replay {
    salt: u32,
    next_seq: u64,
    index: Option<Index>,
}

/// The end of what is valid in the last segment.
#[derive(Default)]
pub(super) struct Tail {
    offset: u64,
    /// Where the last flush begins: what stands before is proved durable.
    flush_offset: u64,
    /// Some bytes of a header stand at `offset`, although no whole record does.
    started: bool,
}

impl Replay {
    /// Reads one segment. `next` is the first record of the one after it.
    fn segment<F: DiskFile>(
        &mut self,
        segment: &mut Segment<F>,
        next: Option<u64>,
    ) -> Result<Tail, StorageError> {
        let mut last_index = segment.last_index;
        let mut window = Window::new(segment);
        if segment.first_seq != self.next_seq {
            let what = format!("the segment that holds record {} is missing before it", self.next_seq);
            return Err(StorageError::corrupt(window.name(), 0, what));
        }
        let mut tail = Tail { offset: segment::HEADER_BYTES as u64, ..Tail::default() };
        while next != Some(self.next_seq) {
            let offset = tail.offset;
            let corrupt = |window: &Window<'_, F>, what: String| {
                Err(StorageError::corrupt(window.name(), offset, what))
            };
            let seq = self.next_seq;
            let Some(frame) = window.frame(offset, self.salt)?.filter(|frame| frame.seq == seq) else {
                if let Some(next) = next {
                    return corrupt(&window, format!("record {seq} is damaged, the log goes on with {next}"));
                }
                if seq == segment.first_seq {
                    return corrupt(&window, "the first record of the segment is damaged".to_owned());
                }
                break;
            };
            let (bytes, place) = (frame.encoded_bytes(), frame.place);
            let Some(record) = frame.record() else {
                return corrupt(&window, format!("record {seq} has a content that this build does not know"));
            };
            if matches!(record, Record::Closed) {
                return Err(StorageError::Missing { file: segment::name(seq) });
            }
            let position = Position { segment: segment.number, offset: offset as u32, bytes: bytes as u32 };
            if let Record::Entry(entry) = &record {
                last_index = last_index.max(Some(entry.id.index));
            }
            if let Err(what) = self.apply(record, seq == segment.first_seq, position) {
                return corrupt(&window, what);
            }
            if place == 0 {
                tail.flush_offset = offset;
            }
            tail.offset += bytes as u64;
            self.next_seq += 1;
        }
        if next.is_none() {
            tail.started = window.frame_started(tail.offset, self.next_seq)?;
        }
        segment.last_index = last_index;
        Ok(tail)
    }

    fn apply(&mut self, record: Record, opens_segment: bool, position: Position) -> Result<(), String> {
        let index = match (&mut self.index, opens_segment, &record) {
            (none @ None, true, Record::Head(head)) => {
                *none = Some(Index::from_head(*head));
                return Ok(());
            }
            (Some(index), true, Record::Head(head)) if *head == index.head() => return Ok(()),
            (Some(index), false, _) => index,
            (_, true, _) => {
                return Err("the segment does not begin with the state of the log before it".to_owned());
            }
            (None, false, _) => return Err("a record stands before the first segment's state".to_owned()),
        };
        match record {
            Record::Mark => Ok(()),
            Record::Vote(vote) => index.save_vote(vote),
            Record::Entry(entry) => index.append(entry.id, Slot::At(position)),
            Record::TruncateAfter(after) => index.truncate_after(after),
            Record::Purge(upto) => index.purge(upto),
            Record::Head(_) | Record::Closed => {
                return Err("a record that only a segment's edge may have".to_owned());
            }
        }
        .map_err(|misfit| misfit.to_string())
    }
}

impl<F: DiskFile> Window<'_, F> {
    /// Whether the header of record `seq` stands at `offset`, whatever became of the rest.
    fn frame_started(&mut self, offset: u64, seq: u64) -> Result<bool, StorageError> {
        let header = self.get(offset, HEADER_BYTES)?;
        Ok(header.is_some_and(|header| header[8..16] == seq.to_le_bytes()))
    }
}

/// Finds the valid records of the unfinished flush behind `offset`, where record `missing` should stand. They would
/// come back to life if the log grew up to them again.
fn leftovers<F: DiskFile>(
    segment: &Segment<F>,
    offset: u64,
    missing: u64,
    salt: u32,
) -> Result<Vec<u64>, StorageError> {
    let mut window = Window::new(segment);
    let mut found = Vec::new();
    let mut at = offset;
    while let Some(header) = window.get(at, HEADER_BYTES)? {
        // Only numbers that this segment could have reached are worth a checksum.
        let seq = u64::from_le_bytes(header[8..16].try_into().expect("eight bytes"));
        let reachable = seq > missing && seq - missing <= segment.bytes / HEADER_BYTES as u64;
        let frame = if reachable { window.frame(at, salt)? } else { None };
        let Some(frame) = frame else {
            at += ALIGN as u64;
            continue;
        };
        if frame.proves_durable_below() > missing {
            let Frame { seq, .. } = frame;
            let what = format!(
                "record {missing} is damaged: record {seq} at byte {at} was written after it was durable"
            );
            return Err(StorageError::corrupt(window.name(), offset, what));
        }
        let bytes = frame.encoded_bytes() as u64;
        found.push(at);
        at += bytes;
    }
    Ok(found)
}

/// Erases the leftovers and writes the last flush again, so that everything that was read back is durable.
fn make_durable<F: DiskFile>(
    segment: &Segment<F>,
    tail: &Tail,
    leftovers: &[u64],
) -> Result<(), StorageError> {
    const CHUNK_BYTES: u64 = 1 << 20;
    let name = segment::name(segment.first_seq);
    let failed = |attempt| {
        let name = &name;
        move |source| StorageError::io(attempt, name, source)
    };
    for &offset in leftovers {
        segment.file.write_at(offset, &[0; HEADER_BYTES]).map_err(failed("erase the end of"))?;
    }
    let mut window = Window::new(segment);
    let mut at = tail.flush_offset;
    while at < tail.offset {
        let len = (tail.offset - at).min(CHUNK_BYTES);
        if let Some(bytes) = window.get(at, len as usize)? {
            segment.file.write_at(at, bytes).map_err(failed("write again the end of"))?;
        }
        at += len;
    }
    segment.file.sync_data().map_err(failed("sync"))
}
