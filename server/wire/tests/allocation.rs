//! A peer that claims much and sends little makes us allocate little. One test alone in its program, since
//! it counts every allocation there is.

use std::alloc::System;

use bytes::Bytes;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use zke_wire::*;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Honest messages of nothing but the smallest operations take about 8 bytes of memory for each of theirs.
const WORST_FACTOR: usize = 16;

#[test]
fn decoding_allocates_in_proportion_to_what_was_sent() {
    let end = i32::MAX.to_be_bytes();
    let claims = [[0; 4], end, [0, 0, 0, 1], [0, 0, 0, 40], [0, 0, 1, 0]];
    // Every sequence of five words out of these, and 400 more bytes that make some counts believable.
    for mut choice in 0..claims.len().pow(5) {
        let mut message = Vec::with_capacity(1024);
        for _ in 0..5 {
            message.extend_from_slice(&claims[choice % claims.len()]);
            choice /= claims.len();
        }
        message.extend_from_slice(&[0; 400]);
        assert_frugal(&Bytes::from(message));
    }
    // The worst that is honest: many of the smallest operations.
    let ops = vec![Request::Delete { path: String::new(), version: 0 }; 1000];
    let mut frame = Default::default();
    Request::Multi { ops }.encode(0, &mut frame);
    assert_frugal(&frame.freeze().slice(12..));
}

fn assert_frugal(message: &Bytes) {
    for &op in OpCode::ALL {
        let region = Region::new(ALLOCATOR);
        let _ = Request::decode(op, message.clone());
        let _ = Response::decode(op, message.clone());
        let allocated = region.change().bytes_allocated;
        assert!(allocated <= WORST_FACTOR * message.len(), "{op:?}: {allocated} for {}", message.len());
    }
}
