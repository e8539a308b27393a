//! Whether this member is all there is of its ensemble.
//!
//! Then nobody waits for its heartbeats, and a small entry is written and applied right where Raft runs: a lone write
//! waits for the disk then, and for no thread to wake another. It decides where work is done and never what: being wrong
//! for a moment costs a heartbeat that is late by one flush.

use std::sync::atomic::{AtomicBool, Ordering};

/// Entries of more bytes than this together go to the threads made for them: with many commands at once, their work
/// overlaps.
const SMALL_BYTES: usize = 1 << 10;

#[derive(Debug, Default)]
pub(crate) struct Solitude(AtomicBool);

impl Solitude {
    /// Set by the leader's duties, which look at the membership several times a second.
    pub(crate) fn set(&self, alone: bool) {
        self.0.store(alone, Ordering::Relaxed);
    }

    /// Whether entries of so many bytes are for the thread that Raft runs on.
    pub(crate) fn takes(&self, entry_bytes: impl Iterator<Item = usize>) -> bool {
        self.0.load(Ordering::Relaxed) && entry_bytes.sum::<usize>() <= SMALL_BYTES
    }
}
