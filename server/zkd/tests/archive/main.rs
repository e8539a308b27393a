//! Backup and restore with the real program: what stands in an archive that was taken under load, what comes back of
//! it, and what is refused. And what is seen on a disk that a server has left.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod inspect;
mod managed;
#[path = "../members/members.rs"]
#[allow(dead_code, reason = "shared with the tests of three members")]
mod members;
mod program;
#[path = "../client/raw.rs"]
#[allow(dead_code, reason = "shared with the tests of one server")]
mod raw;

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use tempfile::TempDir;
use zke_wire::{Acl, ConnectRequest, ErrorCode, Id, OpCode, Request, Response, SessionId, Stat, Zxid, perms};

use members::Members;
use program::{Server, text, turn, zkd};
use raw::Raw;

/// Epoch and term are raised by this much.
const MARGIN: u32 = 65_536;
const USER: &[u8] = b"user:password";

/// What one client wrote, and at which zxid it was acknowledged.
type Written = Vec<(String, Zxid)>;

/// Creates nodes one after the other until it is told to stop.
fn write_until(server: SocketAddr, writer: usize, stop: &AtomicBool) -> Written {
    let (mut client, _) = Raw::connect(server);
    let mut written = Vec::new();
    while !stop.load(Ordering::Acquire) {
        let path = format!("/load/{writer}-{}", written.len());
        client.send(1, &raw::create(&path, &path, 0));
        let (header, _) = client.reply(OpCode::Create);
        assert_eq!(header.err, None);
        written.push((path, header.zxid));
    }
    written
}

/// A node of each kind. The client holds the session of the ephemeral ones.
fn fill(server: SocketAddr) -> Raw {
    let (mut client, _) = Raw::connect(server);
    client.call(Request::Auth { scheme: "digest".to_owned(), auth: Bytes::from_static(USER) }).unwrap();
    client.call(raw::create("/load", "", 0)).unwrap();
    client.call(raw::create("/kept", "first", 0)).unwrap();
    client.call(raw::set("/kept", "second")).unwrap();
    for _ in 0..3 {
        client.call(raw::create("/kept/n-", "sequential", 2)).unwrap();
    }
    client.call(raw::delete("/kept/n-0000000001")).unwrap();
    client.call(raw::create("/with-ephemerals", "", 0)).unwrap();
    client.call(raw::create("/with-ephemerals/e", "gone", 1)).unwrap();
    client.call(raw::create("/with-ephemerals/s-", "gone", 3)).unwrap();
    let only_owner = vec![Acl { perms: perms::ALL, id: Id { scheme: "auth".into(), id: "".into() } }];
    let secret = Request::Create {
        path: "/secret".to_owned(),
        data: Some(Bytes::from_static(b"secret")),
        acl: only_owner,
        flags: 0,
        with_stat: false,
    };
    client.call(secret).unwrap();
    let (data, acl) = (None, vec![Acl::open()]);
    let container = Request::CreateContainer { path: "/locks".to_owned(), data, acl: acl.clone(), flags: 4 };
    client.call(container).unwrap();
    let ttl = Request::CreateTtl { path: "/ttl".to_owned(), data: None, acl, flags: 5, ttl_ms: 3_600_000 };
    client.call(ttl).unwrap();
    client
}

/// Everything that a client can ask of the nodes that nobody changes any more.
fn view(client: &mut Raw) -> Vec<(String, Stat, Option<Bytes>, Vec<Acl>)> {
    let paths =
        ["/kept", "/kept/n-0000000000", "/kept/n-0000000002", "/secret", "/locks", "/ttl", "/zookeeper"];
    let mut seen = Vec::new();
    for path in paths {
        let Ok(Response::Data { data, stat }) = client.call(raw::get(path)) else { panic!("{path}") };
        let acl = client.call(Request::GetAcl { path: path.to_owned() });
        let Ok(Response::Acl { acl, .. }) = acl else { panic!("{path}: {acl:?}") };
        seen.push((path.to_owned(), stat, data, acl));
    }
    seen
}

fn authenticated(server: SocketAddr) -> Raw {
    let (mut client, _) = Raw::connect(server);
    client.call(Request::Auth { scheme: "digest".to_owned(), auth: Bytes::from_static(USER) }).unwrap();
    client
}

fn backup(socket: &Path, name: &str, to: &Path) -> program::Ended {
    zkd(&["backup", "--socket", text(socket), "--name", name, "--to", text(to)])
}

fn zxid_of(artifact: &Value) -> Zxid {
    let digits = artifact["zxid"].as_str().unwrap().strip_prefix("0x").unwrap();
    Zxid(i64::from_str_radix(digits, 16).unwrap())
}

#[test]
fn an_archive_taken_under_load_is_the_tree_at_its_zxid() {
    let _turn = turn();
    let members = Members::start();
    let follower = (members.leader() + 1) % 3;
    let holder = fill(members.client(follower));
    let before = view(&mut authenticated(members.client(follower)));
    let temp = TempDir::new().unwrap();
    let archives = temp.path().join("archives");

    let stop = AtomicBool::new(false);
    let (artifact, written, acknowledged_before) = thread::scope(|scope| {
        let writers: Vec<_> = (0..3)
            .map(|writer| (writer, members.client(writer)))
            .map(|(writer, server)| {
                let stop = &stop;
                scope.spawn(move || write_until(server, writer, stop))
            })
            .collect();
        thread::sleep(Duration::from_millis(500));
        // Acknowledged by the leader, before the follower is asked.
        let (mut client, _) = Raw::connect(members.client(members.leader()));
        client.send(1, &raw::create("/load/before", "", 0));
        let acknowledged_before = client.reply(OpCode::Create).0.zxid;
        let taken = backup(&members.socket(follower), "under-load", &archives);
        thread::sleep(Duration::from_millis(300));
        stop.store(true, Ordering::Release);
        let written: Written = writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect();
        (taken.succeeded(), written, acknowledged_before)
    });
    drop(holder);
    let zxid = zxid_of(&artifact);
    assert!(zxid >= acknowledged_before, "{zxid} holds what was acknowledged before: {acknowledged_before}");
    let (inside, after): (Written, Written) = written.into_iter().partition(|(_, at)| *at <= zxid);
    assert!(inside.len() > 10 && after.len() > 10, "{} before, {} after", inside.len(), after.len());

    // Once more is the same: the archive is there, and whole.
    let again = backup(&members.socket(follower), "under-load", &archives);
    assert!(again.message().starts_with("was there already"), "{}", again.message());
    assert_eq!(again.succeeded(), artifact);
    let file = archives.join(artifact["path"].as_str().unwrap());
    assert_eq!(fs::metadata(&file).unwrap().len(), artifact["sizeBytes"].as_u64().unwrap());
    let manifest: Value = serde_json::from_slice(&fs::read(file.with_extension("json")).unwrap()).unwrap();
    assert_eq!((&manifest["sha256"], &manifest["path"]), (&artifact["sha256"], &artifact["path"]));
    assert!(manifest["createdMs"].as_i64().unwrap() > 0);
    let newest_seen = after.iter().map(|(_, at)| *at).max().unwrap();
    drop(members);

    let data_dir = temp.path().join("restored");
    let sha256 = artifact["sha256"].as_str().unwrap();
    zkd(&["restore", text(&file), "--sha256", sha256, "--data-dir", text(&data_dir)]).succeeded();
    let mut server = Server::start(&data_dir);
    let mut client = authenticated(server.clients());
    assert_eq!(view(&mut client), before);
    let (mut stranger, _) = Raw::connect(server.clients());
    assert_eq!(stranger.call(raw::get("/secret")), Err(ErrorCode::NoAuth));
    for (path, at) in &inside {
        let (data, stat) = raw::data_of(client.call(raw::get(path)));
        assert_eq!((&data, stat.czxid), (path, *at));
    }
    for (path, at) in &after {
        assert_eq!(client.call(raw::exists(path)), Err(ErrorCode::NoNode), "{path} is of {at}");
    }
    let load = raw::stat_of(client.call(raw::exists("/load")));
    assert_eq!(load.num_children as usize, inside.len() + 1);
    let parent = raw::stat_of(client.call(raw::exists("/with-ephemerals")));
    assert_eq!((parent.num_children, parent.cversion), (0, 4), "two came and two went");
    // A client that has seen more than the archive holds is let in, and what it sees next is newer.
    let ahead = ConnectRequest { last_zxid_seen: newest_seen, ..raw::new_session() };
    let mut old = Raw::dial(server.clients());
    assert_ne!(old.ask_session(&ahead).session_id, SessionId::NONE);
    old.send(1, &raw::create("/kept/new-", "", 3));
    let (header, _) = old.reply(OpCode::Create);
    assert!(header.zxid.epoch() > zxid.epoch().max(newest_seen.epoch()) + MARGIN, "{}", header.zxid);
    old.call(Request::Close).unwrap();
    // The second time it is a member like any other, and what was written since is there too.
    server.start_again();
    let mut client = authenticated(server.clients());
    let kept = raw::stat_of(client.call(raw::exists("/kept")));
    assert_eq!(kept.num_children, 2);
    let artifact = backup(&server.socket(), "of-the-restored", &archives).succeeded();
    assert_ne!(artifact["ensembleID"], manifest["ensembleID"]);
}

#[test]
fn what_is_no_good_archive_is_refused_with_the_reason() {
    let _turn = turn();
    let temp = TempDir::new().unwrap();
    let server = Server::start(&temp.path().join("data"));
    drop(fill(server.clients()));
    let archives = temp.path().join("archives");
    let artifact = backup(&server.socket(), "good", &archives).succeeded();
    let good = fs::read(archives.join(artifact["path"].as_str().unwrap())).unwrap();
    let mut flipped = good.clone();
    flipped[good.len() / 2] ^= 1;
    let mut newer = good.clone();
    newer[8] = 9;
    let cases = [
        ("flipped", flipped, "Corrupt", "is damaged at byte"),
        ("cut", good[..good.len() - 5].to_vec(), "Corrupt", "is cut short"),
        ("longer", [&good[..], b"x"].concat(), "Corrupt", "goes on after its end"),
        ("newer", newer, "NewerFormat", "has archive format 9"),
        ("another", b"another kind of file altogether".to_vec(), "Corrupt", "is no archive"),
        ("empty", Vec::new(), "Corrupt", "is cut short"),
    ];
    let restored = temp.path().join("restored");
    for (name, bytes, reason, words) in cases {
        let file = temp.path().join(name);
        fs::write(&file, bytes).unwrap();
        zkd(&["verify", text(&file)]).failed(reason, words);
        zkd(&["restore", text(&file), "--data-dir", text(&restored)]).failed(reason, words);
        assert!(!restored.exists(), "nothing was begun");
    }
    let good = archives.join(artifact["path"].as_str().unwrap());
    let other = "0".repeat(64);
    zkd(&["verify", text(&good), "--sha256", &other]).failed("ChecksumMismatch", &other);
    zkd(&["verify", text(&good), "--sha256", artifact["sha256"].as_str().unwrap()]).succeeded();
    zkd(&["verify", text(&temp.path().join("missing"))]).failed("NotFound", "missing");
    let full = temp.path().join("data");
    zkd(&["restore", text(&good), "--data-dir", text(&full)]).failed("DiskNotBlank", "is not empty");
    let nobody = temp.path().join("nobody/admin.sock");
    backup(&nobody, "x", &archives).failed("NotFound", "admin.sock");
    backup(&server.socket(), "../x", &archives).failed("InvalidRequest", "../x");

    let path = artifact["path"].as_str().unwrap();
    zkd(&["prune", "--dir", text(&archives), path, "e/gone.zks"]).succeeded_without_artifact();
    assert!(!good.exists() && !good.with_extension("json").exists());
}

/// The one who asks goes away in the middle; the member serves on, and the next one gets its turn.
#[test]
fn a_caller_who_goes_away_harms_nothing() {
    let _turn = turn();
    let temp = TempDir::new().unwrap();
    let server = Server::start(&temp.path().join("data"));
    let (mut client, _) = Raw::connect(server.clients());
    // More than queues and sockets take.
    let large = "x".repeat(900_000);
    for node in 0..40 {
        client.call(raw::create(&format!("/large-{node}"), &large, 0)).unwrap();
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for _ in 0..3 {
        runtime.block_on(async {
            let endpoint =
                tonic::transport::Endpoint::from_shared(format!("unix:{}", text(&server.socket())));
            let channel = endpoint.unwrap().connect().await.unwrap();
            let mut member = zke_admin::v1::admin_client::AdminClient::new(channel);
            let mut stream = loop {
                match member.snapshot(zke_admin::v1::SnapshotRequest {}).await {
                    Ok(answer) => break answer.into_inner(),
                    // The one before has not been noticed to be gone.
                    Err(status) => assert_eq!(status.code(), tonic::Code::FailedPrecondition, "{status}"),
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            };
            stream.message().await.unwrap().unwrap();
            let second = member.snapshot(zke_admin::v1::SnapshotRequest {}).await;
            assert_eq!(second.unwrap_err().code(), tonic::Code::FailedPrecondition);
        });
        client.call(raw::set("/large-0", "still served")).unwrap();
    }
    let left = fs::read_dir(temp.path().join("data")).unwrap().map(|entry| entry.unwrap().file_name());
    let left: Vec<_> = left.filter(|name| name.to_string_lossy().starts_with("snapshot-")).collect();
    assert!(left.is_empty(), "{left:?}");
    let archives = temp.path().join("archives");
    let mut last = backup(&server.socket(), "last", &archives);
    for _ in 0..100 {
        if last.report["reason"] != "MemberRefused" {
            break;
        }
        thread::sleep(Duration::from_millis(50));
        last = backup(&server.socket(), "last", &archives);
    }
    last.succeeded();
}
