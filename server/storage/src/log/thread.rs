//! The log in a thread of its own: whatever waits when it comes back from one fdatasync goes into the next.
//!
//! On a full volume whose reserve is spent it waits before it writes what needs a new segment, and goes on when there is one. A write or
//! fsync that failed is another matter: it is never tried again.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::driver::{Done, LogDriver};
use super::view::View;
use super::writer::{Ticketed, Writer};
use super::{Entry, Log, LogId, LogReader, Vote};
use crate::{Disk, StorageError};

/// How much may wait for the disk before a caller waits too. It only fills when the disk takes less than the network
/// brings; then more memory would buy nothing but latency. As much again can be in the batch that is being written.
const QUEUE_BYTES_MAX: usize = 16 << 20;

/// How often a full volume is asked again. Often enough that nobody notices when there is space, seldom enough that
/// filling a part of a segment and removing it again costs nothing.
const FULL_INTERVAL: Duration = Duration::from_millis(500);

/// What an operation costs in the queue besides the payload it carries.
const JOB_BYTES: usize = 128;

/// Drives a [`Log`] from any thread. Dropping it waits until everything given is durable, or has failed.
///
/// A call blocks only while the queue is full, [`LogDriver::append_here`] apart. Callbacks run on the log's thread, so they
/// must be short; that of a refused operation runs at once.
pub struct LogThread<D: Disk> {
    queue: Arc<Queue>,
    /// Locked by whoever has set [`Waiting::writing`], or holds the queue while it is not set: so nobody ever waits for it.
    writer: Arc<Mutex<Writer<D>>>,
    view: Arc<View<D::File>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Queue {
    state: Mutex<Waiting>,
    work: Condvar,
    room: Condvar,
    /// Told when the log is closed; apart from `work`, of which a thread that waits for space can do none.
    closing: Condvar,
}

#[derive(Default)]
struct Waiting {
    records: Vec<Ticketed>,
    /// Each with the result of the batch that took its records.
    done: Vec<Done>,
    bytes: usize,
    /// What was taken from here is being written, by the thread or by a caller. What comes meanwhile goes behind it.
    writing: bool,
    /// An operation did not fit the log, so the callers are no longer in step with it.
    refused: bool,
    closed: bool,
}

impl<D: Disk> LogThread<D> {
    /// Starts the thread. `log` is as it was opened; operations that wait in it for a flush are flushed first.
    pub fn spawn(log: Log<D>) -> io::Result<LogThread<D>> {
        let Log { mut writer, view, pending, refused, .. } = log;
        writer.use_background();
        let queue = Arc::new(Queue::default());
        {
            let mut waiting = queue.state.lock();
            waiting.records = pending;
            waiting.refused = refused.is_some();
        }
        let writer = Arc::new(Mutex::new(writer));
        let thread = std::thread::Builder::new().name("log".to_owned()).spawn({
            let (queue, writer, view) = (queue.clone(), writer.clone(), view.clone());
            move || run(&writer, &view, &queue)
        })?;
        Ok(LogThread { queue, writer, view, thread: Some(thread) })
    }

    /// Queues an operation for the thread.
    fn submit(
        &self,
        bytes: usize,
        change: impl FnOnce(&View<D::File>) -> Result<Vec<Ticketed>, StorageError>,
        done: Done,
    ) {
        if self.accept(bytes, change, done) {
            self.queue.work.notify_one();
        }
    }

    /// The view changes and the record is queued under one lock, so that both see one order. True if nobody is writing,
    /// who would come to it without being told.
    fn accept(
        &self,
        bytes: usize,
        change: impl FnOnce(&View<D::File>) -> Result<Vec<Ticketed>, StorageError>,
        done: Done,
    ) -> bool {
        let mut waiting = self.queue.state.lock();
        while waiting.bytes > QUEUE_BYTES_MAX {
            self.queue.room.wait(&mut waiting);
        }
        let records = if waiting.refused { Err(StorageError::Poisoned) } else { change(&self.view) };
        match records {
            Ok(records) => {
                waiting.records.extend(records);
                waiting.done.push(done);
                waiting.bytes += bytes + JOB_BYTES;
                !waiting.writing
            }
            Err(refused) => {
                waiting.refused = true;
                drop(waiting);
                done(Err(refused));
                false
            }
        }
    }

    /// Writes what waits, in the thread of the caller. If somebody writes already, that one comes to it; and a caller is
    /// not held up by the making of a segment.
    fn write_here(&self) {
        let mut waiting = self.queue.state.lock();
        if waiting.writing {
            return;
        }
        let mut writer = self.writer.lock();
        if writer.fitting(&waiting.records) < waiting.records.len() {
            self.queue.work.notify_one();
            return;
        }
        let Some(batch) = waiting.take() else { return };
        drop(waiting);
        self.queue.room.notify_all();
        let result = writer.write(&batch.records, &self.view);
        drop(writer);
        batch.answer(result);
        let mut waiting = self.queue.state.lock();
        waiting.writing = false;
        if !waiting.is_empty() {
            self.queue.work.notify_one();
        }
    }
}

impl Waiting {
    fn is_empty(&self) -> bool {
        self.records.is_empty() && self.done.is_empty()
    }

    /// All that waits, for one to write who then says that nobody is writing any more. `None` if there is nothing, or if
    /// somebody writes.
    fn take(&mut self) -> Option<Waiting> {
        if self.writing || self.is_empty() {
            return None;
        }
        let Waiting { refused, closed, .. } = *self;
        Some(std::mem::replace(self, Waiting { writing: true, refused, closed, ..Waiting::default() }))
    }

    fn answer(self, result: Result<(), StorageError>) {
        for done in self.done {
            done(result.clone());
        }
    }
}

fn run<D: Disk>(writer: &Mutex<Writer<D>>, view: &View<D::File>, queue: &Queue) {
    let _answers = AnswersTheRest(queue);
    let mut waiting = queue.state.lock();
    loop {
        match waiting.take() {
            Some(batch) => {
                drop(waiting);
                queue.room.notify_all();
                let result = write(&mut writer.lock(), &batch.records, view, queue);
                batch.answer(result);
                waiting = queue.state.lock();
                waiting.writing = false;
            }
            None if waiting.closed => return,
            None => queue.work.wait(&mut waiting),
        }
    }
}

/// Writes up to the end of the segment, makes sure of the next one, and so on.
fn write<D: Disk>(
    writer: &mut Writer<D>,
    records: &[Ticketed],
    view: &View<D::File>,
    queue: &Queue,
) -> Result<(), StorageError> {
    if records.is_empty() {
        return writer.write(records, view);
    }
    let mut rest = records;
    while !rest.is_empty() {
        let mut count = writer.fitting(rest);
        if count == 0 {
            wait_for_space(writer, view, queue)?;
            count = 1;
        }
        let (now, later) = rest.split_at(count);
        writer.write(now, view)?;
        rest = later;
    }
    Ok(())
}

/// Until there is a next segment, or the log is closed: then what waits was not written.
fn wait_for_space<D: Disk>(
    writer: &mut Writer<D>,
    view: &View<D::File>,
    queue: &Queue,
) -> Result<(), StorageError> {
    loop {
        let reserved = writer.reserve();
        let full = matches!(&reserved, Err(error) if error.is_full());
        view.set_full(full);
        let mut waiting = queue.state.lock();
        if !full || waiting.closed {
            return reserved;
        }
        queue.closing.wait_for(&mut waiting, FULL_INTERVAL);
    }
}

/// When the thread ends, also by a panic, nobody waits for it any more.
struct AnswersTheRest<'a>(&'a Queue);

impl Drop for AnswersTheRest<'_> {
    fn drop(&mut self) {
        let rest =
            std::mem::replace(&mut *self.0.state.lock(), Waiting { refused: true, ..Waiting::default() });
        self.0.room.notify_all();
        for done in rest.done {
            done(Err(StorageError::Poisoned));
        }
    }
}

impl<D: Disk> LogDriver for LogThread<D> {
    type Disk = D;

    fn append(&self, entries: Vec<Entry>, done: Done) {
        self.submit(bytes_of(&entries), |view| view.append(&entries), done);
    }

    fn append_here(&self, entries: Vec<Entry>, done: Done) {
        if self.accept(bytes_of(&entries), |view| view.append(&entries), done) {
            self.write_here();
        }
    }

    fn save_vote(&self, vote: Vote, done: Done) {
        self.submit(0, |view| view.save_vote(vote), done);
    }

    fn truncate_after(&self, after: Option<LogId>, done: Done) {
        self.submit(0, |view| view.truncate_after(after), done);
    }

    fn purge(&self, upto: LogId, done: Done) {
        self.submit(0, |view| view.purge(upto), done);
    }

    fn reader(&self) -> LogReader<D> {
        LogReader { view: self.view.clone() }
    }
}

fn bytes_of(entries: &[Entry]) -> usize {
    entries.iter().map(|entry| entry.payload.bytes().len() + JOB_BYTES).sum()
}

impl<D: Disk> Drop for LogThread<D> {
    /// Nobody writes here any more but the thread: a caller who did would still hold the handle.
    fn drop(&mut self) {
        self.queue.state.lock().closed = true;
        self.queue.work.notify_one();
        self.queue.closing.notify_one();
        if let Some(thread) = self.thread.take()
            // A callback may hold the last handle; the thread ends by itself then.
            && thread.thread().id() != std::thread::current().id()
        {
            let _ = thread.join();
        }
    }
}
