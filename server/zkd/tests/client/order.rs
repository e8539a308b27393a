//! The order of one session, and what it sees of its own writes.

use std::thread;

use zke_wire::{ErrorCode, OpCode, Request, Response};

use crate::raw::{self, Raw};
use crate::server::Server;

#[test]
fn pipelined_reads_see_the_writes_in_front_of_them_and_none_behind() {
    let server = Server::start();
    let (mut client, _) = Raw::connect(server.address);
    client.call(raw::create("/v", "start", 0)).unwrap();
    let rounds = 200;
    let requests: Vec<_> = (0..rounds)
        .flat_map(|n| [raw::set("/v", &n.to_string()), raw::get("/v"), raw::exists("/v")])
        .zip(10..)
        .map(|(request, xid)| (xid, request))
        .collect();
    client.send_all(&requests);
    let mut xids = 10..;
    let mut last_zxid = zke_wire::Zxid(0);
    for n in 0..rounds {
        let (header, response) = client.reply(OpCode::SetData);
        assert_eq!((Some(header.xid), header.err), (xids.next(), None));
        assert!(header.zxid > last_zxid);
        last_zxid = header.zxid;
        let Response::Stat(written) = response else { panic!("{response:?}") };
        let (header, response) = client.reply(OpCode::GetData);
        assert_eq!((Some(header.xid), header.zxid), (xids.next(), last_zxid));
        let (data, read) = raw::data_of(Ok(response));
        assert_eq!((data, read), (n.to_string(), written));
        let (header, response) = client.reply(OpCode::Exists);
        assert_eq!((Some(header.xid), response), (xids.next(), Response::Stat(written)));
    }
}

#[test]
fn errors_pings_and_refusals_keep_their_place() {
    let server = Server::start();
    let (mut client, _) = Raw::connect(server.address);
    client.send_all(&[
        (1, raw::create("/a", "", 0)),
        (-2, Request::Ping),
        (2, raw::create("/a", "", 0)),
        (3, Request::Reconfig { joining: None, leaving: None, new_members: None, config_id: -1 }),
        (4, raw::get("/none")),
        (5, raw::delete("/a")),
        (6, raw::exists("/a")),
        (7, raw::check("/", -1)),
        (8, raw::exists("/")),
    ]);
    let expected = [
        (1, None),
        (-2, None),
        (2, Some(ErrorCode::NodeExists)),
        (3, Some(ErrorCode::ReconfigDisabled)),
        (4, Some(ErrorCode::NoNode)),
        (5, None),
        (6, Some(ErrorCode::NoNode)),
        (7, Some(ErrorCode::Unimplemented)),
    ];
    for (xid, err) in expected {
        // Only headers matter here; ping's answer has nothing else.
        let (header, _) = match xid {
            1 => client.reply(OpCode::Create),
            _ => client.reply(OpCode::Ping),
        };
        assert_eq!((header.xid, header.err), (xid, err));
    }
    // A check on its own ends the connection.
    assert!(client.hung_up());
}

#[test]
fn a_failed_write_has_a_zxid_of_its_own() {
    let server = Server::start();
    let (mut client, _) = Raw::connect(server.address);
    client.send_all(&[(1, raw::create("/a", "", 0)), (2, raw::create("/a", "", 0)), (3, raw::get("/a"))]);
    let first = client.reply(OpCode::Create).0.zxid;
    let failed = client.reply(OpCode::Create).0.zxid;
    let read = client.reply(OpCode::GetData).0.zxid;
    assert_eq!((failed.0, read), (first.0 + 1, failed));
}

#[test]
fn a_sync_keeps_its_place_and_holds_up_what_is_behind_it() {
    let server = Server::start();
    let (mut client, _) = Raw::connect(server.address);
    let sync = || Request::Sync { path: "/s".to_owned() };
    client.send_all(&[
        (1, raw::create("/s", "a", 0)),
        (2, sync()),
        (3, sync()),
        (4, raw::get("/s")),
        (5, raw::set("/s", "b")),
        (6, raw::get("/s")),
        (7, sync()),
    ]);
    assert_eq!(client.reply(OpCode::Create).0.xid, 1);
    for xid in [2, 3] {
        let (header, response) = client.reply(OpCode::Sync);
        assert_eq!((header.xid, response), (xid, Response::Sync { path: "/s".to_owned() }));
    }
    assert_eq!(raw::data_of(Ok(client.reply(OpCode::GetData).1)).0, "a");
    assert_eq!(client.reply(OpCode::SetData).0.xid, 5);
    assert_eq!(raw::data_of(Ok(client.reply(OpCode::GetData).1)).0, "b");
    assert_eq!(client.reply(OpCode::Sync).0.xid, 7);
}

#[test]
fn sync_makes_what_others_were_told_visible() {
    let server = Server::start();
    let (mut writer, _) = Raw::connect(server.address);
    let (mut reader, _) = Raw::connect(server.address);
    writer.call(raw::create("/w", "", 0)).unwrap();
    for n in 0..50 {
        writer.call(raw::set("/w", &n.to_string())).unwrap();
        reader.call(Request::Sync { path: "/w".to_owned() }).unwrap();
        assert_eq!(raw::data_of(reader.call(raw::get("/w"))).0, n.to_string());
    }
}

#[test]
fn more_than_a_connection_may_have_outstanding_is_answered_all_the_same() {
    let server = Server::start();
    let (mut client, _) = Raw::connect(server.address);
    client.call(raw::create("/n", "", 0)).unwrap();
    let requests: Vec<_> = (1..=5_000).map(|xid| (xid, raw::set("/n", ""))).collect();
    client.send_all(&requests);
    for (xid, _) in requests {
        assert_eq!(client.reply(OpCode::SetData).0.xid, xid);
    }
    assert_eq!(raw::stat_of(client.call(raw::exists("/n"))).version, 5_000);
    assert_eq!(server.clients.stats.outstanding.get(), 0);
}

#[test]
fn a_client_that_reads_late_gets_every_answer() {
    let server = Server::start();
    let (mut client, _) = Raw::connect(server.address);
    client.call(raw::create("/big", &"x".repeat(100_000), 0)).unwrap();
    // 40 MB of answers, far more than sockets and the outbox's pause hold together.
    let requests: Vec<_> = (1..=400).map(|xid| (xid, raw::get("/big"))).collect();
    client.send_all(&requests);
    thread::sleep(std::time::Duration::from_millis(300));
    for (xid, _) in requests {
        assert_eq!(client.reply(OpCode::GetData).0.xid, xid);
    }
}

#[test]
fn many_sessions_at_once_count_up_without_a_gap() {
    let server = Server::start();
    let (mut client, _) = Raw::connect(server.address);
    client.call(raw::create("/c", "", 0)).unwrap();
    let address = server.address;
    let counting = (0..8).map(|_| {
        thread::spawn(move || {
            let (mut client, _) = Raw::connect(address);
            let names = (0..100).map(|_| match client.call(raw::create("/c/n-", "", 2)) {
                Ok(Response::Create { path }) => path,
                other => panic!("{other:?}"),
            });
            names.collect::<Vec<_>>()
        })
    });
    let mut names: Vec<_> =
        counting.collect::<Vec<_>>().into_iter().flat_map(|thread| thread.join().unwrap()).collect();
    names.sort();
    let expected: Vec<_> = (0..800).map(|n| format!("/c/n-{n:010}")).collect();
    assert_eq!(names, expected);
}

#[test]
fn a_client_that_takes_no_answers_is_cut_before_they_fill_the_memory() {
    let server = Server::start();
    let (mut client, _) = Raw::connect(server.address);
    client.call(raw::create("/big", &"x".repeat(1_000_000), 0)).unwrap();
    // Behind a write they are all evaluated as soon as it is applied.
    let mut requests = vec![(0, raw::set("/big", &"y".repeat(1_000_000)))];
    requests.extend((1..200).map(|xid| (xid, raw::get("/big"))));
    client.send_all(&requests);
    let cut = (0..500).any(|_| {
        thread::sleep(std::time::Duration::from_millis(10));
        server.clients.hub.connection_count() == 0
    });
    assert!(cut);
    assert_eq!(
        (server.clients.stats.outstanding.get(), server.clients.stats.connections_dropped.get()),
        (0, 1)
    );
}
