//! A snapshot file that a peer sends.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| zke_storage::hostile::snapshot(bytes));
