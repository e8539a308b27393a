//! Random commands over a tree so small that they meet each other all the time, and the codec under them.

use bytes::{Bytes, BytesMut};
use proptest::collection::vec;
use proptest::prelude::*;
use zke_tree::{Command, LogIndex, MemberId, Origin, Proposal, Reconfig, Settings, State, Term, WriteOp};
use zke_wire::{Acl, ErrorCode, Id, SessionId, Zxid, perms};

/// Mostly paths of nodes that may exist; sometimes what is no path.
pub fn path() -> impl Strategy<Value = String> {
    let name = prop::sample::select(vec!["a", "b", "c"]);
    let ordinary = vec(name, 0..4).prop_map(|names| format!("/{}", names.join("/")));
    let odd =
        prop::sample::select(vec!["", "/a/", "//", "a", "/a/..", "/\0", "/zookeeper/config", "/zookeeper/a"]);
    prop_oneof![20 => ordinary, 1 => odd.prop_map(str::to_owned)]
}

fn data() -> impl Strategy<Value = Option<Bytes>> {
    prop::option::of(vec(any::<u8>(), 0..20).prop_map(Bytes::from))
}

fn acl() -> impl Strategy<Value = Vec<Acl>> + Clone {
    let auth = Acl { perms: perms::ALL, id: Id::new("auth", "") };
    let readable = Acl { perms: perms::READ, id: Id::anyone() };
    let lists = [vec![Acl::open()], vec![auth, readable.clone()], vec![readable], vec![]];
    prop_oneof![10 => Just(lists[0].clone()), 3 => prop::sample::select(lists.to_vec())]
}

fn version() -> impl Strategy<Value = i32> {
    prop_oneof![3 => Just(-1), 1 => 0..4]
}

pub fn write_op(acl: impl Strategy<Value = Vec<Acl>> + Clone) -> impl Strategy<Value = WriteOp> {
    prop_oneof![
        5 => one_op(acl.clone()),
        1 => vec(one_op(acl), 0..6).prop_map(|ops| WriteOp::Multi { ops }),
    ]
}

/// Anything but a multi.
pub fn one_op(acl: impl Strategy<Value = Vec<Acl>> + Clone) -> impl Strategy<Value = WriteOp> {
    prop_oneof![
        8 => (path(), data(), acl.clone(), -1..5, any::<bool>())
            .prop_map(|(path, data, acl, flags, with_stat)| WriteOp::Create { path, data, acl, flags, with_stat }),
        2 => (path(), data(), acl.clone(), -1..5)
            .prop_map(|(path, data, acl, flags)| WriteOp::CreateContainer { path, data, acl, flags }),
        2 => (path(), data(), acl.clone(), 4..7, 0..40i64)
            .prop_map(|(path, data, acl, flags, ttl_ms)| WriteOp::CreateTtl { path, data, acl, flags, ttl_ms }),
        4 => (path(), version()).prop_map(|(path, version)| WriteOp::Delete { path, version }),
        4 => (path(), data(), version()).prop_map(|(path, data, version)| WriteOp::SetData { path, data, version }),
        1 => (path(), acl, version()).prop_map(|(path, acl, version)| WriteOp::SetAcl { path, acl, version }),
        1 => (path(), version()).prop_map(|(path, version)| WriteOp::Check { path, version }),
    ]
}

fn reconfig() -> impl Strategy<Value = WriteOp> {
    let lines = || prop::option::of(servers());
    let leaving = prop::option::of("[1-4](,[1-4]){0,2}");
    (lines(), leaving, lines(), -1..9i64).prop_map(|(joining, leaving, new_members, config_id)| {
        WriteOp::Reconfig(Reconfig { joining, leaving, new_members, config_id })
    })
}

/// Lines of servers, mostly.
fn servers() -> impl Strategy<Value = String> {
    prop_oneof![9 => "server[.][1-4]=h[1-4]:1:2;3(,server[.][1-4]=h[1-4]:1:2;3){0,3}", 1 => "[a-z=.:;]{0,9}"]
}

/// Everything of sessions, for three of them.
pub fn session_command() -> impl Strategy<Value = Command> {
    let timeout_ms = 1000..3000;
    prop_oneof![
        4 => (session(), timeout_ms.clone()).prop_map(|(session, timeout_ms)| {
            Command::CreateSession { session, password: PASSWORD, timeout_ms }
        }),
        1 => (session(), timeout_ms, any::<bool>()).prop_map(|(session, timeout_ms, right)| {
            let password = if right { PASSWORD } else { [0; 16] };
            Command::AttachSession { session, password, timeout_ms }
        }),
        1 => (session(), 0..2u32).prop_map(|(session, attach_epoch)| Command::CloseSession { session, attach_epoch }),
    ]
}

const PASSWORD: [u8; 16] = [9; 16];

fn session() -> impl Strategy<Value = SessionId> {
    (0..4i64).prop_map(SessionId)
}

pub fn client_command(op: impl Strategy<Value = WriteOp>) -> impl Strategy<Value = Command> {
    let ip = Id::new("ip", "10.0.0.1");
    let user = |name: &str| Id::new("digest", format!("{name}:hash"));
    let identities =
        vec![vec![ip.clone()], vec![ip.clone(), user("a")], vec![ip, user("b"), Id::new("super", "")]];
    let attach_epoch = prop_oneof![3 => Just(0), 1 => Just(1)];
    (session(), attach_epoch, prop::sample::select(identities), op).prop_map(
        |(session, attach_epoch, identities, op)| Command::Client { session, attach_epoch, identities, op },
    )
}

/// Of what may not be due to go, or not be there.
pub fn delete_container() -> impl Strategy<Value = Command> {
    path().prop_map(|path| Command::DeleteContainer { path })
}

pub fn command() -> impl Strategy<Value = Command> {
    let member = (0..3u64).prop_map(MemberId);
    let code = prop::sample::select(ErrorCode::ALL);
    prop_oneof![
        30 => client_command(write_op(acl())),
        10 => session_command(),
        3 => delete_container(),
        1 => client_command(reconfig()),
        1 => (0..9i64, servers()).prop_map(|(expect, servers)| Command::Configure { expect: Zxid(expect), servers }),
        1 => code.prop_map(|code| Command::Refused { code }),
        1 => (0..3u64, any::<bool>()).prop_map(|(control_epoch, serving)| Command::SetServing { control_epoch, serving }),
        1 => Just(Command::TakeControl {}),
        1 => (0..3u64, member.clone()).prop_map(|(control_epoch, member)| Command::RetireMember { control_epoch, member }),
        1 => (member, 0..3u64).prop_map(|(member, below_incarnation)| Command::ForgetMarks { member, below_incarnation }),
        1 => (0..10u32).prop_map(|to| Command::RaiseEpoch { to }),
        // The next one is only for programs that have it.
        1 => prop::sample::select(vec![0, 1, 3]).prop_map(|to| Command::RaiseApplyLevel { to }),
    ]
}

fn settings() -> impl Strategy<Value = Settings> {
    any::<(bool, bool, bool)>().prop_map(|(enforce_quota, reconfig_enabled, single_voter_allowed)| Settings {
        enforce_quota,
        reconfig_enabled,
        single_voter_allowed,
    })
}

/// One that some origin could make; sequences overlap, as when an origin proposes again.
pub fn proposal() -> impl Strategy<Value = Proposal> {
    let origin = (0..3u64, 0..3u64);
    (0..1000i64, settings(), origin, 1..30u64, vec(command(), 0..8)).prop_map(
        |(time_ms, settings, (member, incarnation), first_sequence, commands)| {
            let origin = Origin { member: MemberId(member), incarnation };
            Proposal { time_ms, settings, origin, first_sequence, commands }
        },
    )
}

proptest! {
    #[test]
    fn a_proposal_comes_back(proposal in proposal()) {
        prop_assert_eq!(Proposal::decode(proposal.encode()), Ok(proposal));
    }

    #[test]
    fn the_leader_s_time_and_settings_are_stamped_in_place(mut proposal in proposal(), time_ms: i64, settings in settings()) {
        let mut encoded = BytesMut::from(&proposal.encode()[..]);
        prop_assert_eq!(Proposal::stamp(&mut encoded, time_ms, settings), Ok(()));
        (proposal.time_ms, proposal.settings) = (time_ms, settings);
        prop_assert_eq!(Proposal::decode(encoded.freeze()), Ok(proposal));
    }

    /// Nor does it panic when a byte is wrong; a wrong byte may well make another proposal.
    #[test]
    fn no_part_of_a_proposal_is_a_proposal(proposal in proposal(), cut: prop::sample::Index, flip: prop::sample::Index) {
        let encoded = proposal.encode();
        prop_assert!(Proposal::decode(encoded.slice(..cut.index(encoded.len()))).is_err());
        let mut flipped = encoded.to_vec();
        flipped[flip.index(encoded.len())] ^= 0x41;
        _ = Proposal::decode(flipped.into());
    }

    #[test]
    fn random_bytes_are_refused_without_panic(bytes in vec(any::<u8>(), 0..300), time_ms: i64) {
        let mut versioned = BytesMut::from(&bytes[..]);
        if let Some(version) = versioned.first_mut() {
            *version = 1 + (*version & 1);
        }
        _ = Proposal::stamp(&mut versioned, time_ms, Settings::default());
        _ = Proposal::decode(versioned.freeze());
    }
}

#[test]
fn data_is_a_slice_of_the_encoded_proposal() {
    let op = WriteOp::SetData { path: "/a".into(), data: Some(Bytes::from_static(b"payload")), version: -1 };
    let command = Command::Client { session: SessionId(1), attach_epoch: 0, identities: vec![], op };
    let proposal = Proposal {
        time_ms: 0,
        settings: Settings::default(),
        origin: Origin::default(),
        first_sequence: 1,
        commands: vec![command],
    };
    let encoded = proposal.encode();
    let range = encoded.as_ptr_range();
    let decoded = Proposal::decode(encoded.clone()).expect("what was encoded is decoded");
    let Command::Client { op: WriteOp::SetData { data: Some(data), .. }, .. } = &decoded.commands[0] else {
        panic!("another command came back");
    };
    assert!(range.contains(&data.as_ptr()));
}

#[test]
fn a_multi_in_a_multi_is_no_proposal() {
    let proposal_of = |op| {
        let command = Command::Client { session: SessionId(1), attach_epoch: 0, identities: vec![], op };
        Proposal {
            time_ms: 0,
            settings: Settings::default(),
            origin: Origin::default(),
            first_sequence: 1,
            commands: vec![command],
        }
    };
    let empty = WriteOp::Multi { ops: vec![] };
    let nested = WriteOp::Multi { ops: vec![empty.clone()] };
    assert_eq!(Proposal::decode(proposal_of(empty.clone()).encode()), Ok(proposal_of(empty)));
    assert!(Proposal::decode(proposal_of(nested).encode()).is_err());
}

#[test]
fn the_log_is_cut_by_what_a_multi_holds() {
    let set =
        |len: usize| WriteOp::SetData { path: "/a".into(), data: Some(vec![0; len].into()), version: -1 };
    let command = |op| Command::Client { session: SessionId(1), attach_epoch: 0, identities: vec![], op };
    let hint = command(WriteOp::Multi { ops: vec![set(1_000), set(2_000)] }).size_hint();
    assert!((3_000..3_200).contains(&hint), "{hint}");
}

#[test]
fn sequences_begin_at_one_and_do_not_overflow() {
    for (first_sequence, commands) in [(0, vec![]), (u64::MAX, vec![Command::TakeControl {}])] {
        let proposal = Proposal {
            time_ms: 0,
            settings: Settings::default(),
            origin: Origin::default(),
            first_sequence,
            commands,
        };
        let error = Proposal::decode(proposal.encode()).expect_err("no such sequence");
        assert_eq!(error.to_string(), "decode a proposal: bad first sequence before byte 35");
    }
}

#[test]
fn the_last_sequence_that_there_is_can_be_applied() {
    let proposal = Proposal {
        time_ms: 0,
        settings: Settings::default(),
        origin: Origin::default(),
        first_sequence: u64::MAX - 1,
        commands: vec![Command::TakeControl {}],
    };
    let proposal = Proposal::decode(proposal.encode()).expect("it has a sequence");
    let mut state = State::new();
    state.begin_entry(LogIndex(1), Term(1));
    state.apply(&proposal, &mut |_, _| {});
}
