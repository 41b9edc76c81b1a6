//! sidebeat: a liveness proxy.
//!
//! A stream is two byte pipes and one clock. The pipes move bytes and understand no more of them than where a message
//! ends. The clock is a pure function that says when to ask and when to give up. Everything else hangs on the outside.
//!
//! ```text
//! accept ─ permit ─ PROXY header ─ TLS ─┬─ HTTP/1.1 opening ─ dial ─ 101 ─┐
//! listener listener      net       net  └─ raw TCP ───────── dial ────────┤
//!                                                                         ▼
//!    registry.enter ──▶ relay { pump client→upstream, pump upstream→client, heart, commands } ──▶ Cause
//!                                                                         ▼
//!                  closing (Close frames, FIN, reset) ──▶ guard dropped ──▶ metrics, log line, hook event
//! ```
//!
//! This crate is the program `sidebeat`; its parts are public for its own tests and fuzz targets and promise nothing to
//! others.
//!
//! # Where to begin
//!
//! 1. [`stream`], from top to bottom: the life of a stream in one file. Then `stream/relay.rs`, the one future that an open
//!    stream is, `stream/pump.rs` and `stream/closing.rs`.
//! 2. [`proto::heart`] and [`proto::framing`]: what the relay asks, without any I/O.
//! 3. [`server`]: what starts all of it, and how it ends.
//!
//! ARCHITECTURE.md has the invariants and the reasons.
//!
//! # The rooms
//!
//! `proto` uses no other room, `net` only `config`; neither `config`, `metrics` nor `health` knows what a stream is. Of the
//! server a stream sees [`server::Shared`] and nothing else.
//!
//! | floor | room | what it holds |
//! |---|---|---|
//! | the process | [`cli`] | commands and flags; each command is a file |
//! | | [`server`] | workers, control runtime, signals, reload, drain |
//! | the life of a stream | [`listener`] | one socket per worker: accept, permit, who waits in the lobby |
//! | | [`stream`] | opening, relay, closing |
//! | | [`worker`] | one thread: its streams, clock and read buffer |
//! | | [`registry`] | the open streams, and the closing records of the last ones |
//! | around it | [`hook`] | events, their order, delivery and signature |
//! | | [`admin`] | the API, its client, metrics and probes over HTTP |
//! | | [`metrics`], [`health`], [`log`] | what others read |
//! | | [`priority`] | which threads wait when the CPU is short |
//! | | [`config`] | text as written, then validated and ready |
//! | bytes and sockets | [`net`] | TLS, dialing, the PROXY protocol, socket options |
//! | pure: no I/O, no clock | [`proto`] | frames, framings, request heads, the heart, the upgrade, the cause |

pub mod admin;
pub mod cli;
pub mod config;
pub mod health;
pub mod hook;
pub mod listener;
pub mod log;
pub mod metrics;
pub mod net;
pub mod priority;
pub mod proto;
pub mod registry;
pub mod server;
pub mod stream;
pub mod worker;
