//! What the plan answers: an operation is latched, and then taken step by step.

use std::collections::BTreeSet;

use crate::{EnsembleId, MemberId, Reason, Revision};

/// What to do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Exactly this, once; then look again.
    Act(Step),
    /// Nothing can be done safely now.
    Wait(Reason),
    /// Everything is as the spec asks.
    Done,
}

/// The one operation under way. It lives in the status, so that it survives the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    pub kind: OperationKind,
    /// The members it leads to.
    pub replicas: u32,
    pub ensemble_id: EnsembleId,
    /// Bootstrap: the disk chosen to be the first voter. Another disk is never bootstrapped under the same ensemble id.
    pub seed: Option<MemberId>,
    /// Bootstrap: an id given up before any client was served; marks with it may be replaced.
    pub abandoned: Option<EnsembleId>,
    /// Update: the template that members ran before, to be put back if the new one fails.
    pub good: Option<Revision>,
    /// Update: the pod that was removed last. The next one may go once its successor is there.
    pub removal: Option<Removal>,
}

impl Operation {
    /// One that is only beginning.
    pub const fn new(kind: OperationKind, replicas: u32, ensemble_id: EnsembleId) -> Self {
        Self { kind, replicas, ensemble_id, seed: None, abandoned: None, good: None, removal: None }
    }
}

/// A member's pod that is taken away to come back from the present template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removal {
    pub ordinal: u32,
    pub pod_uid: String,
    pub member_id: MemberId,
    /// The leader's commit index at that moment: the successor's disk must hold it.
    pub index: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OperationKind {
    /// New disks become a new ensemble.
    Bootstrap,
    /// Kept volumes become the ensemble they were.
    Adopt,
    ScaleUp,
    ScaleDown,
    /// Pods are renewed from another template, one by one.
    Update,
}

/// One action. Every field is either what to write or what must still hold when it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Latch this operation (and its ensemble id), in place of the present one.
    Begin(Operation),
    /// Give the StatefulSet this many pods; `None` if it does not exist yet.
    SetReplicas {
        from: Option<u32>,
        to: u32,
    },
    /// Write the ensemble's mark on these claims.
    MarkClaims {
        claims: Vec<ClaimMark>,
        ensemble_id: EnsembleId,
        initialized: bool,
    },
    /// Make this blank disk the sole voter of a new ensemble.
    Bootstrap {
        ordinal: u32,
        member_id: MemberId,
        ensemble_id: EnsembleId,
    },
    /// Read the archive that is to be restored, and everything in it.
    CheckArchive,
    /// Make this blank disk the sole voter of a new ensemble that holds the archive's data.
    Restore {
        ordinal: u32,
        member_id: MemberId,
        ensemble_id: EnsembleId,
    },
    /// Let the ensemble bring this blank disk in. A retired one sets its old data aside and comes back blank, under
    /// another member id, to be joined once more.
    Join {
        ordinal: u32,
        member_id: MemberId,
        ensemble_id: EnsembleId,
    },
    AddLearner {
        ordinal: u32,
        member_id: MemberId,
        config_index: u64,
    },
    TransferLeadership {
        to: MemberId,
        term: u64,
    },
    /// Give the PodDisruptionBudget this value; `None` removes it.
    SetBudget {
        min_available: Option<u32>,
    },
    ChangeVoters {
        config_index: u64,
        voters: BTreeSet<MemberId>,
        retire: BTreeSet<MemberId>,
    },
    /// Let members accept clients.
    SetServing,
    DeleteClaim {
        ordinal: u32,
        uid: String,
    },
    /// Remove a pod in which nothing works, so that its successor is made from the present template.
    RenewPod {
        ordinal: u32,
        uid: String,
    },
    /// Remove a member's pod, so that its successor is made from the present template.
    RemovePod {
        removal: Removal,
        by: RemovalBy,
    },
    /// Give the StatefulSet the template back that members ran before: the new one does not work.
    PutBack {
        failed: Revision,
        good: Revision,
    },
    /// Drop the latch: the ensemble has this many members as of this membership.
    Finish {
        replicas: u32,
        config_index: u64,
    },
}

/// How a pod is asked to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemovalBy {
    /// Through the Eviction API, so that the API server arbitrates with drains.
    Eviction,
    /// Plainly: no budget protects it, since it is not healthy or is the only one.
    Deletion,
}

/// A claim to be marked, and the uid it must still have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimMark {
    pub ordinal: u32,
    pub uid: String,
}

impl OperationKind {
    const ALL: [Self; 5] = [Self::Bootstrap, Self::Adopt, Self::ScaleUp, Self::ScaleDown, Self::Update];

    /// As it stands in the status.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bootstrap => "Bootstrap",
            Self::Adopt => "Adopt",
            Self::ScaleUp => "ScaleUp",
            Self::ScaleDown => "ScaleDown",
            Self::Update => "Update",
        }
    }

    /// Reads [`Self::name`] back.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

impl Step {
    /// As it stands in the status and in events.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Begin(_) => "Begin",
            Self::SetReplicas { .. } => "SetReplicas",
            Self::MarkClaims { .. } => "MarkClaims",
            Self::Bootstrap { .. } => "Bootstrap",
            Self::CheckArchive => "CheckArchive",
            Self::Restore { .. } => "Restore",
            Self::Join { .. } => "Join",
            Self::AddLearner { .. } => "AddLearner",
            Self::TransferLeadership { .. } => "TransferLeadership",
            Self::SetBudget { .. } => "SetBudget",
            Self::ChangeVoters { .. } => "ChangeVoters",
            Self::SetServing => "SetServing",
            Self::DeleteClaim { .. } => "DeleteClaim",
            Self::RenewPod { .. } => "RenewPod",
            Self::RemovePod { .. } => "RemovePod",
            Self::PutBack { .. } => "PutBack",
            Self::Finish { .. } => "Finish",
        }
    }
}
