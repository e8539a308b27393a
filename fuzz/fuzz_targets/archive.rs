//! A backup.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| zke_storage::hostile::archive(bytes));
