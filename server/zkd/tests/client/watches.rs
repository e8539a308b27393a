//! Watches: which events, how often, and before the reply that shows the change.

use zke_wire::EventKind::{NodeChildrenChanged, NodeCreated, NodeDataChanged, NodeDeleted};
use zke_wire::{Acl, ErrorCode, EventKind, Id, OpCode, Request, Response, WatcherEvent, Zxid, perms};

use crate::raw::{self, Raw, new_session, same_session};
use crate::server::Server;

fn expect_event(client: &mut Raw, kind: EventKind, path: &str) -> Zxid {
    let (zxid, event) = client.event();
    assert_eq!((event.kind, &*event.path), (kind, path));
    zxid
}

#[test]
fn an_own_write_s_event_comes_before_its_reply_with_the_same_zxid() {
    let server = Server::start();
    let (mut client, _) = Raw::connect(server.address);
    client.call(raw::create("/w", "", 0)).unwrap();
    client.call(raw::watching(raw::get("/w"))).unwrap();
    client.send(5, &raw::set("/w", "x"));
    let zxid = expect_event(&mut client, NodeDataChanged, "/w");
    let (header, _) = client.reply(OpCode::SetData);
    assert_eq!((header.xid, header.zxid), (5, zxid));
    // Once only.
    assert!(client.call(raw::set("/w", "y")).is_ok());
}

#[test]
fn each_change_tells_those_who_wait_for_it() {
    let server = Server::start();
    let (mut watcher, _) = Raw::connect(server.address);
    let (mut writer, _) = Raw::connect(server.address);
    writer.call(raw::create("/p", "", 0)).unwrap();

    assert_eq!(watcher.call(raw::watching(raw::exists("/p/n"))), Err(ErrorCode::NoNode));
    watcher.call(raw::watching(raw::children("/p"))).unwrap();
    writer.call(raw::create("/p/n", "", 0)).unwrap();
    expect_event(&mut watcher, NodeCreated, "/p/n");
    expect_event(&mut watcher, NodeChildrenChanged, "/p");

    // Both tables of one node: told once.
    watcher.call(raw::watching(raw::get("/p/n"))).unwrap();
    watcher.call(raw::watching(raw::children("/p/n"))).unwrap();
    watcher.call(raw::watching(raw::children("/p"))).unwrap();
    writer.call(raw::delete("/p/n")).unwrap();
    expect_event(&mut watcher, NodeDeleted, "/p/n");
    expect_event(&mut watcher, NodeChildrenChanged, "/p");

    // What is missing cannot be watched but through exists; a failed write tells nobody.
    assert_eq!(watcher.call(raw::watching(raw::get("/p/n"))), Err(ErrorCode::NoNode));
    watcher.call(raw::watching(raw::get("/p"))).unwrap();
    assert_eq!(writer.call(raw::set_version("/p", "", 99)), Err(ErrorCode::BadVersion));
    writer.call(raw::create("/p/n", "", 0)).unwrap();
    assert!(watcher.call(raw::exists("/p")).is_ok());
    writer.call(raw::set("/p", "")).unwrap();
    expect_event(&mut watcher, NodeDataChanged, "/p");
}

#[test]
fn a_watch_armed_behind_an_own_write_sees_the_next_one_only() {
    let server = Server::start();
    let (mut client, _) = Raw::connect(server.address);
    client.send_all(&[
        (1, raw::create("/w", "", 0)),
        (2, raw::watching(raw::get("/w"))),
        (3, raw::set("/w", "1")),
        (4, raw::watching(raw::get("/w"))),
        (5, raw::delete("/w")),
    ]);
    assert_eq!(client.reply(OpCode::Create).0.xid, 1);
    assert_eq!(raw::data_of(Ok(client.reply(OpCode::GetData).1)).0, "");
    let zxid = expect_event(&mut client, NodeDataChanged, "/w");
    assert_eq!(client.reply(OpCode::SetData).0.zxid, zxid);
    assert_eq!(raw::data_of(Ok(client.reply(OpCode::GetData).1)).0, "1");
    expect_event(&mut client, NodeDeleted, "/w");
    assert_eq!(client.reply(OpCode::Delete).0.xid, 5);
}

#[test]
fn an_event_never_comes_behind_a_read_that_shows_the_change() {
    let server = Server::start();
    let (mut watcher, _) = Raw::connect(server.address);
    let (mut writer, _) = Raw::connect(server.address);
    writer.call(raw::create("/r", "0", 0)).unwrap();
    let writing = std::thread::spawn(move || {
        for n in 1..=300 {
            writer.call(raw::set("/r", &n.to_string())).unwrap();
        }
    });
    let mut version = 0;
    while version < 300 {
        watcher.send(1, &raw::watching(raw::get("/r")));
        version = raw::data_of(Ok(watcher.reply(OpCode::GetData).1)).1.version;
        if version == 300 {
            break;
        }
        // The watch is armed at `version`: its event must be there before any answer that knows more.
        watcher.send(2, &raw::get("/r"));
        let mut told = false;
        loop {
            let frame = watcher.frame();
            if frame[..4] == (-1_i32).to_be_bytes() {
                told = true;
                continue;
            }
            let (_, response) = Response::decode(OpCode::GetData, frame).unwrap();
            let seen = raw::data_of(Ok(response)).1.version;
            assert!(seen == version || told, "saw {seen} without being told, watched since {version}");
            break;
        }
        if !told {
            expect_event(&mut watcher, NodeDataChanged, "/r");
        }
    }
    writing.join().unwrap();
}

#[test]
fn who_may_not_read_is_not_told() {
    let server = Server::start();
    let (mut watcher, _) = Raw::connect(server.address);
    let (mut writer, _) = Raw::connect(server.address);
    writer.call(raw::create("/open", "", 0)).unwrap();
    watcher.call(raw::watching(raw::get("/open"))).unwrap();
    watcher.call(raw::watching(raw::exists("/hidden"))).unwrap_err();
    let write_only = vec![Acl { perms: perms::WRITE, id: Id::anyone() }];
    let hidden = Request::Create {
        path: "/hidden".to_owned(),
        data: None,
        acl: write_only,
        flags: 0,
        with_stat: false,
    };
    writer.call(hidden).unwrap();
    writer.call(raw::set("/open", "x")).unwrap();
    expect_event(&mut watcher, NodeDataChanged, "/open");
}

#[test]
fn set_watches_tells_what_was_missed_and_arms_the_rest() {
    let server = Server::start();
    let (mut writer, _) = Raw::connect(server.address);
    for path in ["/changed", "/deleted", "/parent", "/same"] {
        writer.call(raw::create(path, "", 0)).unwrap();
    }
    let (mut client, granted) = Raw::connect(server.address);
    client.send(1, &raw::exists("/"));
    let seen = client.reply(OpCode::Exists).0.zxid;
    drop(client);
    writer.call(raw::set("/changed", "x")).unwrap();
    writer.call(raw::delete("/deleted")).unwrap();
    writer.call(raw::create("/created", "", 0)).unwrap();
    writer.call(raw::create("/parent/child", "", 0)).unwrap();

    let mut client = Raw::dial(server.address);
    client.ask_session(&same_session(&granted));
    let own = |paths: &[&str]| paths.iter().map(|path| (*path).to_owned()).collect();
    let set_watches = Request::SetWatches {
        relative_zxid: seen,
        data: own(&["/changed", "/deleted", "/same"]),
        exist: own(&["/created", "/later"]),
        child: own(&["/parent"]),
    };
    client.send(-8, &set_watches);
    for (kind, path) in [
        (NodeDataChanged, "/changed"),
        (NodeDeleted, "/deleted"),
        (NodeCreated, "/created"),
        (NodeChildrenChanged, "/parent"),
    ] {
        assert_eq!(expect_event(&mut client, kind, path), Zxid(-1));
    }
    let (header, response) = client.reply(OpCode::SetWatches);
    assert_eq!((header.xid, header.err, response), (-8, None, Response::Empty));
    writer.call(raw::set("/changed", "y")).unwrap();
    writer.call(raw::set("/same", "y")).unwrap();
    writer.call(raw::create("/later", "", 0)).unwrap();
    expect_event(&mut client, NodeDataChanged, "/same");
    expect_event(&mut client, NodeCreated, "/later");
}

#[test]
fn watches_go_with_their_connection() {
    let server = Server::start();
    let (mut client, granted) = Raw::connect(server.address);
    client.call(raw::watching(raw::exists("/x"))).unwrap_err();
    assert_eq!(server.clients.hub.watches.lock().watches(), 1);
    let mut again = Raw::dial(server.address);
    again.ask_session(&same_session(&granted));
    assert!(client.hung_up());
    let gone = (0..200).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(5));
        server.clients.hub.watches.lock().watches() == 0
    });
    assert!(gone);
    again.call(raw::create("/x", "", 0)).unwrap();
    assert_eq!(Raw::dial(server.address).ask_session(&new_session()).timeout_ms, 10_000);
}

fn add_watch(path: &str, mode: i32) -> Request {
    Request::AddWatch { path: path.to_owned(), mode }
}

fn remove_watches(path: &str, kind: i32) -> Request {
    Request::RemoveWatches { path: path.to_owned(), kind }
}

fn check_watches(path: &str, kind: i32) -> Request {
    Request::CheckWatches { path: path.to_owned(), kind }
}

#[test]
fn a_persistent_watch_stays_until_it_is_removed() {
    let server = Server::start();
    let (mut client, _) = Raw::connect(server.address);
    let (mut writer, _) = Raw::connect(server.address);
    client.send(3, &add_watch("/p", 0));
    // The one success with an error record as its body.
    let frame = client.frame();
    assert_eq!((&frame[12..16], &frame[16..]), (&[0; 4][..], &[0; 4][..]));
    assert_eq!(client.call(add_watch("/r", 1)), Ok(Response::AddWatch));
    assert_eq!(client.call(add_watch("/p", 2)), Err(ErrorCode::MarshallingError));
    for request in [
        raw::create("/p", "", 0),
        raw::set("/p", "x"),
        raw::set("/p", "y"),
        raw::create("/p/c", "", 0),
        raw::set("/p/c", "unheard"),
        raw::create("/r", "", 0),
        raw::create("/r/c", "", 0),
        raw::set("/r/c", "x"),
    ] {
        writer.call(request).unwrap();
    }
    let expected = [
        (NodeCreated, "/p"),
        (NodeDataChanged, "/p"),
        (NodeDataChanged, "/p"),
        (NodeChildrenChanged, "/p"),
        (NodeCreated, "/r"),
        (NodeCreated, "/r/c"),
        (NodeDataChanged, "/r/c"),
    ];
    for (kind, path) in expected {
        assert_eq!(client.event().1, WatcherEvent { kind, path: path.into() });
    }
    assert_eq!(client.call(check_watches("/p", 4)), Ok(Response::Empty));
    assert_eq!(client.call(check_watches("/p", 5)), Err(ErrorCode::NoWatcher));
    assert_eq!(client.call(check_watches("/p", 9)), Err(ErrorCode::MarshallingError));
    assert_eq!(client.call(remove_watches("/p", 1)), Err(ErrorCode::NoWatcher));
    assert_eq!(client.call(remove_watches("/p", 3)), Ok(Response::Empty));
    assert_eq!(client.call(remove_watches("/p", 3)), Err(ErrorCode::NoWatcher));
    assert_eq!(client.call(remove_watches("/r", 6)), Err(ErrorCode::MarshallingError));
    assert_eq!(client.call(remove_watches("/r", 5)), Ok(Response::Empty));
    // An event would come before the reply.
    client.call(raw::set("/p", "z")).unwrap();
    client.call(raw::set("/r/c", "z")).unwrap();
}

#[test]
fn set_watches_2_arms_lasting_watches_too_and_tells_nothing_of_the_past() {
    let server = Server::start();
    let (mut client, _) = Raw::connect(server.address);
    for path in ["/d", "/p", "/r", "/r/c"] {
        client.call(raw::create(path, "", 0)).unwrap();
    }
    let (mut again, _) = Raw::connect(server.address);
    let set_watches = Request::SetWatches2 {
        relative_zxid: Zxid(0),
        data: vec!["/d".to_owned()],
        exist: vec![],
        child: vec![],
        persistent: vec!["/p".to_owned()],
        persistent_recursive: vec!["/r".to_owned()],
    };
    again.send(-8, &set_watches);
    let changed = |path: &str| WatcherEvent { kind: NodeDataChanged, path: path.into() };
    assert_eq!(again.event(), (Zxid(-1), changed("/d")));
    let (header, _) = again.reply(OpCode::SetWatches2);
    assert_eq!((header.xid, header.err), (-8, None));
    for path in ["/d", "/p", "/p", "/r/c"] {
        client.call(raw::set(path, "x")).unwrap();
    }
    for path in ["/p", "/p", "/r/c"] {
        assert_eq!(again.event().1, changed(path));
    }
    drop(again);
    let gone = (0..100).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(20));
        server.clients.hub.watches.lock().watches() == 0
    });
    assert!(gone);
}
