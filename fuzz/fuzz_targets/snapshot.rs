//! A snapshot file that a peer sends, at once and in two parts.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    zke_storage::hostile::snapshot(bytes);
    zke_storage::hostile::partial(bytes);
});
