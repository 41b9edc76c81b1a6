//! The pure floor: no I/O, no clock, no tokio. Bytes and instants come in as arguments, decisions go out as values.

pub mod cause;
pub mod framing;
pub mod heart;
pub mod request;
pub mod upgrade;
pub mod websocket;
