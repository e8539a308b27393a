//! What the plan is shown: the world as it was seen, and what the spec asks for.
//!
//! Members are spoken of by ordinal, the number at the end of their pod's name; their identity is the disk's.

use std::collections::{BTreeMap, BTreeSet};

use crate::{EnsembleId, MemberId, Revision};

/// One look at everything. What could not be seen is missing; it is never filled in.
#[derive(Clone, Debug)]
pub struct Observed {
    /// From the status: the id once chosen.
    pub ensemble_id: Option<EnsembleId>,
    /// From the status: the ensemble has accepted clients once.
    pub initialized: bool,
    /// From the status: members that the last finished operation left.
    pub replicas: Option<u32>,
    /// From the status: config index at the end of the last finished operation; older views are not believed.
    pub config_index: u64,
    /// Random, for an ensemble that has none yet. The plan itself rolls no dice.
    pub fresh_ensemble_id: EnsembleId,
    /// Replicas of the StatefulSet, if it exists.
    pub stateful_set: Option<u32>,
    /// Every claim that belongs to the StatefulSet's name, wanted or left over.
    pub claims: BTreeMap<u32, Claim>,
    /// The disks whose process answered.
    pub disks: BTreeMap<u32, Disk>,
    /// The leader's view, after its read barrier.
    pub leader: Option<Leader>,
    pub budget: Budget,
    /// The StatefulSet's pods, whether their process answers or not.
    pub pods: BTreeMap<u32, Pod>,
    /// The revision that a pod gets which is made now. `None` until the StatefulSet carries the template that it shall
    /// have, and its controller has taken note.
    pub update_revision: Option<Revision>,
    /// The Job that reads the archive to be restored from end to end, before anything else is started.
    pub archive_check: JobState,
    /// The Job that puts the archive on the disk chosen in the latched operation.
    pub restore: JobState,
    /// The template of the spec failed, and the last good one was put back in its place.
    pub put_back: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    pub uid: String,
    /// The revision of the template that it was made from.
    pub revision: Option<Revision>,
    pub state: PodState,
    /// It has not been ready for longer than the spec gives a pod to get ready.
    pub late: bool,
}

/// What the kubelet says of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PodState {
    /// No process gets to run in it: it is not scheduled, its image cannot be had, or it ends at once, again and again.
    Down,
    /// Its process runs, or has just ended, but is not ready, or not for long enough.
    Running,
    /// It has been ready for as long as the spec asks.
    Settled,
    /// It was told to go.
    Leaving,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum JobState {
    #[default]
    Absent,
    Running,
    Succeeded,
    Failed,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    pub uid: String,
    /// The mark on it.
    pub ensemble_id: Option<EnsembleId>,
    /// Marked as belonging to an ensemble that has accepted clients.
    pub initialized: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disk {
    pub state: DiskState,
    pub ensemble_id: Option<EnsembleId>,
    pub member_id: MemberId,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskState {
    Blank,
    Joining,
    Member,
    /// Its member id was removed from the ensemble for ever; joined again, it becomes a blank disk with another id.
    Retired,
    Corrupt,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leader {
    pub member_id: MemberId,
    pub term: u64,
    pub config_index: u64,
    pub commit_index: u64,
    /// Members accept clients.
    pub serving: bool,
    /// Voters and learners of the present membership.
    pub members: BTreeMap<MemberId, Member>,
    /// One set, or two while a joint change is under way.
    pub voter_sets: Vec<BTreeSet<MemberId>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    pub ordinal: u32,
    /// The last entry that is known to be on its disk.
    pub matched_index: u64,
    /// Its log has kept up with the leader's commit for some seconds, as the leader measured it.
    pub in_sync: bool,
}

/// The PodDisruptionBudget.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Budget {
    /// None: there is no budget.
    pub min_available: Option<u32>,
    /// Its controller has taken note of this value.
    pub in_force: bool,
}

/// What the spec asks for.
#[derive(Clone, Copy, Debug)]
pub struct Desired {
    /// 1, 3, 5 or 7.
    pub replicas: u32,
    pub suspend: bool,
    pub budget: bool,
    /// A new ensemble begins with the data of an archive.
    pub restore: bool,
    pub when_scaled: ClaimRetention,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClaimRetention {
    Retain,
    Delete,
}

impl Observed {
    /// The leader's view, unless it is older than what is already known to have happened.
    pub(crate) fn leader(&self) -> Option<&Leader> {
        self.leader.as_ref().filter(|leader| leader.config_index >= self.config_index)
    }

    /// The ordinals below `replicas` whose process did not answer.
    pub(crate) fn silent(&self, replicas: u32) -> Vec<u32> {
        (0..replicas).filter(|ordinal| !self.disks.contains_key(ordinal)).collect()
    }

    /// A member whose place is taken by another disk.
    pub(crate) fn lost(&self, leader: &Leader) -> Option<u32> {
        let mut members = leader.members.iter();
        let lost = members.find(|(id, member)| {
            self.disks.get(&member.ordinal).is_some_and(|disk| disk.member_id != **id)
        })?;
        Some(lost.1.ordinal)
    }

    /// The pods below `replicas` that were not made from the template that pods are made from now.
    pub(crate) fn outdated(&self, replicas: u32) -> impl Iterator<Item = (u32, &Pod)> {
        let pods = self.pods.range(..replicas).map(|(ordinal, pod)| (*ordinal, pod));
        pods.filter(|(_, pod)| self.update_revision.is_some() && pod.revision != self.update_revision)
    }

    /// Whether this member keeps up *and* its own process, on its own disk, is there to say so: the leader's figure
    /// alone stays good for a dead member as long as nobody writes.
    pub(crate) fn in_sync(&self, leader: &Leader, id: MemberId) -> bool {
        leader.members.get(&id).is_some_and(|member| {
            let disk = self.disks.get(&member.ordinal);
            member.in_sync && disk.is_some_and(|disk| disk.member_id == id && disk.state == DiskState::Member)
        })
    }
}

impl Leader {
    /// The member whose pod has this ordinal.
    pub fn member_at(&self, ordinal: u32) -> Option<MemberId> {
        self.members.iter().find(|(_, member)| member.ordinal == ordinal).map(|(id, _)| *id)
    }

    /// The membership knows this id, in whatever role and under whatever pod.
    pub(crate) fn names(&self, id: MemberId) -> bool {
        self.members.contains_key(&id) || self.is_voter(id)
    }

    pub fn is_voter(&self, id: MemberId) -> bool {
        self.voter_sets.iter().any(|set| set.contains(&id))
    }

    /// Members once every voter's ordinal is counted: the highest one plus one.
    pub(crate) fn voting_replicas(&self) -> u32 {
        let voters = self.members.iter().filter(|(id, _)| self.is_voter(**id));
        voters.map(|(_, member)| member.ordinal + 1).max().unwrap_or(0)
    }

    /// The membership is exactly the voters `wanted`: no joint change, no learner, nobody else.
    pub(crate) fn is_exactly(&self, wanted: &BTreeSet<MemberId>) -> bool {
        self.voter_sets.len() == 1
            && self.voter_sets.first() == Some(wanted)
            && self.members.keys().all(|id| wanted.contains(id))
    }
}
