//! From any membership to the one an operation leads to: the same few moves for every operation.
//!
//! Bring newcomers in as learners, wait until all that shall stay are in sync, make the budget fit both voter sets,
//! change the voters in one joint change, and only then take pods and claims away. Each move is chosen anew from what
//! is seen, so a crash between any two needs no memory of where it happened.

use std::collections::BTreeSet;

use crate::decide::raise;
use crate::{
    Claim, ClaimMark, ClaimRetention, Decision, Desired, Disk, DiskState, JobState, Leader, MemberId,
    Observed, Operation, OperationKind, Reason, Step, min_available,
};

/// Bootstrap, or a bootstrap that was left half done: the first voter, then everything else.
pub(crate) fn found(observed: &Observed, desired: &Desired, operation: &Operation) -> Decision {
    if desired.restore && operation.kind == OperationKind::Bootstrap && operation.seed.is_none() {
        // Before the first pod: an archive that is refused leaves nothing behind.
        match observed.archive_check {
            JobState::Absent => return Decision::Act(Step::CheckArchive),
            JobState::Running => return Decision::Wait(Reason::ArchivePending),
            JobState::Failed => return Decision::Wait(Reason::ArchiveRefused),
            JobState::Succeeded => {}
        }
    }
    if let Some(raise) = raise(observed, operation.replicas) {
        return raise;
    }
    if let Some(leader) = observed.leader() {
        return converge(observed, desired, operation, leader);
    }
    let silent = observed.silent(operation.replicas);
    if !silent.is_empty() {
        return Decision::Wait(Reason::PodsPending { ordinals: silent });
    }
    let disks = || observed.disks.range(..operation.replicas);
    if disks().any(|(_, disk)| disk.state == DiskState::Member) {
        return Decision::Wait(Reason::NoLeader);
    }
    if let Some((ordinal, disk)) = disks().find(|(_, disk)| disk.state != DiskState::Blank) {
        return Decision::Wait(match disk.state {
            DiskState::Retired => Reason::DiskRetired { ordinal: *ordinal },
            DiskState::Corrupt => Reason::DiskCorrupt { ordinal: *ordinal },
            // It joined a member that is no more.
            _ => Reason::SeedLost,
        });
    }
    match observed.disks.get(&0) {
        Some(seed) => seed_first_voter(observed, desired, operation, seed),
        None => Decision::Wait(Reason::PodsPending { ordinals: vec![0] }),
    }
}

/// Every disk in range is blank.
fn seed_first_voter(observed: &Observed, desired: &Desired, operation: &Operation, seed: &Disk) -> Decision {
    let ensemble_id = operation.ensemble_id;
    if observed.initialized || observed.claims.values().any(|claim| claim.initialized) {
        return Decision::Wait(Reason::DataLost);
    }
    // Another disk may have been founded under this id and be lost; so the id is spent.
    let spent = operation.seed.is_some_and(|chosen| chosen != seed.member_id);
    if spent || operation.kind == OperationKind::Adopt {
        return Decision::Act(Step::Begin(Operation {
            kind: OperationKind::Bootstrap,
            ensemble_id: observed.fresh_ensemble_id,
            seed: None,
            abandoned: Some(ensemble_id),
            ..operation.clone()
        }));
    }
    if let Some(decision) = mark_claims(observed, operation) {
        return decision;
    }
    match operation.seed {
        None => Decision::Act(Step::Begin(Operation { seed: Some(seed.member_id), ..operation.clone() })),
        Some(member_id) if desired.restore => match observed.restore {
            JobState::Absent => Decision::Act(Step::Restore { ordinal: 0, member_id, ensemble_id }),
            JobState::Running | JobState::Succeeded => Decision::Wait(Reason::Restoring),
            JobState::Failed => Decision::Wait(Reason::RestoreFailed),
        },
        Some(member_id) => Decision::Act(Step::Bootstrap { ordinal: 0, member_id, ensemble_id }),
    }
}

/// Marks go on before a disk is used, so that a kept volume always tells whose it is.
fn mark_claims(observed: &Observed, operation: &Operation) -> Option<Decision> {
    let ours = Some(operation.ensemble_id);
    let missing = (0..operation.replicas).find(|ordinal| !observed.claims.contains_key(ordinal));
    if let Some(ordinal) = missing {
        return Some(Decision::Wait(Reason::PodsPending { ordinals: vec![ordinal] }));
    }
    // A mark that was given up would read as a second ensemble later, so it goes wherever it stands.
    let claims = claims_where(observed, |ordinal, claim| match claim.ensemble_id {
        None => ordinal < operation.replicas,
        marked => marked != ours,
    });
    (!claims.is_empty()).then_some(Decision::Act(Step::MarkClaims {
        claims,
        ensemble_id: operation.ensemble_id,
        initialized: false,
    }))
}

/// There is a leader: lead its membership to members 0 up to `operation.replicas`, and nobody else.
pub(crate) fn converge(
    observed: &Observed,
    desired: &Desired,
    operation: &Operation,
    leader: &Leader,
) -> Decision {
    raise(observed, operation.replicas)
        .or_else(|| see_off(observed, leader))
        .or_else(|| bring_in(observed, operation, leader))
        .or_else(|| change_voters(observed, desired, operation, leader))
        .or_else(|| take_away(observed, desired, operation))
        .unwrap_or_else(|| finish(observed, operation, leader))
}

/// Nobody in the membership who was retired from it: a leader that stopped in the middle leaves such learners behind,
/// and under this id they can never come back.
fn see_off(observed: &Observed, leader: &Leader) -> Option<Decision> {
    let [voters] = leader.voter_sets.as_slice() else { return None };
    let says_retired = |id, disk: &Disk| disk.member_id == id && disk.state == DiskState::Retired;
    let members = leader.members.iter().filter(|(id, _)| !voters.contains(id));
    let retire: BTreeSet<_> = members
        .filter(|(id, member)| {
            observed.disks.get(&member.ordinal).is_some_and(|disk| says_retired(**id, disk))
        })
        .map(|(id, _)| *id)
        .collect();
    let (config_index, voters) = (leader.config_index, voters.clone());
    (!retire.is_empty()).then_some(Decision::Act(Step::ChangeVoters { config_index, voters, retire }))
}

/// Every ordinal in range a member of the ensemble, voter or learner.
fn bring_in(observed: &Observed, operation: &Operation, leader: &Leader) -> Option<Decision> {
    let silent = observed.silent(operation.replicas);
    let newcomer = (0..operation.replicas)
        .filter(|ordinal| leader.member_at(*ordinal).is_none())
        .find_map(|ordinal| Some((ordinal, observed.disks.get(&ordinal)?)));
    let Some((ordinal, disk)) = newcomer else {
        return (!silent.is_empty()).then_some(Decision::Wait(Reason::PodsPending { ordinals: silent }));
    };
    let (member_id, ensemble_id) = (disk.member_id, operation.ensemble_id);
    if leader.names(member_id) {
        return Some(Decision::Wait(Reason::MembershipUnclear { ordinal }));
    }
    Some(match disk.state {
        // A retired disk becomes a blank one by it, under a new id. The leader's word that the old one is out is what
        // makes that safe: without a leader it might be the last copy.
        DiskState::Blank | DiskState::Retired => mark_claims(observed, operation)
            .unwrap_or(Decision::Act(Step::Join { ordinal, member_id, ensemble_id })),
        DiskState::Joining => {
            Decision::Act(Step::AddLearner { ordinal, member_id, config_index: leader.config_index })
        }
        DiskState::Member => Decision::Wait(Reason::MembershipUnclear { ordinal }),
        DiskState::Corrupt => Decision::Wait(Reason::DiskCorrupt { ordinal }),
    })
}

/// The voters exactly the members in range, the budget fitting before and after.
fn change_voters(
    observed: &Observed,
    desired: &Desired,
    operation: &Operation,
    leader: &Leader,
) -> Option<Decision> {
    let voters: BTreeSet<_> =
        (0..operation.replicas).filter_map(|ordinal| leader.member_at(ordinal)).collect();
    let uniform = leader.is_exactly(&voters);
    let sets = leader.voter_sets.iter().chain((!uniform).then_some(&voters));
    let budget = min_available(sets).filter(|_| desired.budget);
    let adjust = (observed.budget.min_available != budget)
        .then_some(Decision::Act(Step::SetBudget { min_available: budget }));
    if uniform {
        return adjust;
    }
    if let Some(wait) = behind(observed, leader, &voters) {
        return Some(wait);
    }
    if !voters.contains(&leader.member_id)
        && let Some(to) = voters.iter().find(|id| leader.is_voter(**id))
    {
        return Some(Decision::Act(Step::TransferLeadership { to: *to, term: leader.term }));
    }
    if adjust.is_some() {
        return adjust;
    }
    if budget.is_some() && !observed.budget.in_force {
        return Some(Decision::Wait(Reason::BudgetPending));
    }
    let retire = leader.members.keys().filter(|id| !voters.contains(id)).copied().collect();
    Some(Decision::Act(Step::ChangeVoters { config_index: leader.config_index, voters, retire }))
}

fn behind(observed: &Observed, leader: &Leader, voters: &BTreeSet<MemberId>) -> Option<Decision> {
    let members = || voters.iter().filter_map(|id| Some((*id, leader.members.get(id)?.ordinal)));
    let lost =
        members().find(|(id, ordinal)| observed.disks.get(ordinal).is_some_and(|disk| disk.member_id != *id));
    if let Some((_, ordinal)) = lost {
        return Some(Decision::Wait(Reason::DiskLost { ordinal }));
    }
    let mut ordinals: Vec<_> =
        members().filter(|(id, _)| !observed.in_sync(leader, *id)).map(|(_, ordinal)| ordinal).collect();
    ordinals.sort_unstable();
    (!ordinals.is_empty()).then_some(Decision::Wait(Reason::CatchingUp { ordinals }))
}

/// Pods and claims beyond the range. Here the committed membership is known to name nobody outside it.
fn take_away(observed: &Observed, desired: &Desired, operation: &Operation) -> Option<Decision> {
    let from = observed.stateful_set;
    if from.is_some_and(|pods| pods > operation.replicas) {
        return Some(Decision::Act(Step::SetReplicas { from, to: operation.replicas }));
    }
    if desired.when_scaled != ClaimRetention::Delete {
        return None;
    }
    let left_over = observed
        .claims
        .range(operation.replicas..)
        .find(|(_, claim)| claim.ensemble_id.is_none_or(|id| id == operation.ensemble_id))?;
    Some(Decision::Act(Step::DeleteClaim { ordinal: *left_over.0, uid: left_over.1.uid.clone() }))
}

fn finish(observed: &Observed, operation: &Operation, leader: &Leader) -> Decision {
    if !leader.serving {
        return Decision::Act(Step::SetServing);
    }
    let claims = claims_where(observed, |ordinal, claim| ordinal < operation.replicas && !claim.initialized);
    if !claims.is_empty() {
        let ensemble_id = operation.ensemble_id;
        return Decision::Act(Step::MarkClaims { claims, ensemble_id, initialized: true });
    }
    Decision::Act(Step::Finish { replicas: operation.replicas, config_index: leader.config_index })
}

fn claims_where(observed: &Observed, wanted: impl Fn(u32, &Claim) -> bool) -> Vec<ClaimMark> {
    let claims = observed.claims.iter().filter(|(ordinal, claim)| wanted(**ordinal, claim));
    claims.map(|(ordinal, claim)| ClaimMark { ordinal: *ordinal, uid: claim.uid.clone() }).collect()
}
