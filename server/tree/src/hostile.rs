//! Bytes that nobody honest wrote, for everything here that is read from a log, a link or a snapshot.
//!
//! Built for tests and for `fuzz/` alone, so that what runs for seconds in every test run is what a fuzzer runs for
//! hours. Each function panics where a right build would not: the input is the whole of a failure.

use bytes::Bytes;

use crate::ids::{LogIndex, Term};
use crate::proposal::Proposal;
use crate::state::State;

/// Commands one behind the other, as a member that the leader trusts too much could send them. What can be read must
/// mean the same when it is written again, and applying it must leave a state that a snapshot brings back.
pub fn proposals(bytes: &[u8]) {
    let mut state = State::new();
    for (index, encoded) in (1..).zip(pieces(bytes)) {
        let Ok(proposal) = Proposal::decode(Bytes::copy_from_slice(encoded)) else { continue };
        let again = Proposal::decode(proposal.encode()).expect("what was encoded here");
        assert_eq!(again, proposal);
        state.begin_entry(LogIndex(index), Term(1));
        state.apply(&proposal, &mut |_, _| {});
    }
    assert_survives(&mut state);
}

/// A snapshot in one piece and in two must be refused alike, or be the same state.
pub fn snapshot(bytes: &[u8]) {
    let (cut, bytes) = bytes.split_first().map_or((0, bytes), |(first, rest)| (usize::from(*first), rest));
    let (head, tail) = bytes.split_at(cut.min(bytes.len()));
    let whole = State::restore([bytes]).map(|state| state.digest());
    let halves = State::restore([head, tail]).map(|state| state.digest());
    assert_eq!(whole.is_ok(), halves.is_ok());
    assert_eq!(whole.ok(), halves.ok());
}

/// That a snapshot of this state can be read back, and is the same.
pub fn assert_survives(state: &mut State) {
    let mut snapshot = state.snapshot_begin();
    let mut bytes = Vec::new();
    while !state.snapshot_next(&mut snapshot, &mut bytes, 1 << 20) {}
    drop(snapshot);
    let restored = State::restore([bytes]).expect("a snapshot of a state");
    assert_eq!(restored.digest(), state.digest());
}

/// Cuts bytes into pieces, each behind two bytes of length: a fuzzer can then change one and leave the others.
fn pieces(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (len, rest) = bytes.split_first_chunk()?;
        let (piece, rest) = rest.split_at(usize::from(u16::from_be_bytes(*len)).min(rest.len()));
        bytes = rest;
        Some(piece)
    })
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use zke_wire::{Acl, SessionId};

    use super::*;
    use crate::command::{Command, WriteOp};
    use crate::ids::{MemberId, Origin};
    use crate::proposal::Settings;

    /// Two honest proposals in pieces: a session, and a tree of its own.
    fn honest() -> Vec<u8> {
        let session = SessionId(1);
        let create = |path: &str, flags| Command::Client {
            session,
            attach_epoch: 0,
            identities: vec![],
            op: WriteOp::Create {
                path: path.to_owned(),
                data: None,
                acl: vec![Acl::open()],
                flags,
                with_stat: true,
            },
        };
        let begin = Command::CreateSession { session, password: [1; 16], timeout_ms: 4_000 };
        let batches = [vec![begin, create("/a", 0)], vec![create("/a/e", 1), create("/a/s", 2)]];
        let mut bytes = Vec::new();
        for (first_sequence, commands) in [1, 3].into_iter().zip(batches) {
            let origin = Origin { member: MemberId(1), incarnation: 1 };
            let proposal =
                Proposal { time_ms: 1, settings: Settings::default(), origin, first_sequence, commands };
            let encoded = proposal.encode();
            bytes.extend_from_slice(&(encoded.len() as u16).to_be_bytes());
            bytes.extend_from_slice(&encoded);
        }
        bytes
    }

    fn honest_snapshot() -> Vec<u8> {
        let mut state = State::new();
        for (index, encoded) in (1..).zip(pieces(&honest())) {
            state.begin_entry(LogIndex(index), Term(1));
            let proposal = Proposal::decode(Bytes::copy_from_slice(encoded)).expect("honest");
            state.apply(&proposal, &mut |_, _| {});
        }
        assert_eq!((state.session_count(), state.ephemerals_count()), (1, 1));
        let mut snapshot = state.snapshot_begin();
        let mut bytes = vec![40];
        assert!(state.snapshot_next(&mut snapshot, &mut bytes, usize::MAX));
        bytes
    }

    fn damaged(mut bytes: Vec<u8>, damage: Vec<(prop::sample::Index, u8)>) -> Vec<u8> {
        for (place, byte) in damage {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        bytes
    }

    proptest! {
        #[test]
        fn any_bytes(bytes in vec(any::<u8>(), 0..400)) {
            proposals(&bytes);
            snapshot(&bytes);
        }

        #[test]
        fn damaged_proposals(damage in vec((any::<prop::sample::Index>(), any::<u8>()), 0..6)) {
            proposals(&damaged(honest(), damage));
        }

        #[test]
        fn damaged_snapshots(damage in vec((any::<prop::sample::Index>(), any::<u8>()), 0..6)) {
            snapshot(&damaged(honest_snapshot(), damage));
        }
    }
}
