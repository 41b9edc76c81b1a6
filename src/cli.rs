//! Commands and flags.

pub mod ctl;
pub mod drain;
pub mod healthcheck;
pub mod receive;

/// Exit code of EX_CONFIG in sysexits.h: the configuration is bad.
pub const EXIT_CONFIG: u8 = 78;
