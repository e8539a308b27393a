//! How a member drives its log: [`super::LogThread`] in a process, [`LogInline`] in a simulation, where nothing may
//! wait for another thread.

use parking_lot::Mutex;

use super::{Entry, Log, LogId, LogReader, Vote};
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

/// Flushes each operation before the call returns, and calls back from within it.
pub struct LogInline<D: Disk> {
    log: Mutex<Log<D>>,
    reader: LogReader<D>,
}

impl<D: Disk> LogInline<D> {
    pub fn new(log: Log<D>) -> LogInline<D> {
        LogInline { reader: log.reader(), log: Mutex::new(log) }
    }

    fn run(&self, operation: impl FnOnce(&mut Log<D>), done: Done) {
        let result = {
            let mut log = self.log.lock();
            operation(&mut log);
            log.flush()
        };
        // Not under the lock: what it calls may give the next operation.
        done(result);
    }
}

impl<D: Disk> LogDriver for LogInline<D> {
    type Disk = D;

    fn append(&self, entries: Vec<Entry>, done: Done) {
        self.run(|log| log.append(&entries), done);
    }

    fn append_here(&self, entries: Vec<Entry>, done: Done) {
        self.append(entries, done);
    }

    fn save_vote(&self, vote: Vote, done: Done) {
        self.run(|log| log.save_vote(vote), done);
    }

    fn truncate_after(&self, after: Option<LogId>, done: Done) {
        self.run(|log| log.truncate_after(after), done);
    }

    fn purge(&self, upto: LogId, done: Done) {
        self.run(|log| log.purge(upto), done);
    }

    fn reader(&self) -> LogReader<D> {
        self.reader.clone()
    }
}
