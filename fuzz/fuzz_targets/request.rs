//! `fuzz/run request`
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| sidebeat::proto::request::fuzz::request(input));
