//! The types that openraft is instantiated with.
//!
//! Generic over the async runtime, so that the same code runs on tokio in production and on a seeded,
//! single-threaded runtime with virtual time in simulation. No other crate sees these types.

use std::cmp::Ordering;
use std::fmt;
use std::marker::PhantomData;

use bytes::Bytes;
use openraft::impls::{BoxedErrorSource, Entry, EntryPayload, InlineBatch, Vote, leader_id_std};
use openraft::raft::responder::Responder;
use openraft::vote::RaftLeaderId;
use openraft::{AsyncRuntime, OptionalSend, RaftTypeConfig};
use tokio::sync::oneshot;

/// openraft's configuration of types for the runtime `R`.
pub struct TypeConfig<R>(PhantomData<fn() -> R>);

impl<R: AsyncRuntime> RaftTypeConfig for TypeConfig<R> {
    type D = Payload;
    type R = ();
    type NodeId = u64;
    type Node = PeerNode;
    type Term = u64;
    type LeaderId = leader_id_std::LeaderId<u64, u64>;
    type Vote = Vote<Self::LeaderId>;
    type Payload = EntryPayload<Payload, u64, PeerNode>;
    type Entry = Entry<CommittedLeaderId, Self::Payload>;
    type AsyncRuntime = R;
    type Responder<T>
        = Completion<T>
    where
        T: OptionalSend + 'static;
    type Batch<T>
        = InlineBatch<T>
    where
        T: OptionalSend + 'static;
    type ErrorSource = BoxedErrorSource;
}

/// At most one leader per term (`leader_id_std`), so a term alone names the leader of an entry.
pub type CommittedLeaderId = <leader_id_std::LeaderId<u64, u64> as RaftLeaderId>::Committed;
pub type RaftLogId = openraft::LogId<CommittedLeaderId>;
pub type RaftVote = Vote<leader_id_std::LeaderId<u64, u64>>;
pub type RaftEntry = Entry<CommittedLeaderId, EntryPayload<Payload, u64, PeerNode>>;
pub type RaftMembership = openraft::Membership<u64, PeerNode>;
pub type RaftStoredMembership = openraft::StoredMembership<CommittedLeaderId, u64, PeerNode>;
pub type RaftSnapshotMeta = openraft::SnapshotMeta<CommittedLeaderId, u64, PeerNode>;

/// Hears what became of one append: applied, or refused.
pub struct Completion<T>(oneshot::Sender<T>);

impl<T> Completion<T> {
    pub fn channel() -> (Completion<T>, oneshot::Receiver<T>) {
        let (sender, receiver) = oneshot::channel();
        (Completion(sender), receiver)
    }
}

impl<R: AsyncRuntime, T: OptionalSend + 'static> Responder<TypeConfig<R>, T> for Completion<T> {
    fn on_complete(self, result: T) {
        // Whoever waited may have left with the end of its term.
        let _ = self.0.send(result);
    }
}

/// An encoded `zke_tree::Proposal`: cheap to clone, since replication and apply both keep one.
#[derive(Clone, PartialEq, Eq)]
pub struct Payload(pub Bytes);

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "proposal of {} bytes", self.0.len())
    }
}

impl fmt::Display for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// How a member is reached; part of the replicated membership.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct PeerNode {
    /// Pod name, or `server.N` where there are no pods. Certificates name it.
    pub pod: String,
    /// `host:port` of the peer API; resolved anew at every dial, since pod addresses change.
    pub address: String,
}

impl fmt::Display for PeerNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.pod, self.address)
    }
}

pub fn log_id(term: u64, index: u64) -> RaftLogId {
    RaftLogId::new_term_index(term, index)
}

// Derives would ask the same of `R`, which is only a name here.
impl<R> Clone for TypeConfig<R> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<R> Copy for TypeConfig<R> {}
impl<R> Default for TypeConfig<R> {
    fn default() -> Self {
        TypeConfig(PhantomData)
    }
}
impl<R> fmt::Debug for TypeConfig<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TypeConfig")
    }
}
impl<R> PartialEq for TypeConfig<R> {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}
impl<R> Eq for TypeConfig<R> {}
impl<R> PartialOrd for TypeConfig<R> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl<R> Ord for TypeConfig<R> {
    fn cmp(&self, _: &Self) -> Ordering {
        Ordering::Equal
    }
}
