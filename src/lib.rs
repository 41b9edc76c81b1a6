//! sidebeat: a liveness proxy.

pub mod admin;
pub mod cli;
pub mod config;
pub mod health;
pub mod hook;
pub mod log;
pub mod metrics;
pub mod net;
pub mod proto;
pub mod registry;
