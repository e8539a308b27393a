//! Renewing pods from another template.

use zke_plan::{
    Decision, Disk, DiskState, MemberId, Operation, OperationKind, PodState, Reason, Removal, RemovalBy, Step,
};

use crate::situation::{NEW, OLD, Situation, disk, member_id, operation, pod, revision};

/// `members` members, of which those in `old` still run the template before; 0 leads.
fn updating(members: u32, old: impl IntoIterator<Item = u32>) -> Situation {
    Situation::running(members).with(|s| {
        s.operation = Some(begun(members));
        for ordinal in old {
            s.observed.pods.insert(ordinal, pod(ordinal, OLD));
        }
    })
}

fn begun(members: u32) -> Operation {
    Operation { good: Some(revision(OLD)), ..operation(OperationKind::Update, members) }
}

fn removal(ordinal: u32) -> Removal {
    Removal { ordinal, pod_uid: format!("{OLD}-{ordinal}"), member_id: member_id(ordinal), index: 900 }
}

fn evict(ordinal: u32) -> Step {
    Step::RemovePod { removal: removal(ordinal), by: RemovalBy::Eviction }
}

fn delete(ordinal: u32) -> Step {
    Step::RemovePod { removal: removal(ordinal), by: RemovalBy::Deletion }
}

#[test]
fn another_template_begins_an_update_that_remembers_the_good_one() {
    updating(3, 0..3).with(|s| s.operation = None).acts(Step::Begin(begun(3)));
    // Until the StatefulSet's controller has taken note, nobody can say who is outdated.
    Situation::running(3).with(|s| s.observed.update_revision = None).waits(Reason::TemplatePending);
}

#[test]
fn followers_go_first_and_the_leader_last() {
    updating(3, 0..3).acts(evict(2));
    updating(3, 0..2).acts(evict(1));
    updating(3, 0..1).acts(Step::TransferLeadership { to: member_id(2), term: 5 });
    updating(3, 0..1).with(|s| s.leader().member_id = member_id(1)).acts(evict(0));
    updating(3, []).acts(Step::Finish { replicas: 3, config_index: 40 });
}

#[test]
fn the_follower_that_is_furthest_behind_goes_first() {
    let behind = |s: &mut Situation| {
        s.leader().members.get_mut(&member_id(1)).expect("a member").matched_index = 899;
    };
    updating(3, 0..3).with(behind).acts(evict(1));
}

#[test]
fn the_only_member_is_removed_plainly() {
    updating(1, 0..1).acts(delete(0));
}

#[test]
fn two_voters_are_scaled_before_they_are_renewed() {
    let two = updating(2, 0..2).with(|s| {
        s.operation = None;
        s.desired.replicas = 3;
    });
    two.acts(Step::Begin(operation(OperationKind::ScaleUp, 3)));
}

#[test]
fn nobody_goes_while_another_is_not_in_sync() {
    let out = |s: &mut Situation| {
        s.leader().members.get_mut(&member_id(1)).expect("a member").in_sync = false;
    };
    updating(3, [0, 2]).with(out).waits(Reason::NotInSync { ordinals: vec![1] });
    // Unless it is the one to be renewed: it is out already.
    updating(3, [0, 1]).with(out).acts(delete(1));
}

#[test]
fn the_next_one_waits_until_the_last_one_is_back() {
    let removed = |change: &dyn Fn(&mut Situation)| {
        updating(3, 0..2).with(|s| {
            s.operation.as_mut().expect("begun").removal = Some(removal(2));
            change(s);
        })
    };
    removed(&|_| {}).acts(evict(1));
    let waits: [&dyn Fn(&mut Situation); 3] = [
        &|s| s.observed.pods.get_mut(&2).expect("a pod").state = PodState::Running,
        &|s| s.leader().members.get_mut(&member_id(2)).expect("a member").matched_index = 899,
        &|s| s.leader().members.get_mut(&member_id(2)).expect("a member").in_sync = false,
    ];
    for wait in waits {
        removed(wait).waits(Reason::Renewing { ordinal: 2 });
    }
    removed(&|s| {
        s.observed.pods.remove(&2);
    })
    .waits(Reason::PodsPending { ordinals: vec![2] });
    // It never went: the API server said no, or the operator died before it asked.
    removed(&|s| {
        s.observed.pods.insert(2, pod(2, OLD));
    })
    .acts(evict(2));
}

/// The first member is being renewed and does not come back.
fn canary(state: PodState) -> Situation {
    updating(3, 0..2).with(|s| {
        s.operation.as_mut().expect("begun").removal = Some(removal(2));
        s.observed.pods.get_mut(&2).expect("a pod").state = state;
        s.observed.disks.remove(&2);
        s.leader().members.get_mut(&member_id(2)).expect("a member").in_sync = false;
    })
}

#[test]
fn a_first_member_that_does_not_come_back_brings_the_last_good_template_back() {
    for state in [PodState::Down, PodState::Running] {
        canary(state)
            .with(|s| s.observed.pods.get_mut(&2).expect("a pod").late = false)
            .waits(Reason::Renewing { ordinal: 2 });
        canary(state).acts(Step::PutBack { failed: revision(NEW), good: revision(OLD) });
    }
    // One renewed member that works shows that it is not the template.
    let proven = canary(PodState::Down).with(|s| {
        s.observed.pods.insert(1, pod(1, NEW));
    });
    proven.waits(Reason::Renewing { ordinal: 2 });
}

#[test]
fn once_it_was_put_back_the_failed_pod_is_renewed_and_the_reason_stays() {
    let put_back = |state| {
        canary(state).with(|s| {
            s.observed.put_back = true;
            s.observed.update_revision = Some(revision(OLD));
        })
    };
    for state in [PodState::Down, PodState::Running] {
        put_back(state).acts(Step::RenewPod { ordinal: 2, uid: format!("{NEW}-2") });
    }
    let healed = updating(3, 0..3).with(|s| {
        s.observed.put_back = true;
        s.observed.update_revision = Some(revision(OLD));
    });
    healed.acts(Step::Finish { replicas: 3, config_index: 40 });
    let rests = updating(3, 0..3).with(|s| {
        s.observed.put_back = true;
        s.observed.update_revision = Some(revision(OLD));
        s.operation = None;
    });
    rests.waits(Reason::CanaryFailed);
}

#[test]
fn a_pod_that_cannot_start_is_renewed_unless_others_run_the_same_template() {
    let stuck = |s: &mut Situation| {
        for ordinal in 0..3 {
            s.observed.pods.get_mut(&ordinal).expect("a pod").state = PodState::Down;
        }
        s.observed.disks.clear();
        s.observed.leader = None;
    };
    updating(3, 0..3).with(stuck).acts(Step::RenewPod { ordinal: 0, uid: format!("{OLD}-0") });
    // Also before there is an ensemble.
    let founding = Situation::bootstrapping(None).with(|s| {
        s.observed.pods = (0..3).map(|ordinal| (ordinal, pod(ordinal, OLD))).collect();
        stuck(s);
    });
    founding.acts(Step::RenewPod { ordinal: 0, uid: format!("{OLD}-0") });
    let one_of_many = updating(3, 0..3).with(|s| {
        s.observed.pods.get_mut(&1).expect("a pod").state = PodState::Down;
        s.observed.disks.remove(&1);
    });
    // The update takes it, as the first: it is not needed for the quorum.
    one_of_many.acts(delete(1));
}

#[test]
fn a_lost_disk_stops_an_update() {
    let blank = Disk { member_id: MemberId(999), ..disk(1, DiskState::Blank) };
    updating(3, 0..3)
        .with(|s| {
            s.observed.disks.insert(1, blank);
        })
        .waits(Reason::DiskLost { ordinal: 1 });
}

#[test]
fn a_rejected_template_does_not_keep_the_ensemble_from_scaling() {
    let scaling = Situation::running(3).with(|s| {
        s.observed.put_back = true;
        s.desired.replicas = 5;
    });
    scaling.decides(Decision::Act(Step::Begin(operation(OperationKind::ScaleUp, 5))));
}
