//! The one writer of the segment files.
//!
//! Invariant: `durable_seq <= next_seq`. All records below `durable_seq` are durable; those from there on were written
//! and not yet synced (at rest only a mark). A record's `place` is its distance from `durable_seq`.

use std::collections::VecDeque;
use std::sync::Arc;

use super::LogOptions;
use super::index::Position;
use super::record::{self, Head, Record};
use super::recovery::Found;
use super::reserve::Reserve;
use super::segment::{self, Segment};
use super::spare::{SPARE, Spare};
use super::view::View;
use crate::{Disk, DiskFile, StorageError};

pub(super) struct Writer<D: Disk> {
    disk: D,
    options: LogOptions,
    salt: u32,
    /// Oldest first; the last one is written to. Never empty.
    segments: VecDeque<Segment<D::File>>,
    /// Where the next byte goes in the last segment, without what is in `buffer`.
    offset: u64,
    next_seq: u64,
    durable_seq: u64,
    /// The state after all that was written: what the next segment begins with.
    head: Head,
    spare: Spare<D>,
    buffer: Vec<u8>,
    failed: bool,
}

/// A batch larger than this is handed to the kernel in parts, so that the buffer stays small. One fdatasync follows
/// the last part all the same.
const BUFFER_BYTES: usize = 4 << 20;

/// Room that every segment keeps for its last record.
const CLOSED_BYTES: u64 = record::HEADER_BYTES as u64;

impl<D: Disk> Writer<D> {
    /// Goes on with a log that was found.
    pub fn resume(
        disk: D,
        options: LogOptions,
        head: Head,
        found: Found<D::File>,
        reserve: Reserve<D>,
    ) -> Result<Writer<D>, StorageError> {
        let mut writer = Writer {
            salt: record::salt(options.member),
            segments: found.segments.into(),
            offset: found.end,
            next_seq: found.next_seq,
            durable_seq: found.next_seq,
            head,
            spare: Spare::find(disk.clone(), options.segment_bytes, reserve)?,
            buffer: Vec::new(),
            failed: false,
            disk,
            options,
        };
        writer.mark()?;
        Ok(writer)
    }

    /// Makes the first segment of a new log.
    pub fn create(disk: D, options: LogOptions, reserve: Reserve<D>) -> Result<Writer<D>, StorageError> {
        let mut writer = Writer {
            salt: record::salt(options.member),
            segments: VecDeque::new(),
            offset: 0,
            next_seq: 1,
            durable_seq: 1,
            head: Head::default(),
            spare: Spare::find(disk.clone(), options.segment_bytes, reserve)?,
            buffer: Vec::new(),
            failed: false,
            disk,
            options,
        };
        writer.open_segment(0)?;
        Ok(writer)
    }

    pub fn segments(&self) -> impl Iterator<Item = &Segment<D::File>> {
        self.segments.iter()
    }

    /// Writes `records`, makes them durable with one fdatasync, and tells `view` where they are.
    ///
    /// After an error every later call fails with [`StorageError::Poisoned`]: what a failed write or fsync left behind
    /// is only known again after the log was read back.
    pub fn write(&mut self, records: &[Ticketed], view: &View<D::File>) -> Result<(), StorageError> {
        if self.failed {
            return Err(StorageError::Poisoned);
        }
        // Stands until the end is reached: every early return below leaves the files in an unknown state.
        self.failed = true;
        let mut placed = Vec::with_capacity(records.len());
        for Ticketed { ticket, record } in records {
            let position = self.put(record)?;
            if let Record::Entry(entry) = record {
                placed.push((*ticket, entry.id.index, position));
            }
        }
        self.sync()?;
        view.publish(&placed, self.segments.iter());
        self.drop_purged(view)?;
        self.mark()?;
        // Early enough that it is there in time, late enough that a small log does not have one.
        if self.offset > self.current().bytes / 2 {
            self.spare.prepare();
        }
        self.failed = false;
        Ok(())
    }

    /// How many of `records` go into the segment that is written to, and need nothing that a full volume refuses.
    pub fn fitting(&self, records: &[Ticketed]) -> usize {
        let mut bytes = 0;
        let fits = |Ticketed { record, .. }: &&Ticketed| {
            bytes += record.encoded_bytes() as u64;
            self.fits(bytes)
        };
        records.iter().take_while(fits).count()
    }

    /// Makes the next segment before anything is written that has to go there, or takes it from the reserve. So a full
    /// volume is met while nothing is in doubt, and the caller may try again.
    pub fn reserve(&mut self) -> Result<(), StorageError> {
        self.spare.ensure()
    }

    /// Makes the next segment in a thread before it is needed.
    pub fn use_background(&mut self) {
        self.spare.use_background();
    }

    /// Puts one record into the buffer, going on to another segment when it does not fit.
    fn put(&mut self, record: &Record) -> Result<Position, StorageError> {
        let bytes = record.encoded_bytes();
        if let Record::Entry(entry) = record {
            let bytes = entry.payload.bytes().len();
            if bytes > record::MAX_PAYLOAD_BYTES {
                let limit = record::MAX_PAYLOAD_BYTES as u64;
                return Err(StorageError::TooLarge { what: "a log entry", bytes: bytes as u64, limit });
            }
        }
        if !self.fits(bytes as u64) {
            self.sync()?;
            self.open_segment(bytes as u64)?;
        } else if self.buffer.len() >= BUFFER_BYTES {
            self.write_buffer()?;
        }
        let offset = self.offset + self.buffer.len() as u64;
        let place = u32::try_from(self.next_seq - self.durable_seq).unwrap_or(u32::MAX);
        record.encode(&mut self.buffer, self.salt, self.next_seq, place);
        self.next_seq += 1;
        self.head.follow(record);
        let segment = self.current_mut();
        if let Record::Entry(entry) = record {
            segment.last_index = segment.last_index.max(Some(entry.id.index));
        }
        Ok(Position { segment: segment.number, offset: offset as u32, bytes: bytes as u32 })
    }

    fn fits(&self, bytes: u64) -> bool {
        self.offset + self.buffer.len() as u64 + bytes + CLOSED_BYTES <= self.current().bytes
    }

    fn write_buffer(&mut self) -> Result<(), StorageError> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let segment = self.current();
        let written = segment.file.write_at(self.offset, &self.buffer);
        written.map_err(|e| StorageError::io("write to", &segment::name(segment.first_seq), e))?;
        self.offset += self.buffer.len() as u64;
        self.buffer.clear();
        // A large entry grew it; nothing says that the next one is as large.
        self.buffer.shrink_to(BUFFER_BYTES);
        Ok(())
    }

    fn sync(&mut self) -> Result<(), StorageError> {
        self.write_buffer()?;
        #[cfg(feature = "fault")]
        if zke_tree::fault::is_on("ack-before-fsync") {
            self.durable_seq = self.next_seq;
            return Ok(());
        }
        let segment = self.current();
        let synced = segment.file.sync_data();
        synced.map_err(|e| StorageError::io("sync", &segment::name(segment.first_seq), e))?;
        self.durable_seq = self.next_seq;
        Ok(())
    }

    /// Proves, to whoever reads the log back, that the flush before it was complete. It is not synced itself: it goes
    /// to the disk with the next flush, or when the kernel finds the time.
    fn mark(&mut self) -> Result<(), StorageError> {
        if self.fits(record::HEADER_BYTES as u64) {
            self.put(&Record::Mark)?;
            self.write_buffer()?;
        }
        Ok(())
    }

    /// Goes on in a new segment, with room for a record of `bytes`. All that was written before is durable.
    fn open_segment(&mut self, bytes: u64) -> Result<(), StorageError> {
        let first_seq = self.next_seq;
        let mut start = Vec::with_capacity(256);
        let head = Record::Head(self.head);
        let needed = (segment::HEADER_BYTES + head.encoded_bytes()) as u64 + bytes + CLOSED_BYTES;
        let len = needed.max(self.options.segment_bytes);
        start.extend_from_slice(&segment::encode_header(self.options.member, first_seq, len));
        head.encode(&mut start, self.salt, first_seq, 0);

        let name = segment::name(first_seq);
        let failed = |attempt| {
            let name = &name;
            move |source| StorageError::io(attempt, name, source)
        };
        let file = self.spare.take(len)?;
        // Header and state are durable before the file gets its name, and the name before anything builds on it.
        file.write_at(0, &start).map_err(failed("begin"))?;
        file.sync_data().map_err(failed("sync"))?;
        self.disk.rename(SPARE, &name).map_err(failed("name"))?;
        self.sync_names()?;
        self.close_segment()?;

        let number = self.segments.back().map_or(0, |last| last.number + 1);
        self.segments.push_back(Segment {
            number,
            first_seq,
            bytes: len,
            file: Arc::new(file),
            last_index: None,
        });
        self.offset = start.len() as u64;
        self.next_seq += 1;
        self.durable_seq = self.next_seq;
        Ok(())
    }

    /// Writes at the end of the full segment that another one follows, so that losing that one is noticed.
    fn close_segment(&mut self) -> Result<(), StorageError> {
        let Some(full) = self.segments.back() else { return Ok(()) };
        let mut closed = Vec::new();
        Record::Closed.encode(&mut closed, self.salt, self.next_seq, 0);
        let written = full.file.write_at(self.offset, &closed);
        written.map_err(|e| StorageError::io("close", &segment::name(full.first_seq), e))
    }

    /// Removes segments of which every entry is purged, keeping one to be used again.
    fn drop_purged(&mut self, view: &View<D::File>) -> Result<(), StorageError> {
        let Some(purged) = self.head.purged else { return Ok(()) };
        let mut dropped = Vec::new();
        while self.segments.len() > 1 && self.segments[0].last_index.is_none_or(|last| last <= purged.index) {
            dropped.extend(self.segments.pop_front());
        }
        if dropped.is_empty() {
            return Ok(());
        }
        view.forget_segments(self.segments[0].number);
        for segment in dropped {
            self.retire(segment)?;
        }
        // Before a file that was renamed is written to: else a crash could bring back its old name with new content.
        self.sync_names()
    }

    fn retire(&mut self, segment: Segment<D::File>) -> Result<(), StorageError> {
        let name = segment::name(segment.first_seq);
        match Arc::into_inner(segment.file) {
            Some(_) => self.spare.recycle(&name, segment.bytes),
            // A reader that still holds the file must go on finding the old records in it.
            None => self.disk.remove(&name).map_err(|e| StorageError::io("remove", &name, e)),
        }
    }

    fn sync_names(&self) -> Result<(), StorageError> {
        #[cfg(feature = "fault")]
        if zke_tree::fault::is_on("no-directory-sync") {
            return Ok(());
        }
        self.disk.sync_dir().map_err(|e| StorageError::io("sync", "the data directory", e))
    }

    fn current(&self) -> &Segment<D::File> {
        self.segments.back().expect("a writer is made with a segment")
    }

    fn current_mut(&mut self) -> &mut Segment<D::File> {
        self.segments.back_mut().expect("a writer is made with a segment")
    }
}

/// A record and, if it is an entry, the number of its append.
#[derive(Debug, Clone)]
pub(super) struct Ticketed {
    pub ticket: u64,
    pub record: Record,
}
