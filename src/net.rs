//! Bytes and sockets.
