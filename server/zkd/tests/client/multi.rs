//! Several operations in one request.

use zke_wire::{Acl, ErrorCode, EventKind, MultiResult, OpCode, Request, Response, Stat, perms};

use crate::raw::{self, Raw};
use crate::server::Server;

fn multi(ops: Vec<Request>) -> Request {
    Request::Multi { ops }
}

fn results(response: Result<Response, ErrorCode>) -> Vec<MultiResult> {
    match response {
        Ok(Response::Multi { results }) => results,
        other => panic!("not the answer to a multi: {other:?}"),
    }
}

#[test]
fn all_is_done_at_one_zxid_and_answered_one_by_one() {
    let server = Server::start();
    let (mut client, granted) = Raw::connect(server.address);
    let ops = vec![
        raw::create("/a", "one", 0),
        raw::create2("/a/e-", 3),
        raw::set("/a", "three"),
        raw::check("/a", 1),
        raw::create("/a/b", "", 0),
        raw::delete("/a/b"),
    ];
    client.send(7, &multi(ops));
    let (header, response) = client.reply(OpCode::Multi);
    assert_eq!((header.xid, header.err), (7, None));
    let at = |version, num_children, cversion| Stat {
        czxid: header.zxid,
        mzxid: header.zxid,
        pzxid: header.zxid,
        version,
        num_children,
        cversion,
        ..Stat::default()
    };
    let results = results(Ok(response));
    let MultiResult::Create2 { path, stat: ephemeral } = &results[1] else { panic!("{results:?}") };
    assert_eq!(path, "/a/e-0000000000");
    let (ctime_ms, mtime_ms) = (ephemeral.ctime_ms, ephemeral.mtime_ms);
    assert_eq!(*ephemeral, Stat { ephemeral_owner: granted.session_id.0, ctime_ms, mtime_ms, ..at(0, 0, 0) });
    let changed = Stat { data_length: 5, ctime_ms, mtime_ms, ..at(1, 1, 1) };
    let expected = [
        MultiResult::Create { path: "/a".to_owned() },
        results[1].clone(),
        MultiResult::SetData { stat: changed },
        MultiResult::Check,
        MultiResult::Create { path: "/a/b".to_owned() },
        MultiResult::Delete,
    ];
    assert_eq!(results, expected);
    let (data, stat) = raw::data_of(client.call(raw::get("/a")));
    assert_eq!((data.as_str(), stat), ("three", Stat { cversion: 3, ..changed }));
}

#[test]
fn what_fails_changes_nothing_and_says_for_each_why() {
    let server = Server::start();
    let (mut client, _) = Raw::connect(server.address);
    let (mut other, _) = Raw::connect(server.address);
    client.call(raw::create("/a", "one", 0)).unwrap();
    let before = raw::data_of(client.call(raw::get("/a")));
    assert!(other.call(raw::watching(raw::get("/a"))).is_ok());
    assert_eq!(other.call(raw::watching(raw::exists("/b"))), Err(ErrorCode::NoNode));
    let ops = vec![
        raw::set("/a", "two"),
        raw::create("/b", "", 0),
        raw::create("/a", "", 0),
        raw::delete("/b"),
        raw::check("/none", 5),
    ];
    client.send(1, &multi(ops));
    let (header, response) = client.reply(OpCode::Multi);
    assert_eq!(header.err, None);
    assert_eq!(header.zxid.0, before.1.czxid.0 + 1);
    let expected = [
        MultiResult::RolledBack,
        MultiResult::RolledBack,
        MultiResult::Error(ErrorCode::NodeExists),
        MultiResult::Error(ErrorCode::RuntimeInconsistency),
        MultiResult::Error(ErrorCode::RuntimeInconsistency),
    ];
    assert_eq!(results(Ok(response)), expected);
    assert_eq!(raw::data_of(client.call(raw::get("/a"))), before);
    assert_eq!(client.call(raw::exists("/b")), Err(ErrorCode::NoNode));
    // Nobody heard of it: the first event is of what comes now.
    assert!(client.call(multi(vec![raw::create("/b", "", 0), raw::set("/a", "two")])).is_ok());
    let events: Vec<_> = (0..2).map(|_| other.event().1).map(|event| (event.kind, event.path)).collect();
    let of = |kind, path: &str| (kind, path.into());
    assert_eq!(events, [of(EventKind::NodeCreated, "/b"), of(EventKind::NodeDataChanged, "/a")]);
}

#[test]
fn an_empty_one_answers_its_end_mark_and_consumes_a_zxid() {
    let server = Server::start();
    let (mut client, _) = Raw::connect(server.address);
    client.call(raw::create("/a", "", 0)).unwrap();
    let before = raw::stat_of(client.call(raw::exists("/a"))).czxid;
    client.send(9, &multi(vec![]));
    let frame = client.frame();
    assert_eq!(frame[..4], 9_i32.to_be_bytes());
    assert_eq!(frame[4..12], (before.0 + 1).to_be_bytes());
    assert_eq!(frame[12..], [0, 0, 0, 0, 255, 255, 255, 255, 1, 255, 255, 255, 255]);
}

#[test]
fn it_has_its_place_among_the_requests_of_its_session() {
    let server = Server::start();
    let (mut client, _) = Raw::connect(server.address);
    let requests = [
        (1, raw::create("/a", "one", 0)),
        (2, multi(vec![raw::check("/a", 0), raw::set("/a", "two")])),
        (3, raw::get("/a")),
        (4, multi(vec![raw::check("/a", 0), raw::set("/a", "three")])),
        (5, raw::get("/a")),
    ];
    client.send_all(&requests);
    let mut seen = Vec::new();
    for (xid, request) in &requests {
        let (header, response) = client.reply(request.op());
        assert_eq!((header.xid, header.err), (*xid, None));
        if let Response::Data { .. } = response {
            seen.push(raw::data_of(Ok(response)).0);
        }
    }
    assert_eq!(seen, ["two", "two"]);
}

#[test]
fn what_it_may_not_hold_is_a_marshalling_error_and_the_connection_goes_on() {
    let server = Server::start();
    let (mut client, _) = Raw::connect(server.address);
    for op in [raw::get("/"), raw::children("/"), multi(vec![]), Request::Ping] {
        assert_eq!(client.call(multi(vec![op])), Err(ErrorCode::MarshallingError));
    }
    assert!(client.call(raw::exists("/")).is_ok());
}

/// As many as a frame of the usual size takes, all undone by the last.
#[test]
fn thousands_of_operations_are_one() {
    let server = Server::start();
    let (mut client, _) = Raw::connect(server.address);
    let mut ops: Vec<_> = (0..5_000).map(|n| raw::create(&format!("/{n:04}"), "x", 0)).collect();
    ops.push(raw::delete("/none"));
    let failed = results(client.call(multi(ops.clone())));
    assert_eq!(failed[5_000], MultiResult::Error(ErrorCode::NoNode));
    assert!(failed[..5_000].iter().all(|result| *result == MultiResult::RolledBack));
    assert_eq!(raw::stat_of(client.call(raw::exists("/"))).num_children, 1);
    ops.pop();
    assert_eq!(results(client.call(multi(ops))).len(), 5_000);
    assert_eq!(raw::stat_of(client.call(raw::exists("/"))).num_children, 5_001);
}

#[test]
fn reads_are_answered_each_for_itself_and_arm_no_watch() {
    let server = Server::start();
    let (mut client, _) = Raw::connect(server.address);
    client.call(raw::create("/a", "one", 0)).unwrap();
    client.call(raw::create("/a/b", "", 0)).unwrap();
    let (data, stat) = raw::data_of(client.call(raw::get("/a")));
    let ops = vec![
        raw::watching(raw::get("/a")),
        raw::get("/none"),
        raw::watching(raw::children("/a")),
        raw::children("/a/b"),
        raw::children("/none"),
    ];
    let expected = [
        MultiResult::Data { data: Some(data.into()), stat },
        MultiResult::Error(ErrorCode::NoNode),
        MultiResult::Children { children: vec!["b".to_owned()] },
        MultiResult::Children { children: vec![] },
        MultiResult::Error(ErrorCode::NoNode),
    ];
    assert_eq!(results(client.call(Request::MultiRead { ops })), expected);
    assert_eq!(results(client.call(Request::MultiRead { ops: vec![] })), []);
    // An event would come before the reply.
    client.call(raw::delete("/a/b")).unwrap();
    client.call(raw::set("/a", "two")).unwrap();
}

#[test]
fn reads_see_the_own_writes_in_front_of_them_and_what_the_client_may_not_read_is_refused() {
    let server = Server::start();
    let (mut client, _) = Raw::connect(server.address);
    let write_only = vec![Acl { perms: perms::WRITE, ..Acl::open() }];
    let hidden =
        Request::Create { path: "/h".into(), data: None, acl: write_only, flags: 0, with_stat: false };
    let ops = vec![raw::get("/h"), raw::children("/h"), raw::get("/a")];
    client.send_all(&[(1, hidden), (2, raw::create("/a", "", 0)), (3, Request::MultiRead { ops })]);
    client.reply(OpCode::Create);
    client.reply(OpCode::Create);
    let (header, response) = client.reply(OpCode::MultiRead);
    assert_eq!((header.xid, header.err), (3, None));
    let results = results(Ok(response));
    assert_eq!(results[..2], [MultiResult::Error(ErrorCode::NoAuth), MultiResult::Error(ErrorCode::NoAuth)]);
    assert!(matches!(results[2], MultiResult::Data { .. }));
}

#[test]
fn a_small_request_cannot_ask_for_more_than_there_is_room_for() {
    let server = Server::start();
    let (mut client, _) = Raw::connect(server.address);
    client.call(raw::create("/large", &"x".repeat(1_000_000), 0)).unwrap();
    let ops = |count| Request::MultiRead { ops: vec![raw::get("/large"); count] };
    assert_eq!(results(client.call(ops(10))).len(), 10);
    assert_eq!(client.call(ops(10_000)), Err(ErrorCode::MarshallingError));
    assert_eq!(
        client.call(Request::MultiRead { ops: vec![raw::exists("/")] }),
        Err(ErrorCode::MarshallingError)
    );
}
