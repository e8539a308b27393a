//! Sessions: begun, taken up again, lost, closed.

use std::thread::sleep;
use std::time::{Duration, Instant};

use bytes::Bytes;
use zke_tree::Command;
use zke_wire::{ConnectRequest, ErrorCode, OpCode, Request, SessionId, Zxid};

use crate::raw::{self, Raw, new_session, same_session};
use crate::server::Server;

#[test]
fn the_timeout_is_kept_within_bounds() {
    let server = Server::start();
    let bounds = server.clients.config.session_timeout;
    for (asked, granted) in
        [(1, bounds.min_ms), (-5, bounds.min_ms), (10_000, 10_000), (i32::MAX, bounds.max_ms)]
    {
        let mut raw = Raw::dial(server.address);
        let response = raw.ask_session(&ConnectRequest { timeout_ms: asked, ..new_session() });
        assert_eq!(response.timeout_ms, granted, "{asked}");
    }
}

#[test]
fn a_session_is_taken_up_again_with_its_ephemerals() {
    let server = Server::start();
    let (mut first, granted) = Raw::connect(server.address);
    assert_eq!(first.call(raw::create("/mine", "", 1)), raw::created("/mine"));
    let mut second = Raw::dial(server.address);
    let again = second.ask_session(&ConnectRequest { timeout_ms: 12_000, ..same_session(&granted) });
    assert_eq!((again.session_id, again.password), (granted.session_id, granted.password));
    assert_eq!(again.timeout_ms, 12_000);
    assert!(first.hung_up(), "one session has one connection");
    let stat = raw::stat_of(second.call(raw::exists("/mine")));
    assert_eq!(stat.ephemeral_owner, granted.session_id.0);
    // After a hang-up as well.
    drop(second);
    let mut third = Raw::dial(server.address);
    assert_eq!(third.ask_session(&same_session(&granted)).session_id, granted.session_id);
    assert!(third.call(raw::exists("/mine")).is_ok());
}

#[test]
fn a_session_that_is_gone_and_a_wrong_password_are_answered_with_zeros() {
    let server = Server::start();
    let (mut innocent, granted) = Raw::connect(server.address);
    let wrong = ConnectRequest { password: Bytes::from_static(&[7; 16]), ..same_session(&granted) };
    let short = ConnectRequest { password: Bytes::from_static(&[7; 3]), ..same_session(&granted) };
    let unknown = ConnectRequest { session_id: SessionId(0x1234), ..same_session(&granted) };
    let old_client = ConnectRequest { read_only: None, ..unknown.clone() };
    for request in [wrong, short, unknown, old_client] {
        let mut raw = Raw::dial(server.address);
        let answer = raw.ask_session(&request);
        assert_eq!((answer.timeout_ms, answer.session_id, answer.password), (0, SessionId::NONE, [0; 16]));
        assert_eq!(answer.read_only.is_some(), request.read_only.is_some());
        assert!(raw.hung_up());
    }
    // As in ZooKeeper, whoever knows the id can cut the connection; the session itself is unharmed.
    assert!(innocent.hung_up());
    let mut again = Raw::dial(server.address);
    assert_eq!(again.ask_session(&same_session(&granted)).session_id, granted.session_id);
}

#[test]
fn what_an_eager_client_sends_behind_its_connect_request_does_not_destroy_the_answer() {
    let server = Server::start();
    for _ in 0..20 {
        let mut raw = Raw::dial(server.address);
        let mut out = bytes::BytesMut::new();
        ConnectRequest { session_id: SessionId(99), ..new_session() }.encode(&mut out);
        for xid in 1..50 {
            raw::get("/").encode(xid, &mut out);
        }
        raw.write(&out);
        assert_eq!(raw.frame()[4..8], [0; 4], "expired");
        assert!(raw.hung_up());
    }
}

#[test]
fn a_client_that_has_seen_the_future_is_turned_away_without_a_word() {
    let server = Server::start();
    let mut raw = Raw::dial(server.address);
    let mut out = bytes::BytesMut::new();
    ConnectRequest { last_zxid_seen: Zxid(i64::MAX), ..new_session() }.encode(&mut out);
    let asked = Instant::now();
    raw.write(&out);
    assert!(raw.hung_up());
    let waited = asked.elapsed();
    assert!(waited > Duration::from_millis(900) && waited < Duration::from_secs(5), "{waited:?}");
}

#[test]
fn a_client_that_is_a_little_ahead_is_waited_for() {
    let server = Server::start();
    let (mut writer, _) = Raw::connect(server.address);
    let now = raw::stat_of(writer.call(raw::exists("/"))).pzxid;
    writer.call(raw::create("/a", "", 0)).unwrap();
    let ahead = Zxid(raw::stat_of(writer.call(raw::exists("/a"))).czxid.0 + 3);
    assert!(ahead > now);
    let mut raw = Raw::dial(server.address);
    let mut out = bytes::BytesMut::new();
    ConnectRequest { last_zxid_seen: ahead, ..new_session() }.encode(&mut out);
    raw.write(&out);
    sleep(Duration::from_millis(100));
    for _ in 0..3 {
        writer.call(raw::set("/a", "")).unwrap();
    }
    assert_ne!(raw.frame()[8..16], [0; 8], "a session");
}

#[test]
fn closing_a_session_removes_its_ephemerals_and_ends_the_connection() {
    let server = Server::start();
    let (mut client, granted) = Raw::connect(server.address);
    let (mut other, _) = Raw::connect(server.address);
    client.call(raw::create("/here", "", 1)).unwrap();
    other.call(raw::watching(raw::exists("/here"))).unwrap();
    // A read behind a close has no answer; one in front of it has.
    client.send_all(&[(1, raw::exists("/here")), (2, Request::Close), (3, raw::exists("/here"))]);
    assert_eq!(client.reply(OpCode::Exists).0.xid, 1);
    let (header, _) = client.reply(OpCode::CloseSession);
    assert_eq!((header.xid, header.err), (2, None));
    assert!(client.hung_up());
    let (zxid, event) = other.event();
    assert_eq!((zxid, &*event.path), (header.zxid, "/here"));
    assert_eq!(other.call(raw::exists("/here")), Err(ErrorCode::NoNode));
    let mut again = Raw::dial(server.address);
    assert_eq!(again.ask_session(&same_session(&granted)).session_id, SessionId::NONE);
}

#[test]
fn the_session_of_a_silent_client_expires_and_pings_keep_it() {
    let server = Server::start_with(&[("zookeeper.minSessionTimeout", "600")]);
    let short = ConnectRequest { timeout_ms: 600, ..new_session() };
    let mut silent = Raw::dial(server.address);
    silent.ask_session(&short);
    silent.call(raw::create("/silent", "", 1)).unwrap();
    let mut alive = Raw::dial(server.address);
    alive.ask_session(&short);
    alive.call(raw::create("/alive", "", 1)).unwrap();
    let mut gone = false;
    for _ in 0..50 {
        sleep(Duration::from_millis(100));
        alive.send(-2, &Request::Ping);
        assert_eq!(alive.reply(OpCode::Ping).0.xid, -2);
        gone |= alive.call(raw::exists("/silent")).is_err();
        if gone {
            break;
        }
    }
    assert!(gone);
    assert!(silent.hung_up());
    assert!(alive.call(raw::exists("/alive")).is_ok());
}

#[test]
fn a_stop_answers_what_was_read_and_then_hangs_up() {
    let mut server = Server::start();
    let (mut client, granted) = Raw::connect(server.address);
    client.send_all(&[(1, raw::create("/last", "", 0)), (2, raw::get("/last"))]);
    client.send(3, &raw::get("/last"));
    sleep(Duration::from_millis(50));
    server.stop();
    assert_eq!(client.reply(OpCode::Create).0.xid, 1);
    assert_eq!(client.reply(OpCode::GetData).0.err, None);
    assert_eq!(client.reply(OpCode::GetData).0.xid, 3);
    assert!(client.hung_up());
    assert!(std::net::TcpStream::connect(server.address).is_err());
    assert!(server.clients.ensemble.state().read().session(granted.session_id).is_some());
}

#[test]
fn a_member_that_stops_serving_cuts_its_clients_and_lets_nobody_in() {
    let server = Server::start();
    let (mut client, granted) = Raw::connect(server.address);
    server.clients.hub.serve(false);
    assert!(client.hung_up());
    let mut refused = Raw::dial(server.address);
    let mut out = bytes::BytesMut::new();
    same_session(&granted).encode(&mut out);
    refused.write(&out);
    assert!(refused.hung_up());
    let mut probe = Raw::dial(server.address);
    probe.write(b"srvr");
    assert_eq!(probe.rest(), "This ZooKeeper instance is not currently serving requests\n");
    server.clients.hub.serve(true);
    let mut again = Raw::dial(server.address);
    assert_eq!(again.ask_session(&same_session(&granted)).session_id, granted.session_id);
}

#[test]
fn a_session_taken_up_through_another_member_ends_its_connection_here() {
    let server = Server::start();
    let (mut client, granted) = Raw::connect(server.address);
    client.call(raw::create("/kept", "", 1)).unwrap();
    // What the log brings when the client has gone elsewhere.
    let elsewhere = Command::AttachSession {
        session: granted.session_id,
        password: granted.password,
        timeout_ms: granted.timeout_ms,
    };
    server.clients.ensemble.propose(elsewhere).unwrap();
    assert!(client.hung_up());
    let (mut other, _) = Raw::connect(server.address);
    assert!(other.call(raw::exists("/kept")).is_ok());
}

#[test]
fn a_write_of_a_session_that_was_closed_elsewhere_has_no_answer() {
    let server = Server::start();
    let (mut client, granted) = Raw::connect(server.address);
    let (mut other, _) = Raw::connect(server.address);
    let close = Command::CloseSession { session: granted.session_id, attach_epoch: 0 };
    server.clients.ensemble.propose(close).unwrap();
    client.send(1, &raw::create("/late", "", 0));
    assert!(client.hung_up());
    assert_eq!(other.call(raw::exists("/late")), Err(ErrorCode::NoNode));
}
