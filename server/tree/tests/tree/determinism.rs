//! The same entries lead to the same state, however the member came to it.

use proptest::collection::vec;
use proptest::prelude::*;
use zke_tree::{Command, LogIndex, MemberId, Origin, Proposal, Settings, State, Term};

use crate::random;

/// What a member shows of one entry.
fn apply(state: &mut State, index: u64, term: u64, proposal: &Proposal) -> Vec<String> {
    let mut shown = Vec::new();
    state.begin_entry(LogIndex(index), Term(term));
    state.apply(proposal, &mut |state, applied| {
        shown.push(format!("{applied:?} {:?}", state.digest()));
    });
    shown
}

fn copy_through_snapshot(state: &mut State) -> State {
    let mut bytes = Vec::new();
    let mut snapshot = state.snapshot_begin();
    while !state.snapshot_next(&mut snapshot, &mut bytes, 100) {}
    State::restore([bytes]).expect("a snapshot is restored")
}

proptest! {
    /// The second member starts anew from a snapshot in the middle, so its nodes have other numbers.
    #[test]
    fn members_agree(
        proposals in vec((random::proposal(), 1..4u64), 1..40),
        restart_at: prop::sample::Index,
    ) {
        let restart_at = restart_at.index(proposals.len());
        let (mut first, mut second) = (State::new(), State::new());
        let mut term = 0;
        for (index, (proposal, terms)) in proposals.iter().enumerate() {
            if index == restart_at {
                second = copy_through_snapshot(&mut second);
            }
            term += terms / 3;
            let index = index as u64 + 1;
            prop_assert_eq!(
                apply(&mut first, index, term, proposal),
                apply(&mut second, index, term, proposal)
            );
        }
        prop_assert_eq!(first.digest(), second.digest());
    }
}

/// One thread applies while others read.
#[test]
fn the_state_is_shared_between_threads() {
    fn assert_shared<T: Send + Sync>() {}
    assert_shared::<State>();
    assert_shared::<zke_tree::Snapshot>();
    assert_shared::<zke_tree::WatchTable<u64>>();
}

fn take_control(first_sequence: u64, count: usize) -> Proposal {
    let origin = Origin { member: MemberId(3), incarnation: 1 };
    Proposal {
        time_ms: 0,
        settings: Settings::default(),
        origin,
        first_sequence,
        commands: vec![Command::TakeControl {}; count],
    }
}

#[test]
fn a_command_that_is_proposed_twice_happens_once() {
    let mut state = State::new();
    assert_eq!(apply(&mut state, 1, 1, &take_control(1, 3)).len(), 3);
    assert_eq!(apply(&mut state, 2, 1, &take_control(2, 3)).len(), 1);
    assert_eq!(apply(&mut state, 3, 1, &take_control(1, 4)).len(), 0);
    assert_eq!(state.control_epoch(), 4);
    assert_eq!(state.mark(take_control(1, 0).origin), 4);
}

#[test]
fn a_session_that_is_lost_is_seen_in_the_digest() {
    let mut digests = vec![State::new().digest()];
    let mut state = State::new();
    let commands = [
        Command::CreateSession { session: zke_wire::SessionId(1), password: [1; 16], timeout_ms: 1000 },
        Command::AttachSession { session: zke_wire::SessionId(1), password: [1; 16], timeout_ms: 2000 },
        Command::CloseSession { session: zke_wire::SessionId(1), attach_epoch: 1 },
        Command::RetireMember { control_epoch: 0, member: MemberId(1) },
        Command::ForgetMarks { member: MemberId(3), below_incarnation: 1 },
    ];
    for (sequence, command) in (1..).zip(commands) {
        apply(&mut state, 1, 1, &Proposal { commands: vec![command], ..take_control(sequence, 0) });
        assert!(!digests.contains(&state.digest()));
        digests.push(state.digest());
    }
}
