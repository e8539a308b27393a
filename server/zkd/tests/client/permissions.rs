//! Every opcode against every permission: one table says what each asks of the lists, and each is tried with lists that
//! give just that, everything else, and nothing.
//!
//! The table is a match without a default: an opcode that is added does not compile before its row is there.

use bytes::Bytes;
use zke_wire::{Acl, ErrorCode, EventKind, Id, MultiResult, OpCode, Request, Response, Zxid, perms};

use crate::raw::{self, Raw, new_session, same_session};
use crate::server::Server;

/// What an operation asks for.
#[derive(Debug, Clone, Copy)]
enum Needs {
    /// Any of these on the node.
    Node(i32),
    /// Any of these on its parent, whatever the node says.
    Parent(i32),
    /// It concerns the connection or the session alone.
    Nothing,
    /// What its parts ask for, each for itself.
    Parts,
    /// Refused from everyone with this.
    Refused(ErrorCode),
}

fn needs(op: OpCode) -> Needs {
    match op {
        OpCode::Create | OpCode::Create2 | OpCode::CreateContainer | OpCode::CreateTtl => {
            Needs::Parent(perms::CREATE)
        }
        OpCode::Delete => Needs::Parent(perms::DELETE),
        OpCode::SetData => Needs::Node(perms::WRITE),
        OpCode::SetAcl => Needs::Node(perms::ADMIN),
        OpCode::GetAcl => Needs::Node(perms::READ | perms::ADMIN),
        OpCode::Exists
        | OpCode::GetData
        | OpCode::GetChildren
        | OpCode::GetChildren2
        | OpCode::GetAllChildrenNumber => Needs::Node(perms::READ),
        // Whether a watch's event is told is asked when there is one.
        OpCode::AddWatch
        | OpCode::CheckWatches
        | OpCode::RemoveWatches
        | OpCode::SetWatches
        | OpCode::SetWatches2 => Needs::Nothing,
        // Of the path only the text is used; ephemerals are the session's own.
        OpCode::Sync | OpCode::GetEphemerals => Needs::Nothing,
        OpCode::Ping | OpCode::Auth | OpCode::Sasl | OpCode::WhoAmI | OpCode::CloseSession => Needs::Nothing,
        OpCode::Multi | OpCode::MultiRead => Needs::Parts,
        // On its own; within a multi it asks for READ.
        OpCode::Check => Needs::Refused(ErrorCode::Unimplemented),
        // Of a server alone, and where it is not enabled; else it asks for WRITE on /zookeeper/config.
        OpCode::Reconfig => Needs::Refused(ErrorCode::ReconfigDisabled),
    }
}

fn acl(perms: i32) -> Vec<Acl> {
    // An empty list would allow everything, so one without rights names somebody else.
    match perms {
        0 => vec![Acl { perms: perms::ALL, id: Id::new("digest", "somebody:else") }],
        perms => vec![Acl { perms, id: Id::anyone() }],
    }
}

/// The request of an opcode about `dir/node`, or about a new node beside it.
fn request(op: OpCode, dir: &str) -> Request {
    let (path, new) = (format!("{dir}/node"), format!("{dir}/new"));
    let (data, list) = (Some(Bytes::from_static(b"x")), acl(perms::ALL));
    match op {
        OpCode::Create | OpCode::Create2 => {
            Request::Create { path: new, data, acl: list, flags: 0, with_stat: op == OpCode::Create2 }
        }
        OpCode::CreateContainer => Request::CreateContainer { path: new, data, acl: list, flags: 4 },
        OpCode::CreateTtl => Request::CreateTtl { path: new, data, acl: list, flags: 5, ttl_ms: 60_000 },
        OpCode::Delete => Request::Delete { path, version: -1 },
        OpCode::SetData => Request::SetData { path, data, version: -1 },
        OpCode::SetAcl => Request::SetAcl { path, acl: list, version: -1 },
        OpCode::GetAcl => Request::GetAcl { path },
        OpCode::Exists => Request::Exists { path, watch: false },
        OpCode::GetData => Request::GetData { path, watch: false },
        OpCode::GetChildren | OpCode::GetChildren2 => {
            Request::GetChildren { path, watch: false, with_stat: op == OpCode::GetChildren2 }
        }
        OpCode::GetAllChildrenNumber => Request::GetAllChildrenNumber { path },
        OpCode::Check => Request::Check { path, version: -1 },
        OpCode::AddWatch => Request::AddWatch { path, mode: 1 },
        OpCode::CheckWatches => Request::CheckWatches { path, kind: 3 },
        OpCode::RemoveWatches => Request::RemoveWatches { path, kind: 3 },
        OpCode::SetWatches => Request::SetWatches {
            relative_zxid: Zxid(i64::MAX),
            data: vec![path],
            exist: vec![],
            child: vec![],
        },
        OpCode::SetWatches2 => Request::SetWatches2 {
            relative_zxid: Zxid(i64::MAX),
            data: vec![path],
            exist: vec![],
            child: vec![],
            persistent: vec![],
            persistent_recursive: vec![],
        },
        OpCode::Sync => Request::Sync { path },
        OpCode::GetEphemerals => Request::GetEphemerals { prefix: Some(path) },
        OpCode::Ping => Request::Ping,
        OpCode::Auth => raw::auth("digest", "a:b"),
        OpCode::Sasl => Request::Sasl { token: Some(Bytes::new()) },
        OpCode::WhoAmI => Request::WhoAmI,
        OpCode::CloseSession => Request::Close,
        OpCode::Multi => Request::Multi { ops: vec![] },
        OpCode::MultiRead => Request::MultiRead { ops: vec![] },
        OpCode::Reconfig => {
            Request::Reconfig { joining: None, leaving: None, new_members: None, config_id: -1 }
        }
    }
}

/// Directories with a node each, made by somebody whom no list stops.
struct Fixture {
    server: Server,
    root: Raw,
    made: usize,
}

const SUPER_DIGEST: (&str, &str) =
    ("zookeeper.DigestAuthenticationProvider.superDigest", "super:lK75jTNcA+U9vtVEw5vB51mj/w4=");

impl Fixture {
    fn new() -> Fixture {
        let server = Server::start_with(&[("zookeeper.maxClientCnxns", "0"), SUPER_DIGEST]);
        let (mut root, _) = Raw::connect(server.address);
        root.call(raw::auth("digest", "super:secret")).unwrap();
        Fixture { server, root, made: 0 }
    }

    fn make(&mut self, dir_perms: i32, node_perms: i32) -> String {
        self.made += 1;
        let dir = format!("/{}", self.made);
        let create =
            |path: String, acl| Request::Create { path, data: None, acl, flags: 0, with_stat: false };
        let ops = vec![create(dir.clone(), acl(dir_perms)), create(format!("{dir}/node"), acl(node_perms))];
        let made = self.root.call(Request::Multi { ops });
        assert!(matches!(made, Ok(Response::Multi { ref results }) if results.len() == 2), "{made:?}");
        dir
    }

    /// For each permission that there is: lists that give it alone, on one of the two, to all but it, and none.
    fn cases() -> Vec<(i32, i32)> {
        let one_by_one = [perms::READ, perms::WRITE, perms::CREATE, perms::DELETE, perms::ADMIN];
        let mut sets = vec![0, perms::ALL];
        sets.extend(one_by_one);
        sets.extend(one_by_one.map(|perm| perms::ALL & !perm));
        let with =
            |other: i32| sets.iter().flat_map(move |set| [(*set, other), (other, *set)]).collect::<Vec<_>>();
        let mut cases = with(0);
        cases.extend(with(perms::ALL));
        cases.sort_unstable();
        cases.dedup();
        cases
    }
}

fn allowed(needs: Needs, dir_perms: i32, node_perms: i32) -> bool {
    match needs {
        Needs::Node(any) => node_perms & any != 0,
        Needs::Parent(any) => dir_perms & any != 0,
        Needs::Nothing | Needs::Parts => true,
        Needs::Refused(_) => false,
    }
}

#[test]
fn every_opcode_is_checked_against_every_permission() {
    let mut fixture = Fixture::new();
    for &op in OpCode::ALL {
        let needs = needs(op);
        let (mut stranger, _) = Raw::connect(fixture.server.address);
        for (dir_perms, node_perms) in Fixture::cases() {
            let dir = fixture.make(dir_perms, node_perms);
            if matches!(op, OpCode::CloseSession | OpCode::Check | OpCode::Auth) {
                // These end the connection, or change who the client is.
                stranger = Raw::connect(fixture.server.address).0;
            }
            stranger.send(if op == OpCode::Ping { -2 } else { 1 }, &request(op, &dir));
            let error = stranger.reply(op).0.err;
            let expected = match (needs, allowed(needs, dir_perms, node_perms)) {
                (Needs::Refused(code), _) => Some(code),
                (_, false) => Some(ErrorCode::NoAuth),
                (_, true) if matches!(op, OpCode::CheckWatches | OpCode::RemoveWatches) => {
                    error.filter(|error| *error == ErrorCode::NoWatcher)
                }
                (_, true) => None,
            };
            assert_eq!(error, expected, "{op:?} with {dir_perms} on the parent, {node_perms} on the node");
        }
    }
}

/// What each part of a multi asks for: as on its own, and READ for a check.
fn part_needs(op: OpCode) -> Needs {
    if op == OpCode::Check { Needs::Node(perms::READ) } else { needs(op) }
}

#[test]
fn every_part_of_a_multi_is_checked_for_itself() {
    let mut fixture = Fixture::new();
    let open = fixture.make(perms::ALL, perms::ALL);
    let (mut stranger, _) = Raw::connect(fixture.server.address);
    let writes = [
        OpCode::Create,
        OpCode::Create2,
        OpCode::CreateContainer,
        OpCode::CreateTtl,
        OpCode::Delete,
        OpCode::SetData,
        OpCode::Check,
    ];
    for op in writes {
        for (dir_perms, node_perms) in Fixture::cases() {
            let dir = fixture.make(dir_perms, node_perms);
            let before = raw::data_version(&mut fixture.root, &open);
            let ops = vec![raw::set(&format!("{open}/node"), "y"), request(op, &dir)];
            let Ok(Response::Multi { results }) = stranger.call(Request::Multi { ops }) else {
                panic!("no answer to a multi")
            };
            let is_allowed = allowed(part_needs(op), dir_perms, node_perms);
            let refused = matches!(results[1], MultiResult::Error(ErrorCode::NoAuth));
            assert_eq!(refused, !is_allowed, "{op:?} {dir_perms} {node_perms}: {results:?}");
            // What was allowed before it is taken back.
            let after = raw::data_version(&mut fixture.root, &open);
            assert_eq!(after - before, i32::from(is_allowed), "{op:?} {dir_perms} {node_perms}");
        }
    }
    for op in [OpCode::GetData, OpCode::GetChildren] {
        for (dir_perms, node_perms) in Fixture::cases() {
            let dir = fixture.make(dir_perms, node_perms);
            let ops = vec![request(op, &dir), request(op, &open)];
            let Ok(Response::Multi { results }) = stranger.call(Request::MultiRead { ops }) else {
                panic!("no answer to a multiRead")
            };
            let refused = matches!(results[0], MultiResult::Error(ErrorCode::NoAuth));
            assert_eq!(
                refused,
                !allowed(needs(op), dir_perms, node_perms),
                "{op:?} {dir_perms} {node_perms}"
            );
            assert!(!matches!(results[1], MultiResult::Error(_)), "{results:?}");
        }
    }
}

#[test]
fn a_password_s_digest_is_shown_to_those_alone_who_may_set_it() {
    let mut fixture = Fixture::new();
    let (mut stranger, _) = Raw::connect(fixture.server.address);
    for given in 0..=perms::ALL {
        let dir = fixture.make(perms::ALL, perms::ALL);
        let mut list = acl(given);
        list.push(Acl { perms: perms::ALL, id: Id::new("digest", "owner:hash") });
        let path = format!("{dir}/node");
        fixture.root.call(Request::SetAcl { path, acl: list, version: -1 }).unwrap();
        let shown = match stranger.call(request(OpCode::GetAcl, &dir)) {
            Ok(Response::Acl { acl, .. }) => acl.last().map(|entry| entry.id.id.clone()),
            Err(ErrorCode::NoAuth) => None,
            other => panic!("not the answer to getACL: {other:?}"),
        };
        let expected = match given {
            given if given & perms::ADMIN != 0 => Some("owner:hash"),
            given if given & perms::READ != 0 => Some("owner:x"),
            _ => None,
        };
        assert_eq!(shown.as_deref(), expected, "{given}");
    }
}

#[test]
fn a_recursive_watch_tells_of_no_child_that_its_owner_may_not_read() {
    let mut fixture = Fixture::new();
    let dir = fixture.make(perms::ALL, perms::ALL);
    let (mut stranger, _) = Raw::connect(fixture.server.address);
    stranger.call(Request::AddWatch { path: dir.clone(), mode: 1 }).unwrap();
    let create = |name: &str, perms: i32| Request::Create {
        path: format!("{dir}/{name}"),
        data: None,
        acl: acl(perms),
        flags: 0,
        with_stat: false,
    };
    fixture.root.call(create("secret", perms::ALL & !perms::READ)).unwrap();
    fixture.root.call(raw::set(&format!("{dir}/secret"), "x")).unwrap();
    fixture.root.call(raw::delete(&format!("{dir}/secret"))).unwrap();
    fixture.root.call(create("open", perms::READ)).unwrap();
    let (_, event) = stranger.event();
    assert_eq!((event.kind, &*event.path), (EventKind::NodeCreated, &*format!("{dir}/open")));
}

/// CVE-2026-59739.
#[test]
fn set_watches_tells_nothing_of_a_node_that_may_not_be_read_any_more() {
    let mut fixture = Fixture::new();
    let (gone, kept) = (fixture.make(perms::ALL, perms::ALL), fixture.make(perms::ALL, perms::ALL));
    let (mut away, granted) = Raw::connect(fixture.server.address);
    let Ok(Response::Stat(seen)) = away.call(raw::exists(&format!("{kept}/node"))) else { panic!("no stat") };
    drop(away);
    for dir in [&gone, &kept] {
        fixture.root.call(raw::set(&format!("{dir}/node"), "changed")).unwrap();
        fixture.root.call(raw::create(&format!("{dir}/node/child"), "", 0)).unwrap();
        fixture.root.call(raw::create(&format!("{dir}/new"), "", 0)).unwrap();
    }
    let set_acl = |path: String, perms| Request::SetAcl { path, acl: acl(perms), version: -1 };
    for name in ["node", "new"] {
        fixture.root.call(set_acl(format!("{gone}/{name}"), perms::ALL & !perms::READ)).unwrap();
    }

    let mut back = Raw::dial(fixture.server.address);
    assert_eq!(back.ask_session(&same_session(&granted)).session_id, granted.session_id);
    let of_both = |name: &str| vec![format!("{gone}/{name}"), format!("{kept}/{name}")];
    let set_watches = Request::SetWatches {
        relative_zxid: seen.mzxid,
        data: of_both("node"),
        exist: of_both("new"),
        child: of_both("node"),
    };
    back.send(-8, &set_watches);
    let told: Vec<_> =
        (0..3).map(|_| back.event().1).map(|event| (event.kind, event.path.to_string())).collect();
    let expected = [
        (EventKind::NodeDataChanged, format!("{kept}/node")),
        (EventKind::NodeCreated, format!("{kept}/new")),
        (EventKind::NodeChildrenChanged, format!("{kept}/node")),
    ];
    assert_eq!(told, expected);
    assert_eq!(back.reply(OpCode::SetWatches).0.xid, -8);

    // The watch is there, and tells once the node may be read again.
    fixture.root.call(set_acl(format!("{gone}/node"), perms::ALL)).unwrap();
    fixture.root.call(raw::set(&format!("{gone}/node"), "again")).unwrap();
    let (_, event) = back.event();
    assert_eq!((event.kind, &*event.path), (EventKind::NodeDataChanged, &*format!("{gone}/node")));
}

#[test]
fn identities_end_with_their_connection() {
    let server = Server::start_with(&[SUPER_DIGEST]);
    let (mut client, granted) = Raw::connect(server.address);
    client.call(raw::auth("digest", "super:secret")).unwrap();
    assert!(raw::who_am_i(&mut client).contains(&("super".to_owned(), String::new())));
    drop(client);
    let mut back = Raw::dial(server.address);
    assert_eq!(back.ask_session(&same_session(&granted)).session_id, granted.session_id);
    assert_eq!(raw::who_am_i(&mut back), [("ip".to_owned(), "127.0.0.1".to_owned())]);
    // Nobody is super by name alone.
    for scheme in ["super", "world", "sasl", "x509", "auth"] {
        let mut client = Raw::dial(server.address);
        client.ask_session(&new_session());
        client.send(-4, &raw::auth(scheme, "super"));
        assert_eq!(client.reply(OpCode::Auth).0.err, Some(ErrorCode::AuthFailed), "{scheme}");
        assert!(client.hung_up(), "{scheme}");
    }
}
