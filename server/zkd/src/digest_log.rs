//! Digests of the replicated state at round zxids: members that agree say the same of the same zxid.
//!
//! As many and as often as ZooKeeper keeps of its own; the digests themselves are ours.

use std::collections::VecDeque;

use zke_tree::State;
use zke_wire::Zxid;

/// As in ZooKeeper: a digest each so many zxids, ...
const INTERVAL: i64 = 128;
/// ... and so many of them.
const KEPT: usize = 1_024;

/// The latest digests of this process, the oldest first.
#[derive(Debug, Default)]
pub struct DigestLog(VecDeque<(Zxid, u64)>);

impl DigestLog {
    /// Whether a digest is kept of this zxid.
    pub fn wants(zxid: Zxid) -> bool {
        // The first of an epoch is that of a new leader, not of a command.
        zxid.counter() > 0 && zxid.0 % INTERVAL == 0
    }

    /// To be called after the command that consumed a zxid that is wanted.
    pub fn note(&mut self, state: &State, zxid: Zxid) {
        // A command that consumes no zxid comes with that of the one before.
        if self.0.back().is_some_and(|(last, _)| *last >= zxid) {
            return;
        }
        if self.0.len() == KEPT {
            self.0.pop_front();
        }
        self.0.push_back((zxid, state.digest()));
    }

    pub fn iter(&self) -> impl Iterator<Item = (Zxid, u64)> {
        self.0.iter().copied()
    }
}
