//! The log in the thread of whoever calls, for a simulation: a flush ends when the simulation says so.
//!
//! As with [`super::LogThread`], what was given is visible at once, and whatever waits when a flush has ended goes into
//! the next one.

use std::sync::Arc;

use parking_lot::Mutex;

use super::driver::{Done, LogDriver};
use super::writer::Ticketed;
use super::{Entry, Log, LogId, LogReader, Vote};
use crate::Disk;

/// A write and its fdatasync. Dropping it uncalled leaves what was to be written to nobody, as the end of a process does.
pub type Flush = Box<dyn FnOnce() + Send>;

/// Calls each flush once: at once, or when its time has come. The next one is not given before.
pub type Pace = Arc<dyn Fn(Flush) + Send + Sync>;

/// Writes at the pace of a simulated disk, and calls back from within the flush.
pub struct LogInline<D: Disk> {
    shared: Arc<Shared<D>>,
}

struct Shared<D: Disk> {
    state: Mutex<State<D>>,
    pace: Pace,
}

struct State<D: Disk> {
    log: Log<D>,
    /// Of the operations that no flush took yet.
    done: Vec<Done>,
    flushing: bool,
}

/// What one flush makes durable.
struct Batch {
    records: Vec<Ticketed>,
    done: Vec<Done>,
}

impl<D: Disk> LogInline<D> {
    /// Every operation is durable when its call returns.
    pub fn new(log: Log<D>) -> LogInline<D> {
        LogInline::paced(log, Arc::new(|flush| flush()))
    }

    pub fn paced(log: Log<D>, pace: Pace) -> LogInline<D> {
        let state = Mutex::new(State { log, done: Vec::new(), flushing: false });
        LogInline { shared: Arc::new(Shared { state, pace }) }
    }

    fn run(&self, operation: impl FnOnce(&mut Log<D>), done: Done) {
        let mut state = self.shared.state.lock();
        operation(&mut state.log);
        state.done.push(done);
        drop(state);
        self.shared.go_on();
    }
}

impl<D: Disk> Shared<D> {
    /// Begins to flush what waits. If a flush is under way, its end does that.
    fn go_on(self: &Arc<Self>) {
        let Some(batch) = self.state.lock().take() else { return };
        let shared = self.clone();
        (self.pace)(Box::new(move || shared.flush(batch)));
    }

    fn flush(self: Arc<Self>, batch: Batch) {
        let result = self.state.lock().log.write(&batch.records);
        // Not under the lock: what they call may give the next operation.
        batch.done.into_iter().for_each(|done| done(result.clone()));
        self.state.lock().flushing = false;
        self.go_on();
    }
}

impl<D: Disk> State<D> {
    fn take(&mut self) -> Option<Batch> {
        if self.flushing || self.done.is_empty() {
            return None;
        }
        self.flushing = true;
        Some(Batch { records: std::mem::take(&mut self.log.pending), done: std::mem::take(&mut self.done) })
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
        self.shared.state.lock().log.reader()
    }
}
