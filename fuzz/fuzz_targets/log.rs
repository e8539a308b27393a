//! Records of the log behind right checksums.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| zke_storage::hostile::records(bytes));
