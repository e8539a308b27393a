//! Renewing pods from another template: one member at a time, followers first, the leader last.
//!
//! The StatefulSet only makes pods, so whoever loses its pod for whatever reason comes back from the present template.
//! What is removed on purpose is latched first, with the commit index of that moment; the next one may go once the
//! successor's disk holds it. When the first member does not come back in time, the template that the others still run
//! is put back, and nothing more is tried until the spec changes.

use std::collections::BTreeMap;

use crate::decide::raise;
use crate::{
    Decision, EnsembleId, Leader, MemberId, Observed, Operation, OperationKind, Pod, PodState, Reason,
    Removal, RemovalBy, Revision, Step,
};

/// A pod in which nothing works and which was made from another template than the present one would stay as it is for
/// ever. Removing it takes nothing away.
///
/// As long as others work from the same template it is left to an update, which takes care of the quorum and goes back
/// if the new template fails: this one may come back by itself.
pub(crate) fn renew_down(observed: &Observed) -> Option<Decision> {
    let works = |revision| {
        observed.pods.values().any(|pod| pod.state == PodState::Settled && pod.revision == revision)
    };
    let hung = |ordinal, pod: &Pod| {
        pod.state == PodState::Running && pod.late && !observed.disks.contains_key(&ordinal)
    };
    let (ordinal, pod) = observed.outdated(u32::MAX).find(|(ordinal, pod)| {
        (pod.state == PodState::Down || hung(*ordinal, pod)) && !works(pod.revision.clone())
    })?;
    Some(Decision::Act(Step::RenewPod { ordinal, uid: pod.uid.clone() }))
}

/// The update that the present template asks for, if any. The membership is settled.
pub(crate) fn begin_update(observed: &Observed, replicas: u32, ensemble_id: EnsembleId) -> Option<Decision> {
    observed.outdated(replicas).next()?;
    // An ensemble that was left with two voters can spare none of them: scaling comes first.
    if replicas == 2 {
        return None;
    }
    let good = revision_in_use(observed, replicas);
    let update = Operation::new(OperationKind::Update, replicas, ensemble_id);
    Some(Decision::Act(Step::Begin(Operation { good, ..update })))
}

/// What most of the members run that are to be renewed and work.
fn revision_in_use(observed: &Observed, replicas: u32) -> Option<Revision> {
    let mut uses: BTreeMap<&Revision, usize> = BTreeMap::new();
    let settled = observed.outdated(replicas).filter(|(_, pod)| pod.state == PodState::Settled);
    for revision in settled.filter_map(|(_, pod)| pod.revision.as_ref()) {
        *uses.entry(revision).or_default() += 1;
    }
    uses.into_iter().max_by_key(|(_, uses)| *uses).map(|(revision, _)| revision.clone())
}

/// The next step of an update.
pub(crate) fn update(observed: &Observed, operation: &Operation) -> Decision {
    let replicas = operation.replicas;
    if let Some(raise) = raise(observed, replicas) {
        return raise;
    }
    let Some(target) = &observed.update_revision else { return Decision::Wait(Reason::TemplatePending) };
    if let Some(put_back) = put_back(observed, operation, target) {
        return put_back;
    }
    let Some(leader) = observed.leader() else { return Decision::Wait(Reason::NoLeader) };
    if let Some(ordinal) = observed.lost(leader) {
        return Decision::Wait(Reason::DiskLost { ordinal });
    }
    let gone = (0..replicas)
        .filter(|ordinal| observed.pods.get(ordinal).is_none_or(|pod| pod.state == PodState::Leaving));
    let gone: Vec<_> = gone.collect();
    if !gone.is_empty() {
        return Decision::Wait(Reason::PodsPending { ordinals: gone });
    }
    if let Some(out) = operation.removal.as_ref().filter(|removal| !is_back(observed, leader, removal)) {
        return renew_again(observed, leader, out)
            .unwrap_or(Decision::Wait(Reason::Renewing { ordinal: out.ordinal }));
    }
    match next_victim(observed, leader, replicas) {
        Some(victim) => remove(observed, leader, replicas, victim),
        None => finish(observed, leader, replicas),
    }
}

/// A renewed member has missed its deadline, and none has shown yet that the new template works.
fn put_back(observed: &Observed, operation: &Operation, target: &Revision) -> Option<Decision> {
    let good = operation.good.as_ref().filter(|good| *good != target)?;
    let all = observed.pods.range(..operation.replicas);
    let renewed = || all.clone().filter(|(_, pod)| pod.revision.as_ref() == Some(target));
    let in_sync = |ordinal| {
        let leader = observed.leader()?;
        Some(observed.in_sync(leader, leader.member_at(ordinal)?))
    };
    let works =
        renewed().any(|(ordinal, pod)| pod.state == PodState::Settled || in_sync(*ordinal) == Some(true));
    (renewed().any(|(_, pod)| pod.late) && !works)
        .then(|| Decision::Act(Step::PutBack { failed: target.clone(), good: good.clone() }))
}

/// The successor of a removed pod is the same member, on the same disk, in sync past what was committed then, and
/// ready. A pod that the removal did not reach was never gone, and is not waited for.
fn is_back(observed: &Observed, leader: &Leader, removal: &Removal) -> bool {
    let Some(pod) = observed.pods.get(&removal.ordinal) else { return false };
    if pod.uid == removal.pod_uid {
        return true;
    }
    let matched = leader.members.get(&removal.member_id).map_or(0, |member| member.matched_index);
    pod.state == PodState::Settled && matched >= removal.index && observed.in_sync(leader, removal.member_id)
}

/// The successor runs without getting ready, and the template has changed meanwhile.
fn renew_again(observed: &Observed, leader: &Leader, removal: &Removal) -> Option<Decision> {
    let (ordinal, pod) = observed.outdated(u32::MAX).find(|(ordinal, _)| *ordinal == removal.ordinal)?;
    let hung = pod.state == PodState::Running && !observed.in_sync(leader, removal.member_id);
    (hung && spared(observed, leader, removal.member_id)).then(|| {
        let removal = Removal { ordinal, pod_uid: pod.uid.clone(), ..removal.clone() };
        Decision::Act(Step::RemovePod { removal, by: RemovalBy::Deletion })
    })
}

struct Victim<'a> {
    ordinal: u32,
    pod: &'a Pod,
    member_id: MemberId,
    in_sync: bool,
}

/// Members that are not well first, then the follower that is furthest behind, the leader last.
fn next_victim<'a>(observed: &'a Observed, leader: &Leader, replicas: u32) -> Option<Victim<'a>> {
    let victims = observed.outdated(replicas).filter_map(|(ordinal, pod)| {
        let member_id = leader.member_at(ordinal)?;
        Some(Victim { ordinal, pod, member_id, in_sync: observed.in_sync(leader, member_id) })
    });
    victims.min_by_key(|victim| {
        let matched = leader.members.get(&victim.member_id).map_or(0, |member| member.matched_index);
        (victim.in_sync, victim.member_id == leader.member_id, matched, u32::MAX - victim.ordinal)
    })
}

fn remove(observed: &Observed, leader: &Leader, replicas: u32, victim: Victim<'_>) -> Decision {
    let alone = replicas == 1;
    let spared = alone || spared(observed, leader, victim.member_id);
    let others_out: Vec<_> = (0..replicas)
        .filter(|ordinal| *ordinal != victim.ordinal)
        .filter(|ordinal| leader.member_at(*ordinal).is_none_or(|id| !observed.in_sync(leader, id)))
        .collect();
    // One member at a time is out because of us. Whoever is out already only must not be needed for the quorum.
    if !spared || (victim.in_sync && !others_out.is_empty()) {
        return Decision::Wait(Reason::NotInSync { ordinals: others_out });
    }
    if victim.member_id == leader.member_id && !alone {
        return match successor(observed, leader, victim.member_id) {
            Some(to) => Decision::Act(Step::TransferLeadership { to, term: leader.term }),
            None => Decision::Wait(Reason::NotInSync { ordinals: vec![victim.ordinal] }),
        };
    }
    let by = if alone || !victim.in_sync { RemovalBy::Deletion } else { RemovalBy::Eviction };
    let removal = Removal {
        ordinal: victim.ordinal,
        pod_uid: victim.pod.uid.clone(),
        member_id: victim.member_id,
        index: leader.commit_index,
    };
    Decision::Act(Step::RemovePod { removal, by })
}

/// The other voters are a quorum of every voter set by themselves, each of them in sync.
fn spared(observed: &Observed, leader: &Leader, victim: MemberId) -> bool {
    leader.voter_sets.iter().all(|set| {
        let others = set.iter().filter(|id| **id != victim && observed.in_sync(leader, **id));
        others.count() * 2 > set.len()
    })
}

/// Who leads next: the most advanced of the voters that are in sync and, if there is one, renewed already.
fn successor(observed: &Observed, leader: &Leader, from: MemberId) -> Option<MemberId> {
    let candidates = leader
        .members
        .iter()
        .filter(|(id, _)| **id != from && leader.is_voter(**id) && observed.in_sync(leader, **id));
    let best = candidates.max_by_key(|(_, member)| {
        let pod = observed.pods.get(&member.ordinal);
        (pod.is_some_and(|pod| pod.revision == observed.update_revision), member.matched_index)
    });
    best.map(|(id, _)| *id)
}

fn finish(observed: &Observed, leader: &Leader, replicas: u32) -> Decision {
    let behind = (0..replicas).filter(|ordinal| {
        let in_sync = leader.member_at(*ordinal).is_some_and(|id| observed.in_sync(leader, id));
        let settled = observed.pods.get(ordinal).is_some_and(|pod| pod.state == PodState::Settled);
        !in_sync || !settled
    });
    match behind.collect::<Vec<_>>() {
        behind if behind.is_empty() => {
            Decision::Act(Step::Finish { replicas, config_index: leader.config_index })
        }
        ordinals => Decision::Wait(Reason::CatchingUp { ordinals }),
    }
}
