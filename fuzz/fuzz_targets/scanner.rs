//! `cargo +nightly fuzz run scanner fuzz/corpus/scanner tests/corpus/scanner`
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| sidebeat::proto::framing::fuzz::scanner(input));
