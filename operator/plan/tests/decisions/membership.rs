//! Founding, adopting, scaling.

use std::collections::BTreeSet;

use zke_plan::*;

use crate::situation::*;

#[test]
fn a_running_ensemble_is_left_alone() {
    for members in [1, 3, 5, 7] {
        Situation::running(members).decides(Decision::Done);
    }
}

#[test]
fn a_suspended_ensemble_is_left_alone_whatever_it_needs() {
    Situation::new(3).with(|s| s.desired.suspend = true).waits(Reason::Suspended);
    Situation::growing().with(|s| s.desired.suspend = true).waits(Reason::Suspended);
}

#[test]
fn new_volumes_are_a_new_ensemble_and_kept_ones_the_old() {
    Situation::new(3)
        .acts(Step::Begin(Operation { ensemble_id: FRESH, ..operation(OperationKind::Bootstrap, 3) }));
    // The highest kept volume counts, whatever the spec says and whatever is missing below it.
    Situation::new(3)
        .with(|s| s.observed.claims = [(4, claim(4, Some(OURS), true))].into())
        .acts(Step::Begin(operation(OperationKind::Adopt, 5)));
    Situation::new(3)
        .with(|s| {
            s.observed.claims = [(0, claim(0, Some(OURS), true)), (1, claim(1, Some(OTHER), true))].into();
        })
        .waits(Reason::IdentityConflict { ordinal: 1, found: OTHER, expected: None });
}

#[test]
fn a_disk_of_another_ensemble_stops_everything() {
    let foreign = Disk { ensemble_id: Some(OTHER), ..disk(2, DiskState::Member) };
    Situation::growing()
        .with(|s| {
            s.observed.disks.insert(2, foreign);
        })
        .waits(Reason::IdentityConflict { ordinal: 2, found: OTHER, expected: Some(OURS) });
}

#[test]
fn the_first_voter_is_latched_before_it_is_made() {
    let seed = member_id(0);
    let latched = Operation { seed: Some(seed), ..operation(OperationKind::Bootstrap, 3) };
    Situation::bootstrapping(None).acts(Step::Begin(latched));
    Situation::bootstrapping(Some(seed)).acts(Step::Bootstrap {
        ordinal: 0,
        member_id: seed,
        ensemble_id: OURS,
    });
}

#[test]
fn another_disk_is_never_founded_under_the_same_id() {
    let anew =
        Operation { ensemble_id: FRESH, abandoned: Some(OURS), ..operation(OperationKind::Bootstrap, 3) };
    Situation::bootstrapping(Some(MemberId(7))).acts(Step::Begin(anew));
    // Somebody has joined the lost one already.
    Situation::bootstrapping(Some(MemberId(7)))
        .with(|s| {
            s.observed.disks.insert(1, disk(1, DiskState::Joining));
        })
        .waits(Reason::SeedLost);
}

#[test]
fn nothing_is_founded_while_a_disk_is_silent() {
    Situation::bootstrapping(Some(member_id(0)))
        .with(|s| {
            s.observed.disks.remove(&2);
        })
        .waits(Reason::PodsPending { ordinals: vec![2] });
}

#[test]
fn empty_disks_of_an_ensemble_that_has_served_are_not_a_new_ensemble() {
    Situation::bootstrapping(None)
        .with(|s| {
            s.operation = Some(operation(OperationKind::Adopt, 3));
            s.observed.claims.insert(0, claim(0, Some(OURS), true));
        })
        .waits(Reason::DataLost);
}

#[test]
fn a_newcomer_is_marked_joined_and_added_in_this_order() {
    let newcomer = |state, mark| {
        Situation::growing().with(|s| {
            s.leader().members.remove(&member_id(3));
            s.observed.disks.insert(3, disk(3, state));
            s.observed.claims.insert(3, claim(3, mark, false));
        })
    };
    newcomer(DiskState::Blank, None).acts(Step::MarkClaims {
        claims: vec![ClaimMark { ordinal: 3, uid: "uid-3".to_owned() }],
        ensemble_id: OURS,
        initialized: false,
    });
    let member_id = member_id(3);
    newcomer(DiskState::Blank, Some(OURS)).acts(Step::Join { ordinal: 3, member_id, ensemble_id: OURS });
    newcomer(DiskState::Joining, Some(OURS)).acts(Step::AddLearner {
        ordinal: 3,
        member_id,
        config_index: 40,
    });
    newcomer(DiskState::Member, Some(OURS)).waits(Reason::MembershipUnclear { ordinal: 3 });
    newcomer(DiskState::Corrupt, Some(OURS)).waits(Reason::DiskCorrupt { ordinal: 3 });
    // Retired in earlier times: joining makes it blank, under another id, and then it goes the same way.
    newcomer(DiskState::Retired, Some(OURS)).acts(Step::Join { ordinal: 3, member_id, ensemble_id: OURS });
}

#[test]
fn a_retired_disk_is_used_again_only_on_the_word_of_a_leader_that_does_not_name_it() {
    let retired = disk(3, DiskState::Retired);
    // Learner 3 was retired, and the leader stopped before it left.
    let half_gone = Situation::growing().with(|s| {
        s.observed.disks.insert(3, retired);
    });
    half_gone.acts(Step::ChangeVoters { config_index: 40, voters: ids(0..3), retire: ids([3]) });
    // The volume came up under another pod.
    half_gone
        .with(|s| {
            s.leader().members.insert(member_id(3), in_sync(6));
        })
        .waits(Reason::MembershipUnclear { ordinal: 3 });
    // The member that was left is gone, and this may be the best copy there is.
    Situation::bootstrapping(None)
        .with(|s| {
            s.operation = Some(operation(OperationKind::Adopt, 3));
            s.observed.disks.insert(1, disk(1, DiskState::Retired));
        })
        .waits(Reason::DiskRetired { ordinal: 1 });
}

#[test]
fn voters_change_when_all_are_in_sync_and_the_budget_is_in_force() {
    let change = Step::ChangeVoters { config_index: 40, voters: ids(0..5), retire: BTreeSet::new() };
    Situation::growing().acts(change);
    Situation::growing()
        .with(|s| {
            s.leader().members.insert(member_id(4), Member { ordinal: 4, matched_index: 1, in_sync: false });
        })
        .waits(Reason::CatchingUp { ordinals: vec![4] });
    Situation::growing()
        .with(|s| s.observed.budget.min_available = Some(2))
        .acts(Step::SetBudget { min_available: Some(4) });
    Situation::growing().with(|s| s.observed.budget.in_force = false).waits(Reason::BudgetPending);
}

#[test]
fn a_dead_follower_of_an_idle_ensemble_is_not_in_sync() {
    // The leader's figure stays good as long as nobody writes; the member's own silence decides.
    Situation::running(3)
        .with(|s| {
            s.observed.disks.remove(&2);
            s.desired.replicas = 5;
        })
        .waits(Reason::NotInSync { ordinals: vec![2] });
}

#[test]
fn a_view_from_before_the_last_change_is_no_view() {
    Situation::running(3).with(|s| s.observed.config_index = 41).waits(Reason::NoLeader);
}

#[test]
fn on_the_way_down_the_leader_moves_first_and_pods_go_last() {
    let shrinking = || {
        Situation::running(5).with(|s| {
            s.operation = Some(operation(OperationKind::ScaleDown, 3));
            s.desired.replicas = 3;
            s.observed.budget.min_available = Some(4);
        })
    };
    shrinking()
        .with(|s| s.leader().member_id = member_id(4))
        .acts(Step::TransferLeadership { to: member_id(0), term: 5 });
    shrinking().acts(Step::ChangeVoters { config_index: 40, voters: ids(0..3), retire: ids(3..5) });
    let retired = || {
        shrinking().with(|s| {
            s.observed.leader = Situation::running(3).observed.leader;
            s.observed.budget.min_available = Some(2);
        })
    };
    retired().acts(Step::SetReplicas { from: Some(5), to: 3 });
    let gone = |when_scaled| {
        retired().with(|s| {
            s.observed.stateful_set = Some(3);
            s.desired.when_scaled = when_scaled;
        })
    };
    gone(ClaimRetention::Delete).acts(Step::DeleteClaim { ordinal: 3, uid: "uid-3".to_owned() });
    gone(ClaimRetention::Retain).acts(Step::Finish { replicas: 3, config_index: 40 });
}

#[test]
fn a_change_of_mind_half_way_turns_round() {
    Situation::growing()
        .with(|s| s.desired.replicas = 3)
        .acts(Step::Begin(operation(OperationKind::ScaleDown, 3)));
}

#[test]
fn a_stateful_set_changed_by_hand_is_put_right_but_members_are_never_taken_away() {
    Situation::running(3)
        .with(|s| s.observed.stateful_set = Some(1))
        .acts(Step::SetReplicas { from: Some(1), to: 3 });
    Situation::running(3)
        .with(|s| s.observed.stateful_set = Some(4))
        .acts(Step::SetReplicas { from: Some(4), to: 3 });
    // Without a leader's word nobody can say who the fourth is.
    Situation::running(3)
        .with(|s| {
            s.observed.stateful_set = Some(4);
            s.observed.leader = None;
        })
        .waits(Reason::NoLeader);
}

#[test]
fn a_lost_disk_is_said_and_changes_nothing() {
    let replacement = Disk { member_id: MemberId(999), ..disk(1, DiskState::Blank) };
    Situation::running(3)
        .with(|s| {
            s.observed.disks.insert(1, replacement);
        })
        .waits(Reason::DiskLost { ordinal: 1 });
}
