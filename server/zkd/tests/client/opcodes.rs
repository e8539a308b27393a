//! Every opcode from a client that nobody has given any right, on a server with nothing in it.

use bytes::{BufMut, BytesMut};
use zke_wire::{ErrorCode, OpCode};

use crate::raw::{self, Raw};
use crate::server::Server;

#[derive(Debug, PartialEq, Eq)]
enum Then {
    GoesOn,
    HangsUp,
}

/// As ZooKeeper 3.9.5 was seen to answer, with two exceptions: it lets any client make a session of its own choosing
/// (createSession, -10) and delete any empty node (deleteContainer, 20; CVE-2026-79993). Both are foreign here.
fn expected(op: i32) -> (Option<ErrorCode>, Then) {
    match OpCode::from_i32(op) {
        // A check is part of a multi only.
        None | Some(OpCode::Check) => (Some(ErrorCode::Unimplemented), Then::HangsUp),
        Some(OpCode::CloseSession) => (None, Then::HangsUp),
        Some(OpCode::Ping | OpCode::WhoAmI) => (None, Then::GoesOn),
        // The rest cannot be read, as its record is not there.
        Some(_) => (Some(ErrorCode::MarshallingError), Then::GoesOn),
    }
}

fn send(raw: &mut Raw, xid: i32, op: i32, body: &[u8]) {
    let mut frame = BytesMut::new();
    frame.put_i32(8 + body.len() as i32);
    frame.put_i32(xid);
    frame.put_i32(op);
    frame.put_slice(body);
    raw.write(&frame);
}

/// Error and zxid of the reply.
fn answer(raw: &mut Raw) -> (Option<ErrorCode>, i64) {
    let frame = raw.frame();
    let number = |at: usize| i32::from_be_bytes(frame[at..at + 4].try_into().unwrap());
    let zxid = i64::from_be_bytes(frame[4..12].try_into().unwrap());
    (ErrorCode::from_code(number(12)), zxid)
}

fn goes_on(raw: &mut Raw) -> bool {
    send(raw, 8, OpCode::GetData.number(), b"\0\0\0\x01/\0");
    answer(raw).0.is_none()
}

#[test]
fn every_number_without_a_record_is_answered_as_by_zookeeper() {
    let server = Server::start_with(&[("zookeeper.maxClientCnxns", "0")]);
    for op in -20..=200 {
        let (mut raw, _) = Raw::connect(server.address);
        send(&mut raw, 7, op, &[]);
        // Whoever cannot even say who it is gets no answer.
        if matches!(OpCode::from_i32(op), Some(OpCode::Auth | OpCode::Sasl)) {
            assert!(raw.hung_up(), "{op}");
            continue;
        }
        let (error, zxid) = answer(&mut raw);
        let (expected, then) = expected(op);
        assert_eq!(error, expected, "{op}");
        assert_eq!(zxid == -1, error == Some(ErrorCode::Unimplemented), "{op}: {zxid}");
        match then {
            Then::GoesOn => assert!(goes_on(&mut raw), "{op}"),
            Then::HangsUp => assert!(raw.hung_up(), "{op}"),
        }
    }
}

#[test]
fn no_number_deletes_a_node_that_its_client_has_no_right_to() {
    let server = Server::start_with(&[("zookeeper.maxClientCnxns", "0")]);
    let (mut owner, _) = Raw::connect(server.address);
    owner.call(raw::auth("digest", "owner:secret")).unwrap();
    let acl = vec![zke_wire::Acl { perms: 31, id: zke_wire::Id::new("auth", "") }];
    let private = |path: &str| zke_wire::Request::Create {
        path: path.to_owned(),
        data: None,
        acl: acl.clone(),
        flags: 0,
        with_stat: false,
    };
    owner.call(private("/d")).unwrap();
    owner.call(private("/d/n")).unwrap();
    for op in -20..=200 {
        if OpCode::from_i32(op) == Some(OpCode::CloseSession) {
            continue;
        }
        let (mut stranger, _) = Raw::connect(server.address);
        // A path, and a number that is a version, a mode, a kind or the begin of a list.
        send(&mut stranger, 7, op, b"\0\0\0\x04/d/n\xff\xff\xff\xff");
        // The end of the session comes behind whatever that was.
        send(&mut stranger, 8, OpCode::CloseSession.number(), &[]);
        stranger.xids_to_the_end();
    }
    assert_eq!(raw::data_less_stat(owner.call(raw::get("/d/n"))).version, 0);
}
