//! The write-ahead log: votes and entries in one ordered sequence of records.
//!
//! What is durable, in the order in which it grows:
//!
//! ```text
//! purged  <=  flushed  <=  appended
//! ```
//!
//! - `appended` is what [`LogReader`] shows; it may be lost in a crash.
//! - `flushed` is what a [`Log::flush`] that returned `Ok` covers: votes, entries, truncations and purges are found
//!   again, in the order in which they were given, after any crash. Nothing before it is reported to anyone.
//! - `purged` is what is in a snapshot. Segments below it are removed or used again, after the mark itself is durable.
//!
//! The log never serves a state that it cannot prove: [`Log::open`] fails on damage and on a missing file, and after a
//! failed write or fsync it takes nothing more. It repairs one thing only: the torn end of a flush that never finished.

mod driver;
mod entry;
#[cfg(any(test, fuzzing))]
pub(crate) mod hostile;
mod index;
mod inline;
mod inspection;
mod record;
mod recovery;
pub mod reserve;
mod segment;
mod spare;
mod thread;
mod view;
mod writer;

use std::ops::Range;
use std::sync::Arc;

pub use driver::{Done, LogDriver};
pub use entry::{Entry, LogId, Payload, Vote};
pub use inline::{Flush, LogInline, Pace};
pub use inspection::{LogInspection, SegmentFacts};
pub use recovery::Torn;
pub use reserve::Reserve;
pub use thread::LogThread;

use zke_tree::MemberId;

use crate::{Disk, StorageError};
use index::Index;
use view::View;
use writer::{Ticketed, Writer};

/// How a log is laid out. The sizes may differ from one start to the next.
#[derive(Debug, Clone)]
pub struct LogOptions {
    /// The member id of this disk. Segments of another one are refused.
    pub member: MemberId,
    /// The identity says that this disk was in use, so a missing log is a loss and not a new beginning.
    pub must_exist: bool,
    /// Length of a segment file; 4 KiB to 1 GiB. An entry that does not fit gets a longer one of its own.
    pub segment_bytes: u64,
    /// How much of the end of the log stays in memory, for replication and apply.
    pub tail_cache_bytes: usize,
}

impl LogOptions {
    pub fn new(member: MemberId) -> LogOptions {
        LogOptions {
            member,
            must_exist: false,
            // As ZooKeeper preallocates: a new one every few seconds at full load, little to lose on a small volume.
            segment_bytes: 64 << 20,
            // A follower that is half a second behind at full load; what is older comes from the page cache.
            tail_cache_bytes: 16 << 20,
        }
    }
}

/// What [`Log::open`] found. All of it is durable.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovered {
    pub vote: Option<Vote>,
    /// The last entry that was purged.
    pub purged: Option<LogId>,
    /// The last entry; equal to `purged` when no entry is left.
    pub last: Option<LogId>,
    /// Where the leftovers of a flush that never finished were cut off. Worth a line in the server's own log.
    pub torn: Option<Torn>,
}

/// The log, driven by one owner. See [`LogThread`] and [`LogInline`] for how a member drives it.
pub struct Log<D: Disk> {
    writer: Writer<D>,
    view: Arc<View<D::File>>,
    reserve: Reserve<D>,
    pending: Vec<Ticketed>,
    refused: Option<StorageError>,
}

impl<D: Disk> Log<D> {
    /// Reads back the log on `disk`, or makes a new one.
    ///
    /// Fails with [`StorageError::Corrupt`] when something that was flushed is damaged, with
    /// [`StorageError::Missing`] when a file is gone, and with [`StorageError::Foreign`] when the log is another
    /// member's. In all cases the files are left as they are.
    pub fn open(disk: D, options: LogOptions) -> Result<(Log<D>, Recovered), StorageError> {
        assert!(
            (1 << 12..=1 << 30).contains(&options.segment_bytes),
            "segment_bytes is a constant of the program, in 4 KiB to 1 GiB"
        );
        let (must_exist, tail_cache_bytes) = (options.must_exist, options.tail_cache_bytes);
        let salt = record::salt(options.member);
        let found = recovery::recover(&disk, &options)?;
        // After what may refuse the files, which leaves them as they are.
        let reserve = Reserve::open(disk.clone(), options.segment_bytes)?;
        let (writer, index, torn) = match found {
            None if must_exist => return Err(StorageError::Missing { file: "log-*".to_owned() }),
            None => (Writer::create(disk, options, reserve.clone())?, Index::default(), None),
            Some(mut found) => {
                let (index, torn) = (std::mem::take(&mut found.index), found.torn.take());
                (Writer::resume(disk, options, index.head(), found, reserve.clone())?, index, torn)
            }
        };
        let head = index.head();
        let view = View::new(index, salt, tail_cache_bytes);
        view.publish(&[], writer.segments());
        let recovered = Recovered { vote: head.vote, purged: head.purged, last: head.last, torn };
        let log = Log { writer, view: Arc::new(view), reserve, pending: Vec::new(), refused: None };
        Ok((log, recovered))
    }

    /// Adds entries: visible at once, durable after the next flush. The first one must follow the last of the log.
    pub fn append(&mut self, entries: &[Entry]) {
        let records = self.view.append(entries);
        self.queue(records);
    }

    /// Replaces the vote. It must not go back: a lower term, or a second candidate in one term.
    pub fn save_vote(&mut self, vote: Vote) {
        let records = self.view.save_vote(vote);
        self.queue(records);
    }

    /// Removes every entry after `after`, which must be in the log, the last one purged, or `None` for all.
    pub fn truncate_after(&mut self, after: Option<LogId>) {
        let records = self.view.truncate_after(after);
        self.queue(records);
    }

    /// Removes every entry up to `upto`, which may lie beyond the last one when a snapshot was installed.
    pub fn purge(&mut self, upto: LogId) {
        let records = self.view.purge(upto);
        self.queue(records);
    }

    /// Makes all of the above durable, in order: one write and one fdatasync.
    ///
    /// Fails with [`StorageError::OutOfOrder`] when one of them did not fit; then, and after every other error, the
    /// log takes nothing more.
    pub fn flush(&mut self) -> Result<(), StorageError> {
        let records = std::mem::take(&mut self.pending);
        self.write(&records)
    }

    fn write(&mut self, records: &[Ticketed]) -> Result<(), StorageError> {
        match &self.refused {
            Some(refused) => Err(refused.clone()),
            None if records.is_empty() => Ok(()),
            None => self.writer.write(records, &self.view),
        }
    }

    /// A handle to read the log with, from any thread.
    pub fn reader(&self) -> LogReader<D> {
        LogReader { view: self.view.clone() }
    }

    /// The space that is set aside for it. Whoever opened the log fills it.
    pub fn reserve(&self) -> Reserve<D> {
        self.reserve.clone()
    }

    fn queue(&mut self, records: Result<Vec<Ticketed>, StorageError>) {
        match records {
            Ok(records) if self.refused.is_none() => self.pending.extend(records),
            Ok(_) => {}
            // The first misfit is the cause of those that follow.
            Err(refused) => {
                self.refused.get_or_insert(refused);
            }
        }
    }
}

/// Reads the log while it is written to. Clones are cheap and go to other threads.
pub struct LogReader<D: Disk> {
    view: Arc<View<D::File>>,
}

impl<D: Disk> Clone for LogReader<D> {
    fn clone(&self) -> Self {
        LogReader { view: self.view.clone() }
    }
}

impl<D: Disk> LogReader<D> {
    /// The entries of `range`, in order, from the first that is not purged: at least one if there is any, then as many
    /// as fit into `max_bytes` of payload, roughly.
    ///
    /// From memory if they are recent, else from the files, checksums verified.
    pub fn entries(&self, range: Range<u64>, max_bytes: usize) -> Result<Vec<Entry>, StorageError> {
        self.view.entries(range, max_bytes)
    }

    /// The last entry that was appended; what was purged when there is none after it.
    pub fn last(&self) -> Option<LogId> {
        self.view.head().last
    }

    /// Whether the log waits for space on its volume: what was appended last is not durable until there is some.
    pub fn waits_for_space(&self) -> bool {
        self.view.is_full()
    }

    pub fn purged(&self) -> Option<LogId> {
        self.view.head().purged
    }

    /// How many segments were begun since the one in which the entry at `index` stands; 0 for one that is not written yet.
    pub fn segments_behind(&self, index: u64) -> u32 {
        self.view.segments_behind(index)
    }

    /// The last entry that has `segments` whole segments and more between it and the entry at `index`, if there is one.
    pub fn last_before(&self, index: u64, segments: u32) -> Option<u64> {
        self.view.last_before(index, segments)
    }

    pub fn vote(&self) -> Option<Vote> {
        self.view.head().vote
    }
}

/// Whether a file of this name holds a part of a log.
pub(crate) fn is_segment(name: &str) -> bool {
    segment::parse_name(name).is_some()
}
