//! `fuzz/run configuration`
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| sidebeat::config::fuzz::configuration(input));
