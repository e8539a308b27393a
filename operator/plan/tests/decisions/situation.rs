//! Situations to decide in: a running ensemble, and what may be different about it.

use std::collections::{BTreeMap, BTreeSet};

use zke_plan::{
    Budget, Claim, ClaimRetention, Decision, Desired, Disk, DiskState, EnsembleId, JobState, Leader, Member,
    MemberId, Observed, Operation, OperationKind, Pod, PodState, Reason, Revision, Step, plan,
};

pub const OURS: EnsembleId = EnsembleId(0xa);
pub const OTHER: EnsembleId = EnsembleId(0xb);
pub const FRESH: EnsembleId = EnsembleId(0xf);

/// A situation under construction; it starts as a running ensemble of `members`.
pub struct Situation {
    pub observed: Observed,
    pub desired: Desired,
    pub operation: Option<Operation>,
}

impl Situation {
    pub fn running(members: u32) -> Self {
        let ids: BTreeSet<_> = (0..members).map(member_id).collect();
        let leader = Leader {
            member_id: member_id(0),
            term: 5,
            config_index: 40,
            commit_index: 900,
            serving: true,
            members: (0..members).map(|ordinal| (member_id(ordinal), in_sync(ordinal))).collect(),
            voter_sets: vec![ids.clone()],
        };
        let observed = Observed {
            ensemble_id: Some(OURS),
            initialized: true,
            replicas: Some(members),
            config_index: 40,
            fresh_ensemble_id: FRESH,
            stateful_set: Some(members),
            claims: (0..members).map(|ordinal| (ordinal, claim(ordinal, Some(OURS), true))).collect(),
            disks: (0..members).map(|ordinal| (ordinal, disk(ordinal, DiskState::Member))).collect(),
            leader: Some(leader),
            budget: Budget { min_available: zke_plan::min_available([&ids]), in_force: true },
            pods: (0..members).map(|ordinal| (ordinal, pod(ordinal, NEW))).collect(),
            update_revision: Some(revision(NEW)),
            put_back: false,
            archive_check: JobState::Absent,
            restore: JobState::Absent,
        };
        let desired = Desired {
            replicas: members,
            suspend: false,
            budget: true,
            restore: false,
            when_scaled: ClaimRetention::Retain,
        };
        Self { observed, desired, operation: None }
    }

    /// Nothing but a manifest, and perhaps volumes.
    pub fn new(replicas: u32) -> Self {
        let mut situation = Self::running(replicas);
        situation.observed = Observed {
            ensemble_id: None,
            initialized: false,
            replicas: None,
            config_index: 0,
            stateful_set: None,
            claims: BTreeMap::new(),
            disks: BTreeMap::new(),
            pods: BTreeMap::new(),
            leader: None,
            budget: Budget::default(),
            ..situation.observed
        };
        situation
    }

    /// A bootstrap whose pods are up, marked, and all blank.
    pub fn bootstrapping(seed: Option<MemberId>) -> Self {
        let mut situation = Self::new(3);
        situation.observed.ensemble_id = Some(OURS);
        situation.observed.stateful_set = Some(3);
        situation.observed.claims =
            (0..3).map(|ordinal| (ordinal, claim(ordinal, Some(OURS), false))).collect();
        situation.observed.disks = (0..3).map(|ordinal| (ordinal, disk(ordinal, DiskState::Blank))).collect();
        situation.operation = Some(Operation { seed, ..operation(OperationKind::Bootstrap, 3) });
        situation
    }

    /// Growing from 3 to 5: the newcomers are learners and in sync.
    pub fn growing() -> Self {
        let mut situation = Self::running(5);
        let voters: BTreeSet<_> = (0..3).map(member_id).collect();
        situation.observed.replicas = Some(3);
        situation.leader().voter_sets = vec![voters];
        situation.observed.budget = Budget { min_available: Some(4), in_force: true };
        situation.operation = Some(operation(OperationKind::ScaleUp, 5));
        situation
    }

    pub fn leader(&mut self) -> &mut Leader {
        self.observed.leader.as_mut().expect("every running situation has one")
    }

    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    #[track_caller]
    pub fn decides(&self, expected: Decision) {
        assert_eq!(plan(&self.observed, &self.desired, self.operation.as_ref()), expected);
    }

    #[track_caller]
    pub fn acts(&self, step: Step) {
        self.decides(Decision::Act(step));
    }

    #[track_caller]
    pub fn waits(&self, reason: Reason) {
        self.decides(Decision::Wait(reason));
    }
}

pub fn member_id(ordinal: u32) -> MemberId {
    MemberId(u64::from(ordinal) + 100)
}

pub fn in_sync(ordinal: u32) -> Member {
    Member { ordinal, matched_index: 900, in_sync: true }
}

pub fn disk(ordinal: u32, state: DiskState) -> Disk {
    let ensemble_id = (state != DiskState::Blank).then_some(OURS);
    Disk { state, ensemble_id, member_id: member_id(ordinal) }
}

pub fn claim(ordinal: u32, ensemble_id: Option<EnsembleId>, initialized: bool) -> Claim {
    Claim { uid: format!("uid-{ordinal}"), ensemble_id, initialized }
}

pub fn operation(kind: OperationKind, replicas: u32) -> Operation {
    Operation::new(kind, replicas, OURS)
}

pub fn ids(ordinals: impl IntoIterator<Item = u32>) -> BTreeSet<MemberId> {
    ordinals.into_iter().map(member_id).collect()
}

/// The template that pods are made from now, and the one before it.
pub const NEW: &str = "zk-new";
pub const OLD: &str = "zk-old";

pub fn revision(name: &str) -> Revision {
    Revision(name.to_owned())
}

pub fn pod(ordinal: u32, template: &str) -> Pod {
    Pod {
        uid: format!("{template}-{ordinal}"),
        revision: Some(revision(template)),
        state: PodState::Settled,
        late: true,
    }
}
