//! Where a message ends: raw, line, length prefix or WebSocket, behind one scanner.
//!
//! The caller owns the bytes. It shows the scanner what it has not consumed yet, and acts on one [`Item`] after the other:
//!
//! ```text
//! held back by Incomplete      just read
//! ├──────────────────────┼──────────────────────────────────┤  input of `next`
//! ├─ Ping ─┼─ Data ──────────────┼─ Data, edge Inside ──────┤  items, each `len` bytes from the front
//! ```

use std::sync::Arc;

use super::cause::End;
use super::websocket::{
    Extensions, Frames, HEAD_MAX, OPCODE_BINARY, OPCODE_TEXT, encode_head, payload_of,
};

pub use records::{LengthPrefixed, Lines};

#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz;
mod records;
#[cfg(test)]
mod tests;

/// `framing` of a tcp or tls listener. A record's size counts every byte on the wire: the LF or the prefix, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// No messages known.
    Raw,
    /// Messages end with LF.
    Line {
        /// The most bytes of a line, its LF included.
        max: u64,
    },
    /// Messages start with their big-endian length.
    LengthPrefix {
        /// The bytes of the prefix: 1, 2, 4 or 8.
        bytes: u8,
        /// The length counts the prefix, too.
        includes_itself: bool,
        /// The most bytes of a record, its prefix included.
        max: u64,
    },
}

/// A configured application heartbeat (`data`) or answer (`reply`): on ws a message of that payload and kind, else bytes on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payload {
    /// On ws the payload of the message; on tcp exactly one record, terminator or prefix included.
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
        /// Never 0.
        len: usize,
        /// Where these bytes end.
        edge: Edge,
        /// A data message ended with them.
        message: bool,
    },
    /// A whole Ping frame.
    Ping {
        /// Its bytes, head included.
        len: usize,
    },
    /// A whole Pong frame; `token` is its payload, unmasked, if that has eight bytes.
    Pong {
        /// Its bytes, head included.
        len: usize,
        /// What our own pings carry.
        token: Option<[u8; 8]>,
    },
    /// A whole Close frame; code and text as sent (text lossily decoded). It ends the direction: nothing behind it is scanned.
    Close {
        /// Its bytes, head included.
        len: usize,
        /// `None` also for a code that may not be on the wire (RFC 6455 section 7.4): the frame passes, the peer judges it.
        code: Option<u16>,
        /// Empty if there is none.
        text: String,
    },
    /// A whole client message equal to the configured `reply`: kept back by the caller.
    Reply {
        /// Its bytes, the heads of all its frames included.
        len: usize,
    },
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
    TooBig {
        /// The limit that it exceeds, in bytes.
        limit: u64,
    },
}

/// What makes a message of a payload: bytes before and behind it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Seal {
    /// A frame head or a length.
    pub head: Vec<u8>,
    /// The end of a line.
    pub tail: &'static [u8],
}

/// Why a payload cannot be one message of a framing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// It would be several lines.
    #[error("the message has a line feed within it, which would make it several lines")]
    SeveralLines,
    /// It is larger than a record may be.
    #[error("a record of the listener has at most {limit} bytes")]
    TooLarge {
        /// The bytes of a record, its terminator or prefix included.
        limit: u64,
    },
}

/// The scanner of one direction.
#[derive(Debug)]
pub enum Scanner {
    /// Everything is data, every read is at `Edge::Message`, no message ever ends.
    Raw,
    /// Lines.
    Line(Lines),
    /// Records behind their length.
    LengthPrefix(LengthPrefixed),
    /// WebSocket frames.
    WebSocket(Frames),
}

// Every stream holds two, most of them idle.
const _: () = assert!(size_of::<Scanner>() <= 64);

/// How the front of the input compares with the configured reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Match {
    /// The first so many bytes are the reply.
    Whole(usize),
    /// All of the input is the beginning of a reply.
    Partial,
    /// It can no longer become the reply.
    No,
}

impl Scanner {
    /// The scanner of raw bytes.
    pub fn raw() -> Self {
        Self::Raw
    }

    /// The scanner of one direction of a tcp or tls stream. `reply` is given for the client's direction only and is one
    /// record of `framing`; raw framing knows no records, so none is looked for there.
    pub fn from_framing(framing: Framing, reply: Option<&Payload>) -> Self {
        match framing {
            Framing::Raw => Self::Raw,
            Framing::Line { max } => Self::Line(Lines::new(max, reply)),
            Framing::LengthPrefix {
                bytes,
                includes_itself,
                max,
            } => Self::LengthPrefix(LengthPrefixed::new(bytes, includes_itself, max, reply)),
        }
    }

    /// The scanner of the WebSocket frames that `from` sends. `max_message` counts payload bytes as they are on the wire,
    /// over all fragments. `reply` is given for the client's direction only.
    pub fn websocket(
        from: End,
        extensions: Extensions,
        max_message: Option<u64>,
        reply: Option<&Payload>,
    ) -> Self {
        Self::WebSocket(Frames::new(from, extensions, max_message, reply))
    }

    /// Looks at the front of `input` (the bytes not yet consumed, never empty).
    /// Returns the next item; the caller consumes its `len` and calls again with the rest.
    /// After a violation or a Close the scanner is of no more use.
    #[inline]
    pub fn next(&mut self, input: &[u8]) -> Result<Item, Violation> {
        match self {
            Self::WebSocket(frames) => frames.next(input),
            Self::Raw => Ok(Item::Data {
                len: input.len(),
                edge: Edge::Message,
                message: false,
            }),
            Self::Line(lines) => lines.next(input),
            Self::LengthPrefix(records) => records.next(input),
        }
    }

    /// Where the direction stands after all consumed input.
    #[inline]
    pub fn edge(&self) -> Edge {
        match self {
            Self::WebSocket(frames) => frames.edge(),
            Self::Raw => Edge::Message,
            Self::Line(lines) => lines.edge(),
            Self::LengthPrefix(records) => records.edge(),
        }
    }

    /// Bytes to come that pass whatever they are: the rest of a frame's payload, or everything where nothing is looked for.
    pub fn unseen(&self) -> u64 {
        match self {
            Self::WebSocket(frames) => frames.left(),
            Self::Raw => u64::MAX,
            Self::Line(_) | Self::LengthPrefix(_) => 0,
        }
    }

    /// `count` of the bytes that [`unseen`](Self::unseen) told of have passed. Returns where that leaves the direction, and
    /// whether a data message ended with them.
    pub fn skip(&mut self, count: u64) -> (Edge, bool) {
        match self {
            Self::WebSocket(frames) => frames.skip(count),
            Self::Raw | Self::Line(_) | Self::LengthPrefix(_) => (self.edge(), false),
        }
    }

    /// What makes one message of `payload` for a *client*; `binary` counts on ws only. Raw bytes are what they are.
    pub fn seal(&self, payload: &[u8], binary: bool) -> Result<Seal, Unfit> {
        match self {
            Self::WebSocket(_) => {
                let opcode = if binary { OPCODE_BINARY } else { OPCODE_TEXT };
                let mut head = Vec::with_capacity(HEAD_MAX);
                encode_head(opcode, payload.len(), None, &mut head);
                Ok(Seal { head, tail: b"" })
            }
            Self::Raw => Ok(Seal::default()),
            Self::Line(lines) => lines.seal(payload),
            Self::LengthPrefix(records) => records.seal(payload),
        }
    }

    /// Whether a `reply` is looked for.
    pub fn knows_reply(&self) -> bool {
        match self {
            Self::WebSocket(frames) => frames.knows_reply(),
            Self::Raw => false,
            Self::Line(lines) => lines.knows_reply(),
            Self::LengthPrefix(records) => records.knows_reply(),
        }
    }

    /// The payload of one message, given its bytes on the wire without control frames between them; `None` if they are
    /// not one message.
    pub fn open(&self, wire: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::WebSocket(_) => payload_of(wire),
            Self::Raw => None,
            Self::Line(_) => {
                let line = wire.strip_suffix(b"\n")?;
                Some(line.strip_suffix(b"\r").unwrap_or(line).to_vec())
            }
            Self::LengthPrefix(records) => records.open(wire),
        }
    }

    /// The most bytes that `Item::Incomplete` ever leaves behind.
    pub fn hold_max(&self) -> usize {
        match self {
            Self::WebSocket(frames) => frames.hold_max(),
            Self::Raw => 0,
            Self::Line(lines) => lines.hold_max(),
            Self::LengthPrefix(records) => records.hold_max(),
        }
    }
}
