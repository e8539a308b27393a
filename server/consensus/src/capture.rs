//! The replicated state as it is now, for an archive.
//!
//! It holds every write acknowledged before the question, on whichever member it is asked: a read barrier comes first.
//! It is written to a file without a name before the first byte is handed out. So a slow reader costs neither memory
//! for what changes meanwhile nor a snapshot that Raft needs, and nothing is left when the reader goes away.

use std::io::{self, Read};
use std::time::Duration;

use openraft::AsyncRuntime;
use tokio::sync::OwnedSemaphorePermit;
use zke_tree::{EnsembleId, LogIndex, MemberId, Term};
use zke_wire::Zxid;

use crate::administration::{AdminError, failed, precondition};
use crate::ensemble::{Ensemble, Inner};

/// How long to wait for a leader's barrier: more than an election.
const BARRIER_DEADLINE: Duration = Duration::from_secs(10);
/// How long to wait until this member has applied what the leader had: a member that needs more is far behind, and
/// another one is the better choice.
const CATCH_UP_DEADLINE: Duration = Duration::from_secs(30);

/// The state of one ensemble at one entry, as a stream of bytes through [`Read`]. The next capture of this member can
/// begin once it is dropped.
pub struct Capture {
    pub ensemble: EnsembleId,
    pub member: MemberId,
    /// The last entry in it.
    pub index: LogIndex,
    pub term: Term,
    /// The last zxid in it.
    pub zxid: Zxid,
    /// Of the whole content.
    pub content_bytes: u64,
    pub(crate) content: Box<dyn Read + Send>,
    pub(crate) _turn: OwnedSemaphorePermit,
}

impl Read for Capture {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.content.read(buf)
    }
}

impl<R: AsyncRuntime> Ensemble<R> {
    /// Takes the state as it is now, while clients go on. One at a time.
    pub async fn capture(&self) -> Result<Capture, AdminError> {
        let inner = &self.inner;
        let identity = inner.member.identity();
        let ensemble = identity.ensemble.filter(|_| !inner.member.is_retired());
        let ensemble = ensemble.ok_or_else(|| precondition("this disk takes no part in an ensemble"))?;
        let turn = inner.archive_turn()?;
        let barrier = R::timeout(BARRIER_DEADLINE, inner.barriers.ask()).await;
        let index = barrier.map_err(|_| AdminError::Timeout)?.map_err(failed)?;
        let applied = R::timeout(CATCH_UP_DEADLINE, inner.replica.wait_applied(index)).await;
        applied.map_err(|_| AdminError::Timeout)?;
        let captured = inner.snapshots.capture(inner.replica.clone()).await.map_err(failed)?;
        Ok(Capture {
            ensemble,
            member: identity.member,
            index: LogIndex(captured.last.index),
            term: Term(captured.last.term),
            zxid: captured.zxid,
            content_bytes: captured.content_bytes,
            content: captured.content,
            _turn: turn,
        })
    }
}

impl<R: AsyncRuntime> Inner<R> {
    /// One archive at a time, in or out: each costs the disk a whole snapshot.
    pub(crate) fn archive_turn(&self) -> Result<OwnedSemaphorePermit, AdminError> {
        let turn = self.archive_turn.clone().try_acquire_owned();
        turn.map_err(|_| precondition("another archive is under way on this member"))
    }
}
