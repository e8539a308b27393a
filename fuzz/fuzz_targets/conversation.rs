//! What a client with a session sends, against a tree.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| zkd::hostile::conversation(bytes));
