//! A snapshot of the state.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| zke_tree::hostile::snapshot(bytes));
