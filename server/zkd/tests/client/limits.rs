//! Limits on connections: who is turned away.

use std::time::{Duration, Instant};

use bytes::BytesMut;

use crate::raw::{self, Raw};
use crate::server::Server;

#[test]
fn connections_are_limited_by_address_and_in_all() {
    let server = Server::start_with(&[("maxClientCnxns", "2"), ("maxCnxns", "100")]);
    let (_one, _) = Raw::connect(server.address);
    let (two, _) = Raw::connect(server.address);
    assert!(Raw::dial(server.address).hung_up());
    drop(two);
    let (_again, _) = connect_soon(&server);
    drop(server);

    let server = Server::start_with(&[("maxClientCnxns", "0"), ("maxCnxns", "1")]);
    let (_one, _) = Raw::connect(server.address);
    assert!(Raw::dial(server.address).hung_up());
}

/// The place of a connection that just closed is free a moment later.
fn connect_soon(server: &Server) -> (Raw, zke_wire::ConnectResponse) {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(5) {
        let mut raw = Raw::dial(server.address);
        let mut out = BytesMut::new();
        raw::new_session().encode(&mut out);
        if raw.try_write(&out)
            && let Some(frame) = raw.try_frame()
        {
            return (raw, zke_wire::ConnectResponse::decode(frame).unwrap());
        }
    }
    panic!("no place became free");
}
