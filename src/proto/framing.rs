//! Where a message ends: raw, line, length prefix or WebSocket, behind one scanner.

use std::sync::Arc;

/// `framing` of a tcp or tls listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// No messages known.
    Raw,
    /// Messages end with LF.
    Line { max: u64 },
    /// Messages start with their big-endian length in `bytes` (1, 2, 4 or 8) bytes.
    LengthPrefix {
        bytes: u8,
        includes_itself: bool,
        max: u64,
    },
}

/// A configured application heartbeat (`data`) or answer (`reply`): on ws a message of that payload and kind, else bytes on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payload {
    pub bytes: Arc<[u8]>,
    /// On ws: a binary message, else text.
    pub binary: bool,
}

/// How far the bytes passed so far reach: where an insertion into the direction would land.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Edge {
    /// In the middle of a frame: nothing may be inserted.
    Inside,
    /// Between two frames of one message: control frames may be inserted.
    Frame,
    /// Between two messages: anything may be inserted.
    Message,
}

/// The next piece of the input. Every `len` counts input bytes from the front, heads included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// `len` bytes of data that pass; after them the direction is at `edge`. `message`: a data message ended with them.
    Data {
        len: usize,
        edge: Edge,
        message: bool,
    },
    /// A whole Ping frame.
    Ping { len: usize },
    /// A whole Pong frame; `token` is its payload, unmasked, if that has eight bytes.
    Pong { len: usize, token: Option<[u8; 8]> },
    /// A whole Close frame; code and text as sent (text lossily decoded).
    Close {
        len: usize,
        code: Option<u16>,
        text: String,
    },
    /// A whole client message equal to the configured `reply`: kept back by the caller.
    Reply { len: usize },
    /// The input ends within something that can only be judged whole (a frame head, a control frame, a possible reply):
    /// present these bytes again with more behind them. Never more than `hold_max` bytes.
    Incomplete,
}

/// A peer broke the rules of the framing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// 1002 to both ends.
    #[error("{0}")]
    Protocol(&'static str),
    /// 1009 to both ends.
    #[error("a message is larger than {limit} bytes")]
    TooBig { limit: u64 },
}

/// The scanner of one direction.
#[derive(Debug)]
pub enum Scanner {
    /// Everything is data, every read is at `Edge::Message`, no message ever ends.
    Raw,
}

impl Scanner {
    /// Looks at the front of `input` (the bytes not yet consumed, never empty).
    /// Returns the next item; the caller consumes its `len` and calls again with the rest.
    pub fn next(&mut self, _input: &[u8]) -> Result<Item, Violation> {
        unimplemented!()
    }
    /// Where the direction stands after all consumed input.
    pub fn edge(&self) -> Edge {
        unimplemented!()
    }
    /// The most bytes that `Item::Incomplete` ever leaves behind.
    pub fn hold_max(&self) -> usize {
        unimplemented!()
    }
}
