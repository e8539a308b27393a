//! Looking at a log without changing a byte of it: what a start would find, and where.
//!
//! The same reading back as a start's, without its repairs: so what is called damaged here keeps a server from starting,
//! and what is called torn is what a start would cut off.

use std::sync::Arc;

use zke_tree::MemberId;

use super::record;
use super::recovery::{self, ReadBack};
use super::segment;
use super::view::View;
use super::{LogReader, Recovered};
use crate::{Disk, StorageError};

/// A log that was read from end to end.
pub struct LogInspection<D: Disk> {
    /// Oldest first.
    pub segments: Vec<SegmentFacts>,
    /// What a start would find.
    pub recovered: Recovered,
    /// The number of the last record.
    pub last_record: u64,
    /// For its entries: their checksums are verified again as they are read.
    pub reader: LogReader<D>,
}

/// One file of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentFacts {
    pub file: String,
    pub bytes: u64,
    pub first_record: u64,
    /// The highest index of an entry in it; `None` if there is none.
    pub last_index: Option<u64>,
}

impl<D: Disk> LogInspection<D> {
    /// Reads the log of `member`; `None` when there is none.
    ///
    /// # Errors
    /// As [`super::Log::open`] when something that was flushed is damaged or missing.
    pub fn of(disk: &D, member: MemberId) -> Result<Option<Self>, StorageError> {
        let Some(ReadBack { index, segments, next_seq, tail, leftovers }) =
            recovery::read_back(disk, member)?
        else {
            return Ok(None);
        };
        let torn = recovery::torn(&segments, &tail, &leftovers);
        let head = index.head();
        let facts = segments.iter().map(|segment| SegmentFacts {
            file: segment::name(segment.first_seq),
            bytes: segment.bytes,
            first_record: segment.first_seq,
            last_index: segment.last_index,
        });
        let facts = facts.collect();
        let view = View::new(index, record::salt(member), 0);
        view.publish(&[], segments.iter());
        Ok(Some(LogInspection {
            segments: facts,
            recovered: Recovered { vote: head.vote, purged: head.purged, last: head.last, torn },
            last_record: next_seq - 1,
            reader: LogReader { view: Arc::new(view) },
        }))
    }
}
