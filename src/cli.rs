//! Commands and flags.

pub mod ctl;
pub mod drain;
pub mod healthcheck;
pub const EXIT_CONFIG: u8 = 78;
