//! The threads that serve clients.
//!
//! Each has a runtime of its own, and a connection stays on the thread that it was given to: the one with the fewest. So what
//! its tasks wake is run next on the same thread, without a system call, and no idle thread is woken to look whether there is
//! work for it: with that a lone write cost a fifth more CPU and was answered in 0.31 ms instead of 0.27 (medians, two cores).
//!
//! Never moves a connection: a busy client slows down those of its own thread only.

use std::io;
use std::sync::Arc;
use std::thread::{self, Builder};

use tokio::runtime::{self, Handle};
use tokio_util::sync::{CancellationToken, DropGuard};

/// Name of these threads.
pub const NAME: &str = "clients";

/// Ends its threads, and with them whatever they still serve, when it is dropped.
pub struct Workers {
    /// At least one.
    workers: Vec<Worker>,
    _stop: DropGuard,
}

struct Worker {
    runtime: Handle,
    /// Cloned for each connection, which counts them.
    place: Place,
}

/// Kept by a connection for as long as it is served.
pub type Place = Arc<()>;

impl Workers {
    /// As many as the machine runs at a time.
    ///
    /// # Errors
    /// Those of the system: it has no more threads or files.
    pub fn start() -> io::Result<Workers> {
        let count = thread::available_parallelism().map_or(1, usize::from);
        let stop = CancellationToken::new();
        let workers = (0..count).map(|_| Worker::start(stop.clone())).collect::<io::Result<_>>()?;
        Ok(Workers { workers, _stop: stop.drop_guard() })
    }

    /// Where the next connection is served, and its place there.
    pub fn place(&self) -> (&Handle, Place) {
        let fewest = self.workers.iter().min_by_key(|worker| worker.connections());
        let worker = fewest.unwrap_or(&self.workers[0]);
        (&worker.runtime, worker.place.clone())
    }
}

impl Worker {
    fn start(stop: CancellationToken) -> io::Result<Worker> {
        // Every other task is one that another thread has woken, if there is one: mostly a client whose write was applied. By
        // default it is every 31st, and while many clients read, those that write waited longest for a place in that line.
        let mut runtime = runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().global_queue_interval(2).build()?;
        let handle = runtime.handle().clone();
        Builder::new().name(NAME.to_owned()).spawn(move || runtime.block_on(stop.cancelled()))?;
        Ok(Worker { runtime: handle, place: Place::default() })
    }

    fn connections(&self) -> usize {
        Arc::strong_count(&self.place) - 1
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn connections_are_spread_over_the_threads_and_places_are_given_back() {
        let workers = Workers::start().expect("threads can be started");
        let counts = || workers.workers.iter().map(Worker::connections).collect::<Vec<_>>();
        let mut places: Vec<_> = (0..counts().len() * 3).map(|_| workers.place().1).collect();
        assert!(counts().iter().all(|count| *count == 3), "{:?}", counts());
        // The first was put on the first thread, which has the fewest when it is gone.
        places.remove(0);
        places.push(workers.place().1);
        assert!(counts().iter().all(|count| *count == 3), "{:?}", counts());
        drop(places);
        assert!(counts().iter().all(|count| *count == 0), "{:?}", counts());
    }

    #[test]
    fn what_is_spawned_at_a_place_runs_on_a_thread_for_clients() {
        let workers = Workers::start().expect("threads can be started");
        let (sender, receiver) = mpsc::channel();
        workers.place().0.spawn(async move { sender.send(thread::current().name().map(str::to_owned)) });
        assert_eq!(receiver.recv().expect("it ran"), Some(NAME.to_owned()));
    }
}
