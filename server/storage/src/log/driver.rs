//! How a member drives its log: [`super::LogThread`] in a process, [`super::LogInline`] in a simulation, where nothing
//! may wait for another thread.

use super::{Entry, LogId, LogReader, Vote};
use crate::{Disk, StorageError};

/// Called once what it was given with is durable, or never will be.
pub type Done = Box<dyn FnOnce(Result<(), StorageError>) + Send>;

/// Takes operations in order, makes them durable in that order, and calls back in that order.
///
/// What was given is visible in [`LogDriver::reader`] when the call returns. After any error, also after one operation
/// was refused as [`StorageError::OutOfOrder`], every later operation fails.
pub trait LogDriver: Send + Sync + 'static {
    type Disk: Disk;

    fn append(&self, entries: Vec<Entry>, done: Done);

    /// The same, but the caller would rather wait for the disk than for another thread: if nothing else is being written,
    /// the call returns when these are durable, and `done` was called from within it.
    fn append_here(&self, entries: Vec<Entry>, done: Done);

    fn save_vote(&self, vote: Vote, done: Done);

    fn truncate_after(&self, after: Option<LogId>, done: Done);

    fn purge(&self, upto: LogId, done: Done);

    fn reader(&self) -> LogReader<Self::Disk>;
}
