//! The integration tests: one binary, one file for each promise.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod clients;
mod config;
mod crash;
mod demo;
mod docs;
mod http;
mod http_cases;
mod limits;
mod support;
