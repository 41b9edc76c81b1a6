//! Configuration: text as written, then validated and ready; nothing later can fail on it.
//!
//! Read `load` for the way from a file and flags to a [`Config`], `raw` for what may be written, `ready` for what comes of it.

mod address;
mod convert;
mod error;
mod flags;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz;
mod heartbeat;
mod hook;
mod interpolate;
mod kinds;
mod leaf;
mod limits;
mod listener;
mod load;
mod node;
mod payload;
mod raw;
mod reader;
mod ready;
mod redacted;
mod schema;
#[cfg(test)]
mod tests;
mod tls;
mod units;
mod wording;
mod words;

pub use error::{ConfigError, Problem};
pub use flags::Flags;
pub use interpolate::Environment;
pub use load::ConfigSource;
pub use ready::*;
pub use schema::schema;
pub use units::{UnitError, format_duration, format_size, parse_duration, parse_size};
