//! The plan's entry: which operation, if any. How one is carried out stands in `converge`.

use std::collections::BTreeSet;

use crate::converge::{converge, found};
use crate::update::{begin_update, renew_down, update};
use crate::{
    Decision, Desired, EnsembleId, Leader, Observed, Operation, OperationKind, Reason, Step, min_available,
};

/// The next step from here.
///
/// Pure and total: the same arguments give the same answer, and no arguments make it panic. It has no memory;
/// everything it must remember is in `observed` and in the latched `operation`.
pub fn plan(observed: &Observed, desired: &Desired, operation: Option<&Operation>) -> Decision {
    if desired.suspend {
        return Decision::Wait(Reason::Suspended);
    }
    let Some(ensemble_id) = observed.ensemble_id else {
        return choose_identity(observed, desired);
    };
    if let Some(conflict) = foreign(observed, ensemble_id, operation) {
        return Decision::Wait(conflict);
    }
    if let Some(renew) = renew_down(observed) {
        return renew;
    }
    match operation {
        Some(operation) => pursue(observed, desired, operation),
        None => rest(observed, desired, ensemble_id),
    }
}

/// No id yet: new volumes make a new ensemble, kept volumes bring theirs.
fn choose_identity(observed: &Observed, desired: &Desired) -> Decision {
    let known: BTreeSet<_> = marked(observed).map(|(_, id)| id).collect();
    let mut known = known.into_iter();
    match (known.next(), known.next()) {
        (None, _) => begin(OperationKind::Bootstrap, desired.replicas, observed.fresh_ensemble_id),
        (Some(id), None) => begin(OperationKind::Adopt, kept_replicas(observed), id),
        (Some(_), Some(found)) => {
            let ordinal = marked(observed).find(|(_, id)| *id == found).map_or(0, |(ordinal, _)| ordinal);
            Decision::Wait(Reason::IdentityConflict { ordinal, found, expected: None })
        }
    }
}

/// A claim or disk of another ensemble under our name. Nothing is done while one is there.
fn foreign(observed: &Observed, ours: EnsembleId, operation: Option<&Operation>) -> Option<Reason> {
    let abandoned = operation.filter(|_| !observed.initialized).and_then(|operation| operation.abandoned);
    let claims = marked(observed).filter(|(_, id)| Some(*id) != abandoned);
    let disks = observed.disks.iter().filter_map(|(ordinal, disk)| Some((*ordinal, disk.ensemble_id?)));
    let (ordinal, found) = claims.chain(disks).find(|(_, id)| *id != ours)?;
    Some(Reason::IdentityConflict { ordinal, found, expected: Some(ours) })
}

fn pursue(observed: &Observed, desired: &Desired, operation: &Operation) -> Decision {
    match operation.kind {
        // Nothing was founded yet, so a change of mind costs nothing.
        OperationKind::Bootstrap if operation.seed.is_none() && operation.replicas != desired.replicas => {
            Decision::Act(Step::Begin(Operation { replicas: desired.replicas, ..operation.clone() }))
        }
        OperationKind::Bootstrap => found(observed, desired, operation),
        OperationKind::Adopt => adopt(observed, desired, operation),
        OperationKind::ScaleUp | OperationKind::ScaleDown => {
            let Some(leader) = observed.leader() else {
                return raise(observed, operation.replicas).unwrap_or(Decision::Wait(Reason::NoLeader));
            };
            if may_turn(operation, desired, leader) {
                return scale(leader, desired.replicas, operation.ensemble_id);
            }
            converge(observed, desired, operation, leader)
        }
        OperationKind::Update => update(observed, operation),
    }
}

/// A change of mind is taken up in the middle, except where it would meet what this operation has already retired:
/// then the disks are taken away first, and the new number is reached from there.
fn may_turn(operation: &Operation, desired: &Desired, leader: &Leader) -> bool {
    let harmless = operation.kind == OperationKind::ScaleUp
        || desired.replicas < operation.replicas
        || desired.replicas <= leader.voting_replicas();
    operation.replicas != desired.replicas && leader.voter_sets.len() == 1 && harmless
}

/// Kept volumes: let all of them start, and take the ensemble as it says it is.
fn adopt(observed: &Observed, desired: &Desired, operation: &Operation) -> Decision {
    match observed.leader() {
        Some(leader) if leader.serving => Decision::Act(Step::Finish {
            replicas: leader.voting_replicas(),
            config_index: leader.config_index,
        }),
        // Not serving: it was left in the middle of its bootstrap, which goes on where it stopped.
        _ => found(observed, desired, operation),
    }
}

/// No operation under way: keep what is there, or begin the one that leads to the spec.
fn rest(observed: &Observed, desired: &Desired, ensemble_id: EnsembleId) -> Decision {
    let Some(replicas) = observed.replicas.filter(|_| observed.initialized) else {
        // The status was lost in part; the volumes know better.
        let replicas = kept_replicas(observed).max(1);
        return begin(OperationKind::Adopt, replicas, ensemble_id);
    };
    if let Some(raise) = raise(observed, replicas) {
        return raise;
    }
    let Some(leader) = observed.leader() else {
        return Decision::Wait(match observed.silent(replicas) {
            silent if silent.len() as u32 * 2 >= replicas => Reason::PodsPending { ordinals: silent },
            _ => Reason::NoLeader,
        });
    };
    let lost = observed.lost(leader);
    let members: BTreeSet<_> = (0..replicas).filter_map(|ordinal| leader.member_at(ordinal)).collect();
    let settled = members.len() as u32 == replicas && leader.is_exactly(&members);
    if settled && let Some(upkeep) = keep(observed, desired, replicas, ensemble_id, leader) {
        return upkeep;
    }
    if desired.replicas != replicas || !settled {
        // The membership may be smaller than the status says, if a joint change was finished after an adoption.
        let keep = desired.replicas.min(replicas).min(leader.voting_replicas());
        let out: Vec<_> = (0..keep).filter(|ordinal| !healthy(observed, leader, *ordinal)).collect();
        return match lost {
            Some(ordinal) if ordinal < keep => Decision::Wait(Reason::DiskLost { ordinal }),
            _ if !out.is_empty() => Decision::Wait(Reason::NotInSync { ordinals: out }),
            _ => scale(leader, desired.replicas, ensemble_id),
        };
    }
    if let Some(ordinal) = lost {
        return Decision::Wait(Reason::DiskLost { ordinal });
    }
    let behind: Vec<_> = (0..replicas).filter(|ordinal| !healthy(observed, leader, *ordinal)).collect();
    match observed.silent(replicas) {
        silent if !silent.is_empty() => Decision::Wait(Reason::PodsPending { ordinals: silent }),
        _ if !behind.is_empty() => Decision::Wait(Reason::CatchingUp { ordinals: behind }),
        _ if observed.put_back => Decision::Wait(Reason::CanaryFailed),
        _ => Decision::Done,
    }
}

/// What a settled membership needs, whatever number of members is asked for next.
fn keep(
    observed: &Observed,
    desired: &Desired,
    replicas: u32,
    ensemble_id: EnsembleId,
    leader: &Leader,
) -> Option<Decision> {
    let budget = min_available(&leader.voter_sets).filter(|_| desired.budget);
    if observed.budget.min_available != budget {
        return Some(Decision::Act(Step::SetBudget { min_available: budget }));
    }
    if observed.stateful_set != Some(replicas) {
        return Some(Decision::Act(Step::SetReplicas { from: observed.stateful_set, to: replicas }));
    }
    if observed.update_revision.is_none() {
        return Some(Decision::Wait(Reason::TemplatePending));
    }
    begin_update(observed, replicas, ensemble_id)
}

/// Raising is always safe: it only brings pods back, or new ones that wait to be asked in.
pub(crate) fn raise(observed: &Observed, replicas: u32) -> Option<Decision> {
    let from = observed.stateful_set;
    (from.unwrap_or(0) < replicas).then_some(Decision::Act(Step::SetReplicas { from, to: replicas }))
}

fn scale(leader: &Leader, replicas: u32, ensemble_id: EnsembleId) -> Decision {
    // With as many members as voters there is only something to take away: learners or pods of a cancelled growth.
    let kind =
        if replicas > leader.voting_replicas() { OperationKind::ScaleUp } else { OperationKind::ScaleDown };
    begin(kind, replicas, ensemble_id)
}

fn begin(kind: OperationKind, replicas: u32, ensemble_id: EnsembleId) -> Decision {
    Decision::Act(Step::Begin(Operation::new(kind, replicas, ensemble_id)))
}

fn healthy(observed: &Observed, leader: &Leader, ordinal: u32) -> bool {
    leader.member_at(ordinal).is_some_and(|id| observed.in_sync(leader, id))
}

fn marked(observed: &Observed) -> impl Iterator<Item = (u32, EnsembleId)> {
    observed.claims.iter().filter_map(|(ordinal, claim)| Some((*ordinal, claim.ensemble_id?)))
}

fn kept_replicas(observed: &Observed) -> u32 {
    marked(observed).map(|(ordinal, _)| ordinal + 1).max().unwrap_or(0)
}
