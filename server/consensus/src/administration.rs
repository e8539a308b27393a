//! What an operator may ask of the ensemble: bring it up, change its members, move its leader.
//!
//! Each call is safe to repeat, compares before it sets, and changes nothing if what it expects does not hold.
//! Membership changes go through learners and joint configurations; a joint configuration that a crash left
//! behind is finished before anything else.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver;
use openraft::raft::Precondition;
use openraft::{AsyncRuntime, ChangeMembers};
use zke_storage::DiskState;
use zke_tree::{Command, EnsembleId, LogIndex, MemberId, Reply, Term};
use zke_wire::ErrorCode;

use crate::ensemble::{Ensemble, Inner};
use crate::member::AdoptError;
use crate::proposals::Outcome;
use crate::types::{PeerNode, RaftLogId, RaftStoredMembership, TypeConfig};

/// How long a change may take: one that needs longer is waiting for a quorum that is not there.
const CHANGE_DEADLINE: Duration = Duration::from_secs(10);
/// How long proposals are held for a voter to catch up with the leader's last entry before leadership moves.
const MATCH_WAIT: Duration = Duration::from_millis(200);
const MATCH_POLL: Duration = Duration::from_millis(1);
/// How long to wait for the new leader; openraft needs one round trip and one fdatasync.
const TRANSFER_DEADLINE: Duration = Duration::from_secs(1);

#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    #[error("this member does not lead{}", leader.as_ref().map(|pod| format!("; ask {pod}")).unwrap_or_default())]
    NotLeader { leader: Option<String> },
    #[error("refused: {found}; look again before the next attempt")]
    Precondition { found: String },
    #[error("the ensemble did not agree in time; the change may still happen: look again")]
    Timeout,
    #[error("cannot change this disk's identity")]
    Adopt(#[from] AdoptError),
    #[error("the archive cannot be restored")]
    Archive(#[source] std::io::Error),
    #[error("the change failed")]
    Failed(#[source] Box<dyn std::error::Error + Send + Sync>),
}

pub(crate) fn precondition(found: impl Into<String>) -> AdminError {
    AdminError::Precondition { found: found.into() }
}

/// How far one member has come, as the leader knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    pub matched_index: LogIndex,
    pub in_sync: bool,
}

impl<R: AsyncRuntime> Ensemble<R> {
    /// Makes this blank disk the sole voter of a new ensemble, which lets no clients in yet.
    pub async fn bootstrap(
        &self,
        ensemble: EnsembleId,
        expect: MemberId,
        address: String,
    ) -> Result<(), AdminError> {
        let node = PeerNode { pod: self.inner.member.pod().to_owned(), address };
        self.initialize(ensemble, expect, BTreeMap::from([(expect, node)])).await
    }

    /// Makes this blank disk and the other blank disks in `voters` a new ensemble.
    pub async fn initialize(
        &self,
        ensemble: EnsembleId,
        expect: MemberId,
        voters: BTreeMap<MemberId, PeerNode>,
    ) -> Result<(), AdminError> {
        let inner = &self.inner;
        inner.expect_member(expect)?;
        inner.member.adopt(ensemble, DiskState::Member)?;
        if inner.member.identity().state != DiskState::Member {
            return Err(precondition("this disk is joining an ensemble that exists"));
        }
        if inner.raft.is_initialized().await.map_err(failed)? {
            return Ok(());
        }
        let voters: BTreeMap<u64, PeerNode> = voters.into_iter().map(|(id, node)| (id.0, node)).collect();
        inner.raft.initialize(voters).await.map_err(failed)
    }

    /// Lets the leader of `ensemble` bring this blank disk in. A retired disk first begins anew: the process restarts
    /// and the disk is blank then, under another id.
    pub fn join(&self, ensemble: EnsembleId, expect: MemberId) -> Result<(), AdminError> {
        self.inner.expect_member(expect)?;
        if self.inner.member.is_retired() {
            if let Some(own) = self.inner.member.identity().ensemble.filter(|own| *own != ensemble) {
                return Err(AdoptError::OtherEnsemble { own, asked: ensemble }.into());
            }
            self.inner.member.renew().map_err(AdoptError::Storage)?;
            self.inner.restart.notify_one();
            return Ok(());
        }
        self.inner.member.adopt(ensemble, DiskState::Joining)?;
        Ok(())
    }

    /// Takes the next control epoch: calls with a lower one are refused from then on.
    pub async fn take_control(&self) -> Result<u64, AdminError> {
        self.inner.expect_leader()?;
        match self.inner.commit(Command::TakeControl {}).await? {
            Ok(Reply::ControlEpoch(epoch)) => Ok(epoch),
            other => Err(unexpected(other)),
        }
    }

    /// Whether the ensemble lets clients in; replicated and sticky.
    pub async fn set_serving(&self, control_epoch: u64, serving: bool) -> Result<(), AdminError> {
        self.inner.expect_control(control_epoch)?;
        match self.inner.commit(Command::SetServing { control_epoch, serving }).await? {
            Ok(_) => Ok(()),
            other => Err(unexpected(other)),
        }
    }

    /// Adds a member that replicates and does not vote. Returns the index of the new membership.
    pub async fn add_learner(
        &self,
        control_epoch: u64,
        expect_config: LogIndex,
        learner: MemberId,
        node: PeerNode,
    ) -> Result<LogIndex, AdminError> {
        self.inner.add_learner(control_epoch, expect_config, learner, node).await
    }

    /// Makes `voters` the voters by a joint change, and retires members: they leave the membership and their ids are
    /// never accepted again. Returns the index of the resulting uniform membership.
    pub async fn change_voters(
        &self,
        control_epoch: u64,
        expect_config: LogIndex,
        voters: BTreeSet<MemberId>,
        retire: BTreeSet<MemberId>,
    ) -> Result<LogIndex, AdminError> {
        self.inner.change_voters(control_epoch, expect_config, voters, retire).await
    }

    /// Moves leadership to `to`, or to the most advanced other voter, once it has everything.
    pub async fn transfer_leadership(
        &self,
        control_epoch: u64,
        expect_term: Term,
        to: Option<MemberId>,
    ) -> Result<(), AdminError> {
        self.inner.expect_control(control_epoch)?;
        let term = self.status().term;
        if term != expect_term {
            return Err(precondition(format!("the term is {term}")));
        }
        self.inner.hand_over(to).await
    }

    /// Moves leadership away before this process stops. Does nothing on a member that does not lead and in an
    /// ensemble of one voter.
    pub async fn hand_over(&self) -> Result<(), AdminError> {
        if !self.inner.raft.is_leader() || self.inner.raft.voter_ids().count() < 2 {
            return Ok(());
        }
        self.inner.hand_over(None).await
    }

    /// How far each member has come. Proven current by a read barrier; leader only.
    pub async fn progress(&self) -> Result<BTreeMap<MemberId, Progress>, AdminError> {
        let inner = &self.inner;
        let index = tokio::select! {
            biased;
            index = inner.barrier_index() => index.ok_or_else(|| inner.not_leader())?,
            () = R::sleep(CHANGE_DEADLINE) => return Err(AdminError::Timeout),
        };
        inner.replica.wait_applied(index).await;
        let matched = inner.matched();
        let leading = inner.leading.lock();
        let leading = leading.as_ref().ok_or_else(|| inner.not_leader())?;
        Ok(matched
            .into_iter()
            .map(|(id, matched)| {
                let progress =
                    Progress { matched_index: LogIndex(matched), in_sync: leading.sync.in_sync(id) };
                (MemberId(id), progress)
            })
            .collect())
    }
}

impl<R: AsyncRuntime> Inner<R> {
    pub(crate) fn expect_member(&self, expect: MemberId) -> Result<(), AdminError> {
        let own = self.member.id();
        if own == expect { Ok(()) } else { Err(precondition(format!("this disk is member {own}"))) }
    }

    fn not_leader(&self) -> AdminError {
        AdminError::NotLeader { leader: self.status().leader_pod().map(str::to_owned) }
    }

    fn expect_leader(&self) -> Result<(), AdminError> {
        if self.raft.is_leader() { Ok(()) } else { Err(self.not_leader()) }
    }

    fn expect_control(&self, control_epoch: u64) -> Result<(), AdminError> {
        self.expect_leader()?;
        let current = self.replica.state().read().control_epoch();
        if current == control_epoch {
            return Ok(());
        }
        Err(precondition(format!("the control epoch is {current}, another operator took over")))
    }

    pub(crate) fn membership(&self) -> RaftStoredMembership {
        (*self.raft.server_metrics().borrow_watched().membership_config).clone()
    }

    /// The log id of the membership if it is the expected one. Finishes a joint configuration that was left behind.
    pub(crate) async fn expect_config(&self, expect: LogIndex) -> Result<Option<RaftLogId>, AdminError> {
        let membership = self.membership();
        if let [_, .., last] = membership.get_joint_config().as_slice() {
            tracing::warn!("finishing a membership change that was left half-way");
            let finished =
                self.change(ChangeMembers::ReplaceAllVoters(last.clone()), *membership.log_id()).await?;
            return Err(precondition(format!("a change was half-way and is finished at index {finished}")));
        }
        let found = config_index(&membership);
        if found == expect {
            return Ok(*membership.log_id());
        }
        Err(precondition(format!("the membership is that of index {found}")))
    }

    pub(crate) async fn add_learner(
        &self,
        control_epoch: u64,
        expect_config: LogIndex,
        learner: MemberId,
        node: PeerNode,
    ) -> Result<LogIndex, AdminError> {
        self.expect_control(control_epoch)?;
        if self.replica.state().read().is_retired(learner) {
            return Err(precondition(format!("member {learner} is retired; its disk needs a new id")));
        }
        let membership = self.membership();
        if membership.get_node(&learner.0) == Some(&node) {
            return Ok(config_index(&membership));
        }
        let expected = self.expect_config(expect_config).await?;
        let add = ChangeMembers::SetNodes(BTreeMap::from([(learner.0, node)]));
        self.change(add, expected).await
    }

    pub(crate) async fn change_voters(
        &self,
        control_epoch: u64,
        expect_config: LogIndex,
        voters: BTreeSet<MemberId>,
        retire: BTreeSet<MemberId>,
    ) -> Result<LogIndex, AdminError> {
        self.expect_control(control_epoch)?;
        if voters.is_empty() || !voters.is_disjoint(&retire) {
            return Err(precondition("a change needs voters, and none of them among the retired"));
        }
        let wanted: BTreeSet<u64> = voters.iter().map(|id| id.0).collect();
        if let Some(gone) = voters.iter().find(|id| self.replica.state().read().is_retired(**id)) {
            return Err(precondition(format!("member {gone} is retired")));
        }
        let expected = self.expect_config(expect_config).await?;
        let membership = self.membership();
        if let Some(unknown) = wanted.iter().find(|id| membership.get_node(id).is_none()) {
            return Err(precondition(format!("member {} is no learner yet", MemberId(*unknown))));
        }
        if membership.get_joint_config().as_slice() != [wanted.clone()] {
            self.change(ChangeMembers::ReplaceAllVoters(wanted), expected).await?;
        }
        // Retired before it leaves: its id is refused by everyone before nobody knows it any more.
        for member in &retire {
            if let other @ Err(_) =
                self.commit(Command::RetireMember { control_epoch, member: *member }).await?
            {
                return Err(unexpected(other));
            }
        }
        let membership = self.membership();
        let leaving: BTreeSet<u64> =
            retire.iter().map(|id| id.0).filter(|id| membership.get_node(id).is_some()).collect();
        if leaving.is_empty() {
            return Ok(config_index(&membership));
        }
        self.change(ChangeMembers::RemoveNodes(leaving), *membership.log_id()).await
    }

    /// One guarded change, through a joint configuration if voters change. Removed voters stay as learners.
    pub(crate) async fn change(
        &self,
        members: ChangeMembers<u64, PeerNode>,
        expected: Option<RaftLogId>,
    ) -> Result<LogIndex, AdminError> {
        let guard: Precondition<TypeConfig<R>> =
            Precondition::LastMembershipLogId { last_membership_log_id: expected };
        let change = self.raft.change_membership_if(members, true, [guard]);
        let changed = R::timeout(CHANGE_DEADLINE, change).await.map_err(|_| AdminError::Timeout)?;
        changed.map_err(failed)?;
        Ok(config_index(&self.membership()))
    }

    /// Proposes a command and waits until it is applied here.
    pub(crate) async fn commit(&self, command: Command) -> Result<Outcome, AdminError> {
        let outcome = self.proposals.propose_and_hear(command).map_err(failed)?;
        let outcome = R::timeout(CHANGE_DEADLINE, outcome).await.map_err(|_| AdminError::Timeout)?;
        outcome.map_err(failed)
    }

    /// The last index that each member is known to hold, this one included; empty on a member that does not lead.
    pub(crate) fn matched(&self) -> BTreeMap<u64, u64> {
        let metrics = self.raft.metrics().borrow_watched().clone();
        let Some(replication) = metrics.replication else { return BTreeMap::new() };
        let index = |log_id: Option<RaftLogId>| log_id.map_or(0, |log_id| log_id.index);
        let mut matched: BTreeMap<u64, u64> =
            replication.into_iter().map(|(member, log_id)| (member, index(log_id))).collect();
        matched.insert(self.member.id().0, metrics.last_log_index.unwrap_or(0));
        matched
    }

    pub(crate) async fn hand_over(&self, to: Option<MemberId>) -> Result<(), AdminError> {
        let me = self.member.id().0;
        let candidates: Vec<u64> =
            self.raft.voter_ids().filter(|id| *id != me && to.is_none_or(|to| to.0 == *id)).collect();
        if candidates.is_empty() {
            return Err(precondition("no other voter could take over"));
        }
        self.hold(true);
        let moved = self.hand_over_to(&candidates).await;
        // On success this member's duties are over and there is nothing left to release.
        self.hold(false);
        moved
    }

    async fn hand_over_to(&self, candidates: &[u64]) -> Result<(), AdminError> {
        let matching = R::timeout(MATCH_WAIT, async {
            loop {
                let matched = self.matched();
                let last = matched.get(&self.member.id().0).copied();
                if let Some(ready) = candidates.iter().find(|id| matched.get(*id).copied() == last) {
                    return *ready;
                }
                R::sleep(MATCH_POLL).await;
            }
        });
        let Ok(to) = matching.await else {
            return Err(precondition("no voter has everything this leader has"));
        };
        self.raft.trigger().transfer_leader(to).await.map_err(failed)?;
        let mut metrics = self.raft.server_metrics();
        let moved = R::timeout(TRANSFER_DEADLINE, async {
            loop {
                let leader = metrics.borrow_watched().current_leader;
                if leader.is_some_and(|leader| leader != self.member.id().0)
                    || metrics.changed().await.is_err()
                {
                    return;
                }
            }
        });
        moved.await.map_err(|_| AdminError::Timeout)
    }

    /// Holds new proposals back, or lets them go on: then every origin hears where, since what arrived meanwhile
    /// was dropped.
    fn hold(&self, holding: bool) {
        let links = {
            let mut leading = self.leading.lock();
            let Some(leading) = leading.as_mut() else { return };
            leading.hold(holding)
        };
        for (link, frame) in links {
            // A link that is gone, or stuck, hears it when it comes back.
            let _ = link.try_send(frame);
        }
    }
}

pub(crate) fn config_index(membership: &RaftStoredMembership) -> LogIndex {
    LogIndex(membership.log_id().map_or(0, |log_id| log_id.index))
}

pub(crate) fn failed(error: impl std::error::Error + Send + Sync + 'static) -> AdminError {
    AdminError::Failed(Box::new(error))
}

fn unexpected(outcome: Outcome) -> AdminError {
    match outcome {
        Err(ErrorCode::BadVersion) => precondition("the control epoch changed meanwhile"),
        Err(code) => precondition(format!("the ensemble answered {code:?}")),
        Ok(reply) => precondition(format!("the ensemble answered {reply:?}")),
    }
}
