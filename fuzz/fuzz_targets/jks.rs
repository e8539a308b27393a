//! A key store of Java's.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| zkd::hostile::jks(bytes));
