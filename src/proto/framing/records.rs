//! Records on raw TCP: lines, and bytes behind their length.

use super::{Edge, Item, Match, Payload, Seal, Unfit, Violation};

/// Lines: LF ends a record.
#[derive(Debug)]
pub struct Lines {
    /// Bytes of the current line that were consumed; 0 between lines, never more than `max`.
    passed: u64,
    max: u64,
    reply: Option<Box<Payload>>,
}

impl Lines {
    pub(super) fn new(max: u64, reply: Option<&Payload>) -> Self {
        Self {
            passed: 0,
            max,
            reply: boxed(reply, max),
        }
    }

    #[inline]
    pub(super) fn next(&mut self, input: &[u8]) -> Result<Item, Violation> {
        if self.passed == 0 {
            match compare(self.reply.as_deref(), input) {
                Match::Whole(len) => return Ok(Item::Reply { len }),
                Match::Partial => return Ok(Item::Incomplete),
                Match::No => {}
            }
        }
        let room = self.max - self.passed;
        if room == 0 {
            return Err(Violation::TooBig { limit: self.max });
        }
        // No further than `room`: where a line too long is cut must not depend on how it was read.
        let window = &input[..at_most(room, input.len())];
        let (len, edge) = match memchr::memchr(b'\n', window) {
            Some(lf) => (lf + 1, Edge::Message),
            None => (window.len(), Edge::Inside),
        };
        self.passed = match edge {
            Edge::Message => 0,
            Edge::Inside | Edge::Frame => self.passed + len as u64,
        };
        Ok(Item::Data {
            len,
            edge,
            message: edge == Edge::Message,
        })
    }

    #[inline]
    pub(super) fn edge(&self) -> Edge {
        edge_with_left(self.passed)
    }

    pub(super) fn hold_max(&self) -> usize {
        self.reply.as_ref().map_or(0, |reply| reply.bytes.len())
    }

    pub(super) fn knows_reply(&self) -> bool {
        self.reply.is_some()
    }

    /// A payload that ends with LF is a line as it is.
    pub(super) fn seal(&self, payload: &[u8]) -> Result<Seal, Unfit> {
        let tail: &[u8] = match memchr::memchr(b'\n', payload) {
            None => b"\n",
            Some(lf) if lf + 1 == payload.len() => b"",
            Some(_) => return Err(Unfit::SeveralLines),
        };
        if (payload.len() + tail.len()) as u64 > self.max {
            return Err(Unfit::TooLarge { limit: self.max });
        }
        let head = Vec::new();
        Ok(Seal { head, tail })
    }
}

/// Records behind their big-endian length.
#[derive(Debug)]
pub struct LengthPrefixed {
    /// Bytes of the current record still to come; 0 between records.
    left: u64,
    max: u64,
    reply: Option<Box<Payload>>,
    bytes: u8,
    includes_itself: bool,
}

impl LengthPrefixed {
    pub(super) fn new(bytes: u8, includes_itself: bool, max: u64, reply: Option<&Payload>) -> Self {
        debug_assert!(matches!(bytes, 1 | 2 | 4 | 8), "refused by `config`");
        Self {
            left: 0,
            max,
            reply: boxed(reply, max),
            bytes,
            includes_itself,
        }
    }

    #[inline]
    pub(super) fn next(&mut self, input: &[u8]) -> Result<Item, Violation> {
        if self.left == 0 {
            match compare(self.reply.as_deref(), input) {
                Match::Whole(len) => return Ok(Item::Reply { len }),
                Match::Partial => return Ok(Item::Incomplete),
                Match::No => {}
            }
            let Some(prefix) = input.get(..usize::from(self.bytes)) else {
                return Ok(Item::Incomplete);
            };
            self.left = self.record_size(prefix)?;
        }
        let len = at_most(self.left, input.len());
        self.left -= len as u64;
        let edge = self.edge();
        Ok(Item::Data {
            len,
            edge,
            message: edge == Edge::Message,
        })
    }

    /// The bytes of the record that starts with `prefix`, the prefix included.
    fn record_size(&self, prefix: &[u8]) -> Result<u64, Violation> {
        let length = prefix
            .iter()
            .fold(0, |length: u64, &byte| length << 8 | u64::from(byte));
        let own = u64::from(self.bytes);
        let too_big = Violation::TooBig { limit: self.max };
        let size = if self.includes_itself {
            if length < own {
                return Err(Violation::Protocol(
                    "a record's length is smaller than its own prefix",
                ));
            }
            length
        } else {
            length.checked_add(own).ok_or(too_big)?
        };
        if size > self.max {
            return Err(too_big);
        }
        Ok(size)
    }

    #[inline]
    pub(super) fn edge(&self) -> Edge {
        edge_with_left(self.left)
    }

    pub(super) fn hold_max(&self) -> usize {
        let reply = self.reply.as_ref().map_or(0, |reply| reply.bytes.len());
        reply.max(usize::from(self.bytes))
    }

    pub(super) fn knows_reply(&self) -> bool {
        self.reply.is_some()
    }

    pub(super) fn seal(&self, payload: &[u8]) -> Result<Seal, Unfit> {
        let own = u64::from(self.bytes);
        let (payload, capacity) = (payload.len() as u64, u64::MAX >> (64 - 8 * own));
        let length = payload + if self.includes_itself { own } else { 0 };
        if length > capacity || payload + own > self.max {
            let most = capacity.saturating_add(if self.includes_itself { 0 } else { own });
            let limit = self.max.min(most);
            return Err(Unfit::TooLarge { limit });
        }
        let head = length.to_be_bytes()[8 - usize::from(self.bytes)..].to_vec();
        Ok(Seal { head, tail: b"" })
    }

    pub(super) fn open(&self, wire: &[u8]) -> Option<Vec<u8>> {
        let (prefix, payload) = wire.split_at_checked(usize::from(self.bytes))?;
        (self.record_size(prefix) == Ok(wire.len() as u64)).then(|| payload.to_vec())
    }
}

/// Records have no frames: bytes outside of any are between two messages.
fn edge_with_left(pending: u64) -> Edge {
    if pending == 0 {
        Edge::Message
    } else {
        Edge::Inside
    }
}

/// As many of `left` bytes as are present.
#[inline]
fn at_most(left: u64, present: usize) -> usize {
    usize::try_from(left).map_or(present, |left| left.min(present))
}

/// A reply larger than a record may be breaks the limit like any other record.
fn boxed(reply: Option<&Payload>, max: u64) -> Option<Box<Payload>> {
    reply
        .filter(|reply| reply.bytes.len() as u64 <= max)
        .cloned()
        .map(Box::new)
}

#[inline]
fn compare(reply: Option<&Payload>, input: &[u8]) -> Match {
    match reply {
        Some(reply) if input.starts_with(&reply.bytes) => Match::Whole(reply.bytes.len()),
        Some(reply) if reply.bytes.starts_with(input) => Match::Partial,
        Some(_) | None => Match::No,
    }
}
