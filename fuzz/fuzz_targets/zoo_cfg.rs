//! A zoo.cfg.

#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| zkd::hostile::zoo_cfg(text));
