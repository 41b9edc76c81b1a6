//! sidebeat: a liveness proxy.

pub mod admin;
/// Commands.
pub mod cli {
    pub mod receive;
}
pub mod config;
pub mod hook;
pub mod metrics;
pub mod net;
pub mod proto;
pub mod registry;
