//! Read barriers for `sync`: one asked of the leader at a time, for all syncs that wait.
//!
//! A barrier that is under way may have begun before a sync arrived, so that sync waits for the next one. What waits is
//! bounded by the requests that connections may have outstanding.

use std::mem;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;
use zke_consensus::{AsyncRuntime, Ensemble};

use crate::connection::{Connection, Ending};
use crate::hub::Hub;

#[derive(Debug, Default)]
pub struct Barriers {
    waiting: Mutex<Vec<Sync>>,
    asked: Notify,
}

#[derive(Debug)]
struct Sync {
    connection: Arc<Connection>,
    /// Of the barrier within the connection.
    number: u64,
}

impl Barriers {
    /// Asks for a barrier that begins after this call.
    pub fn ask(&self, connection: &Arc<Connection>, number: u64) {
        self.waiting.lock().push(Sync { connection: Arc::clone(connection), number });
        self.asked.notify_one();
    }

    /// Syncs that wait for the next barrier.
    pub fn waiting(&self) -> usize {
        self.waiting.lock().len()
    }

    /// Takes barriers as long as it is polled.
    pub async fn run<R: AsyncRuntime>(&self, ensemble: &Ensemble<R>, hub: &Hub) {
        loop {
            self.asked.notified().await;
            let waiting = mem::take(&mut *self.waiting.lock());
            // An error means that this member serves no more: its connections are being cut, these among them.
            let Ok(index) = ensemble.read_barrier().await else {
                waiting.iter().for_each(|sync| sync.connection.end(Ending::Cut));
                continue;
            };
            ensemble.wait_applied(index).await;
            answer(&waiting, ensemble, hub);
        }
    }
}

fn answer<R: AsyncRuntime>(waiting: &[Sync], ensemble: &Ensemble<R>, hub: &Hub) {
    let state = ensemble.state().read();
    for Sync { connection, number } in waiting {
        connection.barrier_reached(*number, &state, &hub.watches);
    }
}
