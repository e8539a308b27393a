//! What this member knows of itself and its ensemble, from its own memory.

use std::collections::BTreeMap;

use openraft::async_runtime::watch::WatchReceiver;
use openraft::{AsyncRuntime, ServerState};
use zke_storage::Identity;
use zke_tree::{LogIndex, MemberId, Term};
use zke_wire::Zxid;

use crate::ensemble::{Ensemble, Inner};
use crate::serving::Serving;
use crate::types::PeerNode;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Leader,
    Follower,
    Candidate,
    Learner,
}

#[derive(Clone, Debug)]
pub struct MemberStatus {
    pub identity: Identity,
    pub pod: String,
    pub role: Role,
    pub term: Term,
    pub leader: Option<MemberId>,
    pub last_log_index: LogIndex,
    pub commit_index: LogIndex,
    pub applied_index: LogIndex,
    /// Log index of the membership below.
    pub config_index: LogIndex,
    pub members: BTreeMap<MemberId, PeerNode>,
    /// One, or two while a joint change is under way.
    pub voter_sets: Vec<Vec<MemberId>>,
    pub serving: Serving,
    /// Replicated: the ensemble lets clients in.
    pub lets_clients_in: bool,
    pub last_zxid: Zxid,
    pub control_epoch: u64,
    /// Writes of this process that are not applied yet.
    pub outstanding_proposals: u64,
    /// Of the replicated state, and the newest that this member has.
    pub apply_level: u32,
    pub newest_apply_level: u32,
    /// There is little room on the volumes of this member.
    pub low_on_space: bool,
    /// Writes that this member refused for want of room while it led.
    pub growth_refused: u64,
    /// How often members' states did not agree while this member led.
    pub disagreements: u64,
}

impl MemberStatus {
    pub fn is_voter(&self) -> bool {
        self.voter_sets.iter().flatten().any(|voter| *voter == self.identity.member)
    }

    pub fn leader_pod(&self) -> Option<&str> {
        Some(self.members.get(&self.leader?)?.pod.as_str())
    }
}

impl<R: AsyncRuntime> Ensemble<R> {
    pub fn status(&self) -> MemberStatus {
        self.inner.status()
    }

    /// The members that this disk knows of, asked of Raft itself: right behind a start, when [`Ensemble::status`] may not
    /// know any yet. None if Raft has stopped.
    pub async fn members(&self) -> BTreeMap<MemberId, PeerNode> {
        let members = self.inner.raft.with_raft_state(|state| {
            let membership = state.membership_state.effective().membership().clone();
            membership.nodes().map(|(id, node)| (MemberId(*id), node.clone())).collect()
        });
        members.await.unwrap_or_default()
    }
}

impl<R: AsyncRuntime> Inner<R> {
    pub(crate) fn status(&self) -> MemberStatus {
        let metrics = self.raft.metrics().borrow_watched().clone();
        let membership = metrics.membership_config.membership();
        let role = match metrics.state {
            ServerState::Leader => Role::Leader,
            ServerState::Candidate => Role::Candidate,
            ServerState::Follower => Role::Follower,
            // A blank disk counts as a learner too: it votes for nobody.
            ServerState::Learner | ServerState::Shutdown => Role::Learner,
        };
        let index = |log_id: Option<u64>| LogIndex(log_id.unwrap_or(0));
        let (lets_clients_in, last_zxid, control_epoch, apply_level) = {
            let state = self.replica.state().read();
            (state.serving(), state.last_zxid(), state.control_epoch(), state.apply_level())
        };
        MemberStatus {
            identity: self.member.identity(),
            pod: self.member.pod().to_owned(),
            role,
            term: Term(metrics.current_term),
            leader: metrics.current_leader.map(MemberId),
            last_log_index: index(metrics.last_log_index),
            commit_index: index(metrics.local_committed.map(|log_id| log_id.index)),
            applied_index: LogIndex(self.replica.applied_index()),
            config_index: index(metrics.membership_config.log_id().map(|log_id| log_id.index)),
            members: membership.nodes().map(|(id, node)| (MemberId(*id), node.clone())).collect(),
            voter_sets: membership
                .get_joint_config()
                .iter()
                .map(|set| set.iter().copied().map(MemberId).collect())
                .collect(),
            serving: *self.serving.borrow(),
            lets_clients_in,
            last_zxid,
            control_epoch,
            outstanding_proposals: self.proposals.outstanding(),
            apply_level,
            newest_apply_level: self.options.newest_apply_level,
            low_on_space: self.space.is_low(),
            growth_refused: self.space.refused(),
            disagreements: self.disagreements(),
        }
    }
}
