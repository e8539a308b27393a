//! Which connection waits for which of this process's commands.
//!
//! Commands are numbered as they are proposed and applied in that order, so this is a queue. It holds no more than the
//! ensemble's own backlog, whose bound refuses the next command first.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use zke_consensus::{AsyncRuntime, Busy, Ensemble};
use zke_tree::Command;

use crate::connection::Connection;

/// Sequences in rising order; those of commands that no connection waits for are missing.
#[derive(Debug, Default)]
pub struct Pending(Mutex<VecDeque<(u64, Arc<Connection>)>>);

impl Pending {
    /// Proposes a command for `connection`, whose lock the caller holds: so the order of sequences is the order of the
    /// session, and the command cannot complete before the connection waits for it.
    ///
    /// # Errors
    /// [`Busy`] if the ensemble has no room.
    pub fn propose<R: AsyncRuntime>(
        &self,
        ensemble: &Ensemble<R>,
        connection: &Arc<Connection>,
        command: Command,
    ) -> Result<(), Busy> {
        let mut waiting = self.0.lock();
        let sequence = ensemble.propose(command)?;
        waiting.push_back((sequence, Arc::clone(connection)));
        Ok(())
    }

    /// The connection that waits for `sequence`, which was just applied. Whatever came before it is forgotten.
    pub fn take(&self, sequence: u64) -> Option<Arc<Connection>> {
        let mut waiting = self.0.lock();
        while let Some((first, connection)) = waiting.pop_front_if(|(first, _)| *first <= sequence) {
            if first == sequence {
                return Some(connection);
            }
        }
        None
    }

    /// Forgets all, as all connections are cut.
    pub fn clear(&self) {
        self.0.lock().clear();
    }
}
