//! A JAAS file.

#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| zkd::hostile::jaas(text));
