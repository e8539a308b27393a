//! Rules of the plan broken on purpose, by lying to it about what the rule is about, or by bending its answer. The
//! world must notice each of them.

use std::collections::BTreeSet;

use zke_plan::{
    ClaimRetention, Decision, Desired, Observed, Operation, OperationKind, Reason, Removal, RemovalBy, Step,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// Newcomers get a vote before they have the data.
    VotersNotInSync,
    /// The next pod goes before the last one is back.
    RollsWithoutWaiting,
    /// A pod goes whether or not the others are well, and nobody asks the budget.
    RemovesWithoutLooking,
    /// A second disk is founded under an id that was given to another.
    ForgetsTheSeed,
    /// Claims are deleted although the spec says to keep them.
    DeletesClaimsAnyway,
    /// Voters change before the budget that protects the next ones is in force.
    TrustsTheBudget,
    /// Volumes of an ensemble are taken for new ones.
    ForgetsWhoseVolumes,
    /// Members leave the vote and stay in the membership.
    RetiresNobody,
    /// Pods go before their members have left the membership.
    TakesPodsFirst,
    /// A template that fails is kept.
    NeverPutsBack,
}

impl Mutant {
    pub const ALL: [Self; 10] = [
        Self::VotersNotInSync,
        Self::RollsWithoutWaiting,
        Self::RemovesWithoutLooking,
        Self::ForgetsTheSeed,
        Self::DeletesClaimsAnyway,
        Self::TrustsTheBudget,
        Self::ForgetsWhoseVolumes,
        Self::RetiresNobody,
        Self::TakesPodsFirst,
        Self::NeverPutsBack,
    ];

    /// What it breaks is that the ensemble gets anywhere. The others must be noticed by what they harm, so they stop
    /// with the faults.
    pub fn is_about_progress(self) -> bool {
        matches!(self, Self::RetiresNobody | Self::NeverPutsBack)
    }

    pub fn lie(self, observed: &mut Observed, desired: &mut Desired, operation: &mut Option<Operation>) {
        let updating = operation.as_ref().is_some_and(|operation| operation.kind == OperationKind::Update);
        match self {
            Self::VotersNotInSync if !updating => all_in_sync(observed),
            Self::RollsWithoutWaiting if updating => {
                all_in_sync(observed);
                operation.iter_mut().for_each(|operation| operation.removal = None);
            }
            Self::ForgetsTheSeed => {
                let present = observed.disks.get(&0).map(|disk| disk.member_id);
                operation.iter_mut().for_each(|operation| operation.seed = operation.seed.and(present));
            }
            Self::DeletesClaimsAnyway => desired.when_scaled = ClaimRetention::Delete,
            Self::TrustsTheBudget => observed.budget.in_force = true,
            Self::ForgetsWhoseVolumes => {
                observed
                    .claims
                    .values_mut()
                    .for_each(|claim| (claim.ensemble_id, claim.initialized) = (None, false));
            }
            Self::TakesPodsFirst => {
                if let (Some(leader), Some(operation)) = (&mut observed.leader, operation) {
                    leader.members.retain(|_, member| member.ordinal < operation.replicas);
                    leader.voter_sets = vec![leader.members.keys().copied().collect()];
                }
            }
            Self::NeverPutsBack => observed.pods.values_mut().for_each(|pod| pod.late = false),
            _ => {}
        }
    }

    pub fn bend(self, observed: &Observed, operation: Option<&Operation>, decision: Decision) -> Decision {
        let updating = operation.is_some_and(|operation| operation.kind == OperationKind::Update);
        match (self, decision) {
            (Self::RetiresNobody, Decision::Act(Step::ChangeVoters { config_index, voters, .. })) => {
                Decision::Act(Step::ChangeVoters { config_index, voters, retire: BTreeSet::new() })
            }
            (Self::RemovesWithoutLooking, Decision::Wait(Reason::NotInSync { .. })) if updating => {
                let outdated = observed.pods.iter().find(|(_, pod)| pod.revision != observed.update_revision);
                let Some((ordinal, pod)) = outdated else { return Decision::Done };
                let Some(disk) = observed.disks.get(ordinal) else { return Decision::Done };
                let removal = Removal {
                    ordinal: *ordinal,
                    pod_uid: pod.uid.clone(),
                    member_id: disk.member_id,
                    index: 0,
                };
                Decision::Act(Step::RemovePod { removal, by: RemovalBy::Deletion })
            }
            (_, decision) => decision,
        }
    }
}

fn all_in_sync(observed: &mut Observed) {
    let Some(leader) = &mut observed.leader else { return };
    for member in leader.members.values_mut() {
        member.in_sync = true;
        member.matched_index = leader.commit_index;
    }
}
