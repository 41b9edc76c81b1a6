//! Bytes and sockets: what a stream's two sides are made of.
//!
//! [`leg::Leg`] is one side of a stream, whatever carries it. A client's leg comes out of a listening socket
//! ([`sockopt`]), a PROXY header ([`proxy_protocol`]) and a TLS handshake ([`tls`]); an upstream's leg is dialed
//! ([`upstream`]). No module here knows HTTP, frames or heartbeats.

pub mod leg;
pub mod pem;
pub mod prefixed;
pub mod proxy_protocol;

pub mod sensor;
pub mod sockopt;
pub mod splice;
pub mod tls;
pub mod upstream;
