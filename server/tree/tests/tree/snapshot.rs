//! Snapshots made while writes go on, and what becomes of damaged ones.

use proptest::collection::vec;
use proptest::prelude::*;
use zke_tree::{Snapshot, SnapshotReader, State};

use crate::ensemble::Ensemble;
use crate::random;

/// Everything that clients can read, and the digest.
fn dump(state: &State) -> String {
    let superuser = [zke_wire::Id::new("super", "")];
    let mut lines = Vec::new();
    let mut paths = vec!["/".to_owned()];
    while let Some(path) = paths.pop() {
        let (data, stat) = state.get_data(&path, &superuser).expect("a child that is listed is there");
        lines.push(format!("{path} {data:?} {stat:?} {:?}", state.get_acl(&path, &superuser)));
        let (children, _) = state.get_children(&path, &superuser).expect("the node is there");
        paths.extend(children.iter().map(|name| format!("{}/{name}", path.trim_end_matches('/'))));
    }
    lines.sort_unstable();
    lines.extend(state.sessions().map(|session| {
        let ephemerals = session.num_ephemerals();
        format!(
            "{} {:?} {} {} {ephemerals}",
            session.id, session.password, session.timeout_ms, session.attach_epoch
        )
    }));
    let (applied, zxid, now_ms) = (state.applied(), state.last_zxid(), state.now_ms());
    lines.push(format!("{applied:?} {zxid} {now_ms} {} {}", state.serving(), state.control_epoch()));
    let counts = (state.node_count(), state.ephemerals_count(), state.approximate_data_size());
    lines.push(format!("{counts:?} {:x}", state.digest()));
    lines.join("\n")
}

fn whole(state: &mut State) -> Vec<u8> {
    let mut snapshot = state.snapshot_begin();
    let mut bytes = Vec::new();
    assert!(state.snapshot_next(&mut snapshot, &mut bytes, usize::MAX));
    bytes
}

fn filled(commands: Vec<zke_tree::Command>) -> Ensemble {
    let mut ensemble = Ensemble::new();
    for command in commands {
        ensemble.time_ms += 1;
        ensemble.apply(command);
    }
    ensemble
}

proptest! {
    /// Some commands before it begins, some between its steps.
    #[test]
    fn a_snapshot_is_the_state_at_its_beginning(
        before in vec(random::command(), 0..150),
        between in vec(vec(random::command(), 0..20), 0..40),
        step_bytes in 1..400usize,
        chunk_bytes in 1..400usize,
    ) {
        let mut ensemble = filled(before);
        let expected = dump(&ensemble.state);
        let mut snapshot = ensemble.state.snapshot_begin();
        let mut bytes = Vec::new();
        let mut writes = between.into_iter();
        while !ensemble.state.snapshot_next(&mut snapshot, &mut bytes, step_bytes) {
            for command in writes.next().unwrap_or_default() {
                ensemble.apply(command);
            }
        }
        prop_assert_eq!(ensemble.state.snapshot_held_bytes(), 0);
        let restored = State::restore(bytes.chunks(chunk_bytes)).expect("a whole snapshot");
        prop_assert_eq!(dump(&restored), expected);
    }

    /// A snapshot that was dropped half-way leaves nothing behind, and the next one is right.
    #[test]
    fn a_dropped_snapshot_does_not_matter(
        before in vec(random::command(), 0..60),
        after in vec(random::command(), 1..60),
        steps in 0..5,
    ) {
        let mut ensemble = filled(before);
        let mut snapshot = ensemble.state.snapshot_begin();
        for _ in 0..steps {
            ensemble.state.snapshot_next(&mut snapshot, &mut Vec::new(), 50);
        }
        drop(snapshot);
        for command in after {
            ensemble.apply(command);
        }
        let expected = dump(&ensemble.state);
        let bytes = whole(&mut ensemble.state);
        prop_assert_eq!(dump(&State::restore([bytes]).expect("a whole snapshot")), expected);
    }

    /// Or what was damaged is a number that nothing but the snapshot itself refers to.
    #[test]
    fn a_damaged_snapshot_is_refused(
        commands in vec(random::command(), 0..60),
        at: prop::sample::Index,
        flip in 1..=255u8,
    ) {
        let mut ensemble = filled(commands);
        let mut bytes = whole(&mut ensemble.state);
        let at = at.index(bytes.len());
        prop_assert!(State::restore([&bytes[..at]]).is_err());
        bytes[at] ^= flip;
        if let Ok(restored) = State::restore([&bytes]) {
            prop_assert_eq!(dump(&restored), dump(&ensemble.state));
        }
        bytes[at] ^= flip;
        bytes.push(0);
        prop_assert!(State::restore([&bytes]).is_err());
    }

    #[test]
    fn random_bytes_are_refused_without_panic(bytes in vec(any::<u8>(), 0..300)) {
        prop_assert!(State::restore([&bytes]).is_err());
    }
}

#[test]
#[should_panic = "one snapshot at a time"]
fn two_snapshots_at_once_are_a_mistake_of_the_caller() {
    let mut state = State::new();
    let _first: Snapshot = state.snapshot_begin();
    state.snapshot_begin();
}

#[test]
fn the_state_goes_on_from_where_the_snapshot_was() {
    let mut first = filled(Vec::new());
    let bytes = whole(&mut first.state);
    let mut reader = SnapshotReader::new();
    for byte in &bytes {
        reader.feed(&[*byte]).expect("the bytes are right so far");
    }
    let restored = reader.finish().expect("a whole snapshot");
    assert_eq!(restored.digest(), first.state.digest());
    assert_eq!(restored.node_count(), 5);
}
