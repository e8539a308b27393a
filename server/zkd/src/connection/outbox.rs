//! What waits to be written to a client, and how much of it may.

use std::mem;

use bytes::BytesMut;

use super::{Connection, Ending, Inner};
use crate::identity::Identities;

/// Watch events and answers behind a write come without the reader's doing. A connection that has more bytes than this
/// waiting when another message comes is closed: only a client that has stopped reading gets there.
const OUTBOX_MAX_BYTES: usize = 64 << 20;
/// With so many bytes on their way out on all connections together, in outboxes and with writers, ...
const ALL_UNWRITTEN_MAX_BYTES: u64 = 64 << 20;
/// ... this takes the place of the limit above, so that clients that stop reading do not have that each. Who reads has
/// its answers in the buffers of its socket, and next to none of them here.
const OUTBOX_SHARE_BYTES: usize = 1 << 20;

/// What the writer has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outbox {
    Write,
    Wait,
    End,
}

/// For whoever has something to say.
impl Connection {
    /// Appends to the outbox what `encode` writes, unless nothing goes out any more.
    pub(super) fn push(
        &self,
        inner: &mut Inner,
        messages: u64,
        encode: impl FnOnce(&Identities, &mut BytesMut),
    ) {
        if inner.ending >= Ending::Flushing {
            return;
        }
        if inner.outbox.len() > self.outbox_max_bytes() {
            tracing::warn!(peer = %self.peer, bytes = inner.outbox.len(), "closing a connection that does not read");
            inner.end(Ending::Cut, &self.cut, &self.stats);
            return;
        }
        let before = inner.outbox.len();
        encode(&inner.identities, &mut inner.outbox);
        let len = inner.outbox.len() - before;
        inner.unwritten_bytes += len;
        self.stats.unwritten_bytes.add(len as u64);
        self.stats.response_bytes.record(len as u64);
        self.count_sent(messages);
    }

    fn outbox_max_bytes(&self) -> usize {
        let all_full = self.stats.unwritten_bytes.get() >= ALL_UNWRITTEN_MAX_BYTES;
        if all_full { OUTBOX_SHARE_BYTES } else { OUTBOX_MAX_BYTES }
    }

    pub(super) fn count_sent(&self, messages: u64) {
        self.stats.sent.add(messages);
        self.sent.add(messages);
    }
}

/// For the writer task.
impl Connection {
    /// Swaps what waits into `out`, which must be empty, and says what to do. What was taken before has left.
    pub fn take_outbox(&self, out: &mut BytesMut) -> Outbox {
        let mut inner = self.inner.lock();
        inner.woken = false;
        let waiting = inner.outbox.len();
        let written = mem::replace(&mut inner.unwritten_bytes, waiting) - waiting;
        self.stats.unwritten_bytes.sub(written as u64);
        mem::swap(&mut inner.outbox, out);
        if !out.is_empty() {
            // Not otherwise: a reader that finds nothing new wakes the writer, and the two would never rest.
            if inner.reader_waits {
                self.progress.notify_one();
            }
            return Outbox::Write;
        }
        match inner.ending {
            Ending::Open => Outbox::Wait,
            Ending::Draining if !inner.fifo.is_empty() => Outbox::Wait,
            Ending::Draining | Ending::Flushing | Ending::Cut => Outbox::End,
        }
    }

    /// Returns when there is something to take.
    pub async fn output(&self) {
        self.output.notified().await;
    }
}
