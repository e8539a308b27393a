//! Runs blocking work in order: on a thread of its own, or right where it is called.
//!
//! The second form is for simulation, where everything has to happen in one thread. The first keeps the apply of
//! entries and the writing of snapshots away from the threads that answer heartbeats.

use std::io;
use std::sync::mpsc;
use std::thread;

use tokio::sync::oneshot;

type Job = Box<dyn FnOnce() + Send>;

/// Jobs waiting for a worker thread. Callers wait for their job, and there are at most a handful of callers.
const JOBS_WAITING_MAX: usize = 16;

#[derive(Clone)]
pub enum Worker {
    Inline,
    Thread(mpsc::SyncSender<Job>),
}

impl Worker {
    /// A worker with its own thread, which ends when the last clone is dropped.
    pub fn thread(name: &str) -> io::Result<Worker> {
        let (sender, receiver) = mpsc::sync_channel::<Job>(JOBS_WAITING_MAX);
        thread::Builder::new().name(name.to_owned()).spawn(move || receiver.iter().for_each(|job| job()))?;
        Ok(Worker::Thread(sender))
    }

    /// Runs `job` after the ones before it. Fails if the thread died, which only a panic in a job can cause, and if too
    /// many wait for it.
    pub async fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
        match self {
            Worker::Inline => Ok(job()),
            Worker::Thread(sender) => {
                let (done, outcome) = oneshot::channel();
                let job: Job = Box::new(move || {
                    // The caller may have been cancelled: nobody to tell, but the work is done.
                    let _ = done.send(job());
                });
                sender.try_send(job).map_err(|error| match error {
                    mpsc::TrySendError::Full(_) => io::Error::other("too much waits for a worker thread"),
                    mpsc::TrySendError::Disconnected(_) => died(),
                })?;
                outcome.await.map_err(|_| died())
            }
        }
    }
}

fn died() -> io::Error {
    io::Error::other("a worker thread of this process died; its panic is in the log above")
}
