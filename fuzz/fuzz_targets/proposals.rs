//! Entries of the log, applied to a state.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| zke_tree::hostile::proposals(bytes));
