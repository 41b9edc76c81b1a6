//! `fuzz/run proxy`
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| sidebeat::net::proxy_protocol::fuzz::proxy(input));
