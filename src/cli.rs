//! Commands and flags.

pub mod ctl;
pub mod drain;
pub mod healthcheck;
