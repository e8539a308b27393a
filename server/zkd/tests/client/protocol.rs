//! Frames, handshake and what is refused.

use zke_wire::{ErrorCode, Id, OpCode, Request, Response, Zxid, perms};

use crate::raw::{self, Raw};
use crate::server::Server;

/// A connect request as Java and the C client send it, and as the Go client does.
const CONNECT_45: &str = "0000002d00000000000000000000000000007530000000000000000000000010\
    0000000000000000000000000000000000";
const CONNECT_44: &str = "0000002c00000000000000000000000000007530000000000000000000000010\
    00000000000000000000000000000000";

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

#[test]
fn the_answer_has_the_read_only_byte_exactly_if_the_request_had_it() {
    let server = Server::start();
    for (request, len) in [(CONNECT_45, 37), (CONNECT_44, 36)] {
        let mut raw = Raw::dial(server.address);
        raw.write(&bytes(request));
        let answer = raw.frame();
        assert_eq!(answer.len(), len);
        // Version 0, the timeout as asked for, a session, a password of 16 bytes.
        assert_eq!(answer[..8], bytes("0000000000007530"));
        assert_ne!(answer[8..16], [0; 8]);
        assert_eq!(answer[16..20], bytes("00000010"));
        assert_ne!(answer[20..36], [0; 16]);
    }
}

#[test]
fn a_request_may_come_in_pieces_and_several_may_come_in_one() {
    let server = Server::start();
    let mut raw = Raw::dial(server.address);
    let mut pieces = bytes(CONNECT_45);
    // A ping right behind the connect request.
    pieces.extend(bytes("00000008fffffffe0000000b"));
    for piece in pieces.chunks(7) {
        raw.write(piece);
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    assert_eq!(raw.frame().len(), 37);
    let (header, _) = raw.reply(OpCode::Ping);
    assert_eq!((header.xid, header.err), (-2, None));
}

#[test]
fn reconfig_is_refused_unless_it_is_enabled_and_the_connection_goes_on() {
    let server = Server::start();
    let (mut raw, _) = Raw::connect(server.address);
    let reconfig = Request::Reconfig { joining: None, leaving: None, new_members: None, config_id: -1 };
    raw.send(7, &reconfig);
    let (header, _) = raw.reply(OpCode::Ping);
    // A write that failed: it has a zxid.
    assert_eq!((header.xid, header.zxid.0 > 0, header.err), (7, true, Some(ErrorCode::ReconfigDisabled)));
    assert!(raw.call(raw::get("/")).is_ok());
}

#[test]
fn a_body_that_cannot_be_decoded_is_answered_and_the_connection_goes_on() {
    let server = Server::start();
    let (mut raw, _) = Raw::connect(server.address);
    // getData whose path is longer than the frame; getData of a null path.
    for request in ["0000000c000000010000000400000009", "0000000d0000000100000004ffffffff00"] {
        raw.write(&bytes(request));
        let (header, _) = raw.reply(OpCode::GetData);
        assert_eq!(header.err, Some(ErrorCode::MarshallingError));
    }
    assert!(raw.call(raw::get("/")).is_ok());
}

#[test]
fn frames_out_of_bounds_end_the_connection() {
    let server = Server::start_with(&[("jute.maxbuffer", "4096")]);
    for frame in ["00001001", "ffffffff", "7fffffff", "00000004 00000001"] {
        let (mut raw, _) = Raw::connect(server.address);
        raw.write(&bytes(&frame.replace(' ', "")));
        assert!(raw.hung_up(), "{frame}");
    }
    // The limit itself is within bounds.
    let (mut raw, _) = Raw::connect(server.address);
    let path_of_4083 = format!("/{}", "x".repeat(4_082));
    assert_eq!(raw.call(raw::get(&path_of_4083)), Err(ErrorCode::NoNode));
}

#[test]
fn what_is_no_connect_request_ends_the_connection() {
    let server = Server::start();
    for first in ["000000080000000000000000", "00000000", "16030100", "ffffffff"] {
        let mut raw = Raw::dial(server.address);
        raw.write(&bytes(first));
        assert!(raw.hung_up(), "{first}");
    }
}

#[test]
fn four_letter_words_are_answered_with_text() {
    let server = Server::start_with(&[("zookeeper.4lw.commands.whitelist", "ruok,srvr,isro,envi")]);
    let (mut session, _) = Raw::connect(server.address);
    assert!(session.call(raw::exists("/")).is_ok());
    let ask = |word: &str| {
        let mut raw = Raw::dial(server.address);
        raw.write(word.as_bytes());
        raw.rest()
    };
    assert_eq!(ask("ruok"), "imok");
    assert_eq!(ask("ruok\n"), "imok");
    assert_eq!(ask("isro"), "rw");
    assert!(ask("envi").starts_with("Environment:\nzookeeper.version=3.9."));
    assert_eq!(ask("mntr"), "mntr is not executed because it is not in the whitelist.\n");
    let srvr = ask("srvr");
    let line = |key: &str| srvr.lines().find_map(|line| line.strip_prefix(key)).map(str::to_owned);
    assert!(srvr.starts_with("Zookeeper version: "), "{srvr}");
    assert_eq!(line("Mode: ").as_deref(), Some("standalone"), "{srvr}");
    assert_eq!(line("Received: ").as_deref(), Some("2"), "{srvr}");
    assert_eq!(line("Sent: ").as_deref(), Some("2"), "{srvr}");
    assert_eq!(line("Connections: ").as_deref(), Some("1"), "{srvr}");
    assert_eq!(line("Node count: ").as_deref(), Some("5"), "{srvr}");
}

#[test]
fn one_address_has_only_so_many_connections() {
    let server = Server::start_with(&[("zookeeper.maxClientCnxns", "2")]);
    let held: Vec<_> = (0..2).map(|_| Raw::connect(server.address)).collect();
    assert!(Raw::dial(server.address).hung_up());
    drop(held);
    // The server notices a little later that they are gone.
    let again = (0..100).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(20));
        let mut raw = Raw::dial(server.address);
        raw.write(b"srvr");
        !raw.rest().is_empty()
    });
    assert!(again);
}

#[test]
fn digest_authentication_adds_an_identity_and_wrong_schemes_end_the_connection() {
    let super_digest =
        ("zookeeper.DigestAuthenticationProvider.superDigest", "super:lK75jTNcA+U9vtVEw5vB51mj/w4=");
    let server = Server::start_with(&[super_digest]);
    let auth = |scheme: &str, auth: &'static str| Request::Auth {
        scheme: scheme.to_owned(),
        auth: bytes::Bytes::from_static(auth.as_bytes()),
    };
    let (mut owner, _) = Raw::connect(server.address);
    owner.send(-4, &auth("digest", "user:pass"));
    let (header, response) = owner.reply(OpCode::Auth);
    assert_eq!((header.xid, header.zxid, header.err, response), (-4, Zxid(0), None, Response::Empty));
    let private = Request::Create {
        path: "/private".to_owned(),
        data: None,
        acl: vec![zke_wire::Acl { perms: perms::ALL, id: Id::new("auth", "") }],
        flags: 0,
        with_stat: false,
    };
    assert_eq!(owner.call(private), raw::created("/private"));
    assert!(owner.call(raw::get("/private")).is_ok());

    let (mut other, _) = Raw::connect(server.address);
    assert_eq!(other.call(raw::get("/private")), Err(ErrorCode::NoAuth));
    assert_eq!(other.call(raw::set("/private", "x")), Err(ErrorCode::NoAuth));
    other.send(2, &auth("digest", "super:secret"));
    assert_eq!(other.reply(OpCode::Auth).0.xid, 2);
    assert!(other.call(raw::set("/private", "x")).is_ok());
    let Ok(Response::WhoAmI { clients }) = other.call(Request::WhoAmI) else { panic!("no answer to whoAmI") };
    let shown: Vec<_> = clients.iter().map(|info| (info.auth_scheme.as_str(), info.user.as_str())).collect();
    assert_eq!(shown, [("ip", "127.0.0.1"), ("digest", "super"), ("super", "")]);

    other.send(-4, &auth("nosuch", "x"));
    assert_eq!(other.reply(OpCode::Auth).0.err, Some(ErrorCode::AuthFailed));
    assert!(other.hung_up());
}
