//! `fuzz/run upgrade`
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| sidebeat::proto::upgrade::fuzz::upgrade(input));
