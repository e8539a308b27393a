//! A member that is cut off, with read-only mode on.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use zke_wire::{ConnectRequest, ErrorCode, OpCode, Request, SessionId, Zxid};

use crate::members::Members;
use crate::raw::{self, Raw, new_session, same_session};

fn asking_for_reads() -> ConnectRequest {
    ConnectRequest { read_only: Some(true), ..new_session() }
}

fn say(members: &Members, member: usize, word: &[u8]) -> String {
    let mut raw = Raw::dial(members.client(member));
    raw.write(word);
    raw.rest()
}

fn wait_for(members: &Members, member: usize, state: &str) {
    let begun = Instant::now();
    // One that was just started does not listen yet.
    let listens = || TcpStream::connect(members.client(member)).is_ok();
    while !listens() || say(members, member, b"isro") != state {
        assert!(begun.elapsed() < Duration::from_secs(20), "member {member} does not become {state}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_member_without_a_quorum_serves_reads_to_those_who_ask_for_it() {
    let mut members = Members::start_configured("readonlymode.enabled=true\n");
    let (mut client, granted) = Raw::connect(members.client(0));
    client.call(raw::create("/kept", "x", 0)).unwrap();
    client.call(Request::Sync { path: "/".to_owned() }).unwrap();
    assert_eq!(say(&members, 0, b"isro"), "rw");
    // With a quorum, whoever is content with reads may write.
    let mut content = Raw::dial(members.client(0));
    assert_eq!(content.ask_session(&asking_for_reads()).read_only, Some(false));
    content.call(raw::set("/kept", "y")).unwrap();

    members.kill(1);
    members.kill(2);
    assert!(client.hung_up() && content.hung_up());
    wait_for(&members, 0, "ro");
    let srvr = say(&members, 0, b"srvr");
    assert!(srvr.contains("\nREAD-ONLY mode; serving only read-only clients\n"), "{srvr}");
    assert!(srvr.contains("\nMode: read-only\n"), "{srvr}");
    assert!(say(&members, 0, b"mntr").contains("zk_server_state\tread-only\n"));

    // A client that wants to write is turned away without a word, as is one that knows a later state.
    let mut writer = Raw::dial(members.client(0));
    let mut out = bytes::BytesMut::new();
    new_session().encode(&mut out);
    writer.write(&out);
    assert!(writer.hung_up());
    let mut ahead = Raw::dial(members.client(0));
    out.clear();
    ConnectRequest { last_zxid_seen: Zxid(i64::MAX), ..asking_for_reads() }.encode(&mut out);
    ahead.write(&out);
    assert!(ahead.hung_up());
    // A session that this member does not know may be alive elsewhere.
    let mut stranger = Raw::dial(members.client(0));
    out.clear();
    ConnectRequest { session_id: SessionId(12345), ..asking_for_reads() }.encode(&mut out);
    stranger.write(&out);
    assert!(stranger.hung_up());

    let mut reader = Raw::dial(members.client(0));
    let local = reader.ask_session(&asking_for_reads());
    assert_eq!(local.read_only, Some(true));
    assert_eq!(raw::data_of(reader.call(raw::watching(raw::get("/kept")))).0, "y");
    for refused in [
        raw::create("/new", "", 0),
        raw::delete("/kept"),
        raw::set("/kept", "z"),
        Request::Multi { ops: vec![raw::check("/kept", -1)] },
        Request::Sync { path: "/".to_owned() },
    ] {
        assert_eq!(reader.call(refused.clone()), Err(ErrorCode::NotReadOnly), "{refused:?}");
    }
    reader.send(zke_wire::xid::PING, &Request::Ping);
    assert_eq!(reader.reply(OpCode::Ping).0.err, None);
    let mut closing = Raw::dial(members.client(0));
    closing.ask_session(&asking_for_reads());
    closing.call(Request::Close).unwrap();
    assert!(closing.hung_up());
    // One of the ensemble's own sessions goes on reading under its own name.
    let mut known = Raw::dial(members.client(0));
    let asked = ConnectRequest { read_only: Some(true), ..same_session(&granted) };
    let again = known.ask_session(&asked);
    assert_eq!((again.session_id, again.read_only), (granted.session_id, Some(true)));

    // With the quorum back, those who were content with reads are cut, and may write when they come again.
    members.start_again(1);
    members.start_again(2);
    assert!(reader.hung_up() && known.hung_up());
    wait_for(&members, 0, "rw");
    let mut back = Raw::dial(members.client(0));
    let gone = back.ask_session(&ConnectRequest { read_only: Some(true), ..same_session(&local) });
    assert_eq!(gone.session_id, SessionId::NONE, "a session of reads alone ends with them");
    let mut back = members.take_up(0, &granted);
    back.call(raw::set("/kept", "z")).unwrap();
}

#[test]
fn without_read_only_mode_nobody_is_let_in() {
    let mut members = Members::start();
    members.kill(1);
    members.kill(2);
    let begun = Instant::now();
    while say(&members, 0, b"isro") == "rw" {
        assert!(begun.elapsed() < Duration::from_secs(20));
        std::thread::sleep(Duration::from_millis(50));
    }
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(say(&members, 0, b"isro"), "null");
    let mut reader = Raw::dial(members.client(0));
    let mut out = bytes::BytesMut::new();
    asking_for_reads().encode(&mut out);
    reader.write(&out);
    assert!(reader.hung_up());
}
