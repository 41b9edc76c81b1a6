//! `fuzz/run scanner`
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| sidebeat::proto::framing::fuzz::scanner(input));
