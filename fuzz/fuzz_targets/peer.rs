//! Frames between members.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| zke_consensus::hostile::frames(bytes));
