//! The commands of this process on their way: shared by those who propose, the link that sends, and apply.

use std::collections::HashMap;

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use zke_tree::{Applied, Command, Origin, Reply};
use zke_wire::ErrorCode;

use crate::proposer::{Batch, Busy, Proposer};

/// What became of a command that somebody in this process waits for.
pub type Outcome = Result<Reply, ErrorCode>;

pub struct Proposals {
    proposer: Mutex<Proposer>,
    /// Few: administration and expiry. Client writes are completed by the observer.
    waiters: Mutex<HashMap<u64, oneshot::Sender<Outcome>>>,
    more_to_send: Notify,
    room: Notify,
}

impl Proposals {
    pub fn new(origin: Origin) -> Proposals {
        Proposals {
            proposer: Mutex::new(Proposer::new(origin)),
            waiters: Mutex::new(HashMap::new()),
            more_to_send: Notify::new(),
            room: Notify::new(),
        }
    }

    pub fn propose(&self, command: Command) -> Result<u64, Busy> {
        let sequence = self.proposer.lock().propose(command)?;
        self.more_to_send.notify_one();
        Ok(sequence)
    }

    /// Proposes and hears what apply made of it. The receiver fails only if the process ends first.
    pub fn propose_and_hear(&self, command: Command) -> Result<oneshot::Receiver<Outcome>, Busy> {
        let (sender, receiver) = oneshot::channel();
        // The waiter is there before apply can look for it.
        let mut waiters = self.waiters.lock();
        let sequence = self.proposer.lock().propose(command)?;
        waiters.insert(sequence, sender);
        drop(waiters);
        self.more_to_send.notify_one();
        Ok(receiver)
    }

    /// Waits until a proposal has a chance again. Many may wait and find that others were quicker: they try again.
    pub async fn room(&self) {
        loop {
            let freed = self.room.notified();
            tokio::pin!(freed);
            freed.as_mut().enable();
            if self.proposer.lock().has_room() {
                return;
            }
            freed.await;
        }
    }

    pub fn outstanding(&self) -> u64 {
        self.proposer.lock().outstanding()
    }

    pub fn resume(&self, next_sequence: u64) {
        self.proposer.lock().resume(next_sequence);
        self.more_to_send.notify_one();
    }

    pub fn link_lost(&self) {
        self.proposer.lock().link_lost();
    }

    pub fn next_batch(&self) -> Option<Batch> {
        self.proposer.lock().next_batch()
    }

    /// Completes when there may be something to send.
    pub async fn more_to_send(&self) {
        self.more_to_send.notified().await;
    }

    /// One own command was applied: tells whoever waits for exactly this one.
    pub fn hear(&self, applied: &Applied<'_>) {
        let mut waiters = self.waiters.lock();
        if let Some(waiter) = waiters.remove(&applied.sequence) {
            // The waiter may have given up; the command took effect all the same.
            let _ = waiter.send(applied.result.clone());
        }
    }

    /// All own commands up to `sequence` were applied.
    pub fn applied(&self, sequence: u64) {
        let mut proposer = self.proposer.lock();
        let had_room = proposer.has_room();
        proposer.applied(sequence);
        drop(proposer);
        if !had_room {
            self.room.notify_waiters();
        }
        self.more_to_send.notify_one();
    }
}
