//! Answers as writes are applied and barriers are reached, each with those that waited behind it, and watch events.

use std::time::Duration;

use zke_tree::{Applied, Event, Reply, State, may_read};
use zke_wire::{ConnectResponse, ErrorCode, SessionId, Zxid};

use super::{Arrival, Asked, Attached, Connection, Ending, Held, Inner, Proposed, Watches};
use crate::activity;
use crate::reads::{self, Asker};
use crate::replies;

/// For the apply thread, which holds the state's write lock; and for whoever reaches a read barrier.
/// They return whether the writer has to be woken, so that it is woken once for many answers.
impl Connection {
    /// The attach that this connection proposed was applied. Returns the session if it is this connection's now.
    pub fn complete_attach(&self, result: &Result<Reply, ErrorCode>, zxid: Zxid) -> Option<SessionId> {
        let mut inner = self.inner.lock();
        let request = inner.request.take()?;
        if inner.ending > Ending::Open {
            return None;
        }
        let attached = match *result {
            Ok(Reply::Session { session, password, timeout_ms, attach_epoch }) => {
                inner.session = Some(Attached { id: session, epoch: attach_epoch, timeout_ms });
                inner.activity.answered("SESS", 0, zxid, self.stats.uptime(), Duration::ZERO);
                let read_only = request.read_only.map(|_| false);
                let response = ConnectResponse { timeout_ms, session_id: session, password, read_only };
                self.push(&mut inner, 1, |_, out| response.encode(out));
                Some(session)
            }
            Err(ErrorCode::SessionExpired) => {
                self.push(&mut inner, 1, |_, out| ConnectResponse::expired(&request).encode(out));
                inner.end(Ending::Flushing, &self.cut, &self.stats);
                None
            }
            // Any answer would be taken for the end of the session: the client shall ask elsewhere.
            _ => {
                inner.end(Ending::Cut, &self.cut, &self.stats);
                None
            }
        };
        drop(inner);
        self.progress.notify_one();
        self.output.notify_one();
        attached
    }

    pub fn is_attached(&self) -> bool {
        self.inner.lock().session.is_some()
    }

    /// The oldest write of this connection was applied: answers it and the reads behind it.
    pub fn complete(&self, applied: &Applied<'_>, state: &State, watches: &Watches) -> bool {
        let mut inner = self.inner.lock();
        if inner.ending == Ending::Cut {
            return false;
        }
        let Proposed { arrival, closes } = match inner.fifo.complete_write() {
            Ok(write) => write,
            Err(error) => {
                tracing::error!(peer = %self.peer, %error, "closing a connection");
                inner.end(Ending::Cut, &self.cut, &self.stats);
                return true;
            }
        };
        inner.waits_no_more(arrival, &self.stats);
        // The session is gone or speaks through another connection, which knows better.
        if matches!(applied.result, Err(ErrorCode::SessionMoved | ErrorCode::SessionExpired)) {
            inner.end(Ending::Cut, &self.cut, &self.stats);
            return true;
        }
        let Arrival { xid, received, .. } = arrival;
        let response = replies::of_write(applied);
        if matches!(applied.result, Ok(Reply::Reconfigured { .. })) {
            inner.held = Some(Held { xid, zxid: applied.zxid, response });
        } else {
            self.push(&mut inner, 1, |_, out| response.encode(xid, applied.zxid, out));
        }
        let took = received.elapsed();
        self.stats.writes.record(took);
        let operation = activity::operation_of(applied.command);
        let uptime = self.stats.uptime_at(received) + took;
        inner.activity.answered(operation, xid, applied.zxid, uptime, took);
        if closes {
            inner.end(Ending::Flushing, &self.cut, &self.stats);
        }
        self.answer_ready(&mut inner, state, watches);
        inner.wake(&self.progress)
    }

    /// The read barrier `number` of this connection is reached, and `state` is not older.
    pub fn barrier_reached(&self, number: u64, state: &State, watches: &Watches) {
        let mut inner = self.inner.lock();
        inner.fifo.barrier_reached(number);
        self.answer_ready(&mut inner, state, watches);
        if inner.wake(&self.progress) {
            self.output.notify_one();
        }
    }

    /// Queues a watch event, already encoded, unless this connection may not read the node it speaks of.
    pub fn deliver(&self, event: &Event, encoded: &[u8]) -> bool {
        let mut inner = self.inner.lock();
        if !may_read(&event.acl, inner.identities.as_slice()) {
            return false;
        }
        self.push(&mut inner, 1, |_, out| out.extend_from_slice(encoded));
        inner.wake(&self.progress)
    }

    fn answer_ready(&self, inner: &mut Inner, state: &State, watches: &Watches) {
        while let Some(asked) = inner.fifo.next_ready() {
            inner.waits_no_more(asked.arrival, &self.stats);
            self.answer(inner, asked, state, watches);
        }
    }

    pub(super) fn answer(&self, inner: &mut Inner, asked: Asked, state: &State, watches: &Watches) {
        // A cut connection arms no watch: nobody would take it away again.
        if inner.ending >= Ending::Flushing {
            return;
        }
        let Asked { arrival: Arrival { xid, received, .. }, read } = asked;
        let operation = read.operation();
        let mut messages = 0;
        let session = inner.session.map_or(SessionId::NONE, |attached| attached.id);
        self.push(inner, 0, |identities, out| {
            let identities = identities.as_slice();
            let asker = Asker { connection: self.id, session, identities, watches };
            messages = reads::answer(read, xid, state, &asker, out);
        });
        self.count_sent(messages);
        let took = received.elapsed();
        self.stats.reads.record(took);
        let uptime = self.stats.uptime_at(received) + took;
        inner.activity.answered(operation, xid, state.last_zxid(), uptime, took);
    }
}
