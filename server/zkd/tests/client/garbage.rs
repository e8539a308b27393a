//! What no client sends: the server answers or hangs up, and goes on.

use bytes::{BufMut, BytesMut};
use rand::rngs::StdRng;
use rand::{Rng, RngCore, SeedableRng};
use zke_wire::{OpCode, Request};

use crate::raw::{self, Raw, new_session};
use crate::server::Server;

/// A frame with a header that may be right and a body that hardly is.
fn frame(random: &mut StdRng, xid: i32) -> BytesMut {
    let ops = OpCode::ALL;
    let op = match random.random_range(0..4) {
        0 => random.random_range(-20..120),
        _ => ops[random.random_range(0..ops.len())].number(),
    };
    let mut body = vec![0; random.random_range(0..64)];
    random.fill_bytes(&mut body);
    // Lengths that fit let decoding go further than those that never do.
    if body.len() > 8 && random.random() {
        body[..4].copy_from_slice(&random.random_range(0..8_u32).to_be_bytes());
    }
    let mut frame = BytesMut::new();
    frame.put_u32(8 + body.len() as u32);
    frame.put_i32(xid);
    frame.put_i32(op);
    frame.put_slice(&body);
    frame
}

#[test]
fn random_requests_are_answered_in_order_or_end_the_connection() {
    let server = Server::start_with(&[("zookeeper.maxClientCnxns", "0")]);
    for seed in 0..150 {
        let mut random = StdRng::seed_from_u64(seed);
        let (mut raw, _) = Raw::connect(server.address);
        let mut out = BytesMut::new();
        for xid in 1..=20 {
            out.extend_from_slice(&frame(&mut random, xid));
        }
        // A close, so that the connection ends in any case.
        Request::Close.encode(21, &mut out);
        raw.write(&out);
        let mut last = 0;
        for xid in raw.xids_to_the_end() {
            // -1 is an event, and -2 answers a ping, whatever its xid was.
            assert!(xid == -1 || xid == -2 || xid > last, "seed {seed}: {xid} after {last}");
            last = last.max(xid);
        }
    }
    let (mut raw, _) = Raw::connect(server.address);
    assert!(raw.call(raw::exists("/")).is_ok());
}

#[test]
fn random_first_bytes_end_the_connection() {
    let server = Server::start_with(&[("zookeeper.maxClientCnxns", "0")]);
    for seed in 0..100 {
        let mut random = StdRng::seed_from_u64(seed);
        let mut raw = Raw::dial(server.address);
        let mut bytes = vec![0; random.random_range(4..80)];
        random.fill_bytes(&mut bytes);
        // Too long for a frame, or negative: nothing to wait for.
        bytes[0] |= 0x40;
        raw.write(&bytes);
        assert!(raw.hung_up(), "seed {seed}");
    }
    assert_ne!(Raw::dial(server.address).ask_session(&new_session()).timeout_ms, 0);
}
