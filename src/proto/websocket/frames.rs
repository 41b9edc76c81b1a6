//! The frames of one direction: judged by their heads, passed as they are.

use super::{
    CONTROL, CONTROL_PAYLOAD_MAX, Extensions, FIN, HEAD_MAX, Head, LENGTH, MASKED, OPCODE,
    OPCODE_BINARY, OPCODE_CLOSE, OPCODE_CONTINUATION, OPCODE_PING, OPCODE_PONG, OPCODE_TEXT, RSV,
    apply_mask,
};
use crate::proto::cause::End;
use crate::proto::framing::{Edge, Item, Match, Payload, Violation};

/// The longest control frame: a head without a length of its own, a masking key, 125 bytes.
const CONTROL_FRAME_MAX: usize = 2 + 4 + CONTROL_PAYLOAD_MAX;

/// The WebSocket frames of one direction.
#[derive(Debug)]
pub struct Frames {
    /// Payload bytes of the current data frame still to come; 0 between frames.
    left: u64,
    /// Payload bytes that the heads of the current message announced so far.
    message: u64,
    /// The most that `message` may be; `u64::MAX` is no limit.
    max: u64,
    reply: Option<Box<Payload>>,
    extensions: Extensions,
    /// `MASKED` if every frame must be masked, 0 if none may be (RFC 6455 section 5.1).
    masked: u8,
    /// The last data frame was not final: only control frames and a continuation may follow.
    fragmented: bool,
}

impl Frames {
    pub(in crate::proto) fn new(
        from: End,
        extensions: Extensions,
        max_message: Option<u64>,
        reply: Option<&Payload>,
    ) -> Self {
        let max = max_message.unwrap_or(u64::MAX);
        Self {
            left: 0,
            message: 0,
            max,
            // A reply larger than a message may be breaks the limit like any other message.
            reply: reply
                .filter(|reply| reply.bytes.len() as u64 <= max)
                .cloned()
                .map(Box::new),
            extensions,
            masked: match from {
                End::Client => MASKED,
                End::Upstream => 0,
            },
            fragmented: false,
        }
    }

    #[inline]
    pub(in crate::proto) fn next(&mut self, input: &[u8]) -> Result<Item, Violation> {
        if self.left > 0 {
            return Ok(self.pass(0, input));
        }
        let &[first, second, ..] = input else {
            return Ok(Item::Incomplete);
        };
        self.judge(first, second).map_err(Violation::Protocol)?;
        if first & CONTROL != 0 {
            return Ok(self.control(input));
        }
        if let Some(reply) = self.reply.as_deref() {
            match self.compare(reply, input) {
                Match::Whole(len) => return Ok(Item::Reply { len }),
                Match::Partial => return Ok(Item::Incomplete),
                Match::No => {}
            }
        }
        let Some(head) = Head::parse(input).map_err(Violation::Protocol)? else {
            return Ok(Item::Incomplete);
        };
        let before = if self.fragmented { self.message } else { 0 };
        self.message = before.saturating_add(head.payload);
        if self.message > self.max {
            return Err(Violation::TooBig { limit: self.max });
        }
        self.left = head.payload;
        self.fragmented = !head.fin();
        Ok(self.pass(head.size, input))
    }

    #[inline]
    pub(in crate::proto) fn edge(&self) -> Edge {
        if self.left > 0 {
            Edge::Inside
        } else if self.fragmented {
            Edge::Frame
        } else {
            Edge::Message
        }
    }

    pub(in crate::proto) fn left(&self) -> u64 {
        self.left
    }

    #[inline]
    pub(in crate::proto) fn skip(&mut self, payload: u64) -> (Edge, bool) {
        self.left = self.left.saturating_sub(payload);
        let edge = self.edge();
        (edge, edge == Edge::Message)
    }

    pub(in crate::proto) fn hold_max(&self) -> usize {
        // With a reply: it may come in as many fragments as find room in place of a control frame.
        let reply = self.reply.as_ref().map_or(0, |reply| reply.bytes.len());
        CONTROL_FRAME_MAX + reply
    }

    pub(in crate::proto) fn knows_reply(&self) -> bool {
        self.reply.is_some()
    }

    /// Passes what is present of a data frame's payload, behind `head` bytes of its head.
    #[inline]
    fn pass(&mut self, head: usize, input: &[u8]) -> Item {
        let present = input.len() - head;
        let payload = usize::try_from(self.left).map_or(present, |left| left.min(present));
        let (edge, message) = self.skip(payload as u64);
        Item::Data {
            len: head + payload,
            edge,
            message,
        }
    }

    /// Judges all that the first two bytes of a frame tell, so that garbage is refused without waiting for more of it.
    #[inline]
    fn judge(&self, first: u8, second: u8) -> Result<(), &'static str> {
        let allowed_rsv = match first & OPCODE {
            OPCODE_TEXT | OPCODE_BINARY => {
                self.outside_message()?;
                self.extensions.rsv
            }
            OPCODE_CONTINUATION => {
                if !self.fragmented {
                    return Err("a continuation frame outside of a fragmented message");
                }
                0
            }
            control if control & CONTROL != 0 => {
                if control > OPCODE_PONG && !self.extensions.unknown {
                    return Err("a control frame of a reserved opcode");
                }
                if first & FIN == 0 {
                    return Err("a fragmented control frame");
                }
                if usize::from(second & LENGTH) > CONTROL_PAYLOAD_MAX {
                    return Err("a control frame of more than 125 bytes");
                }
                0
            }
            _reserved => {
                if !self.extensions.unknown {
                    return Err("a data frame of a reserved opcode");
                }
                self.outside_message()?;
                0
            }
        };
        if first & RSV & !allowed_rsv != 0 && !self.extensions.unknown {
            return Err("a reserved bit that no extension has given a meaning");
        }
        if second & MASKED != self.masked {
            return Err(if self.masked == 0 {
                "a masked frame from the upstream"
            } else {
                "an unmasked frame from the client"
            });
        }
        Ok(())
    }

    #[inline]
    fn outside_message(&self) -> Result<(), &'static str> {
        if self.fragmented {
            return Err("a new message within a fragmented one");
        }
        Ok(())
    }

    /// Reads a control frame that `judge` allowed; it leaves the edge as it is (RFC 6455 section 5.4).
    #[inline(never)]
    fn control(&self, input: &[u8]) -> Item {
        // Without an extended length there is nothing left to refuse in the head.
        let Ok(Some(head)) = Head::parse(input) else {
            return Item::Incomplete;
        };
        let len = head.size + head.payload as usize;
        let Some(payload) = input.get(head.size..len) else {
            return Item::Incomplete;
        };
        match head.first & OPCODE {
            OPCODE_PING => Item::Ping { len },
            OPCODE_PONG => {
                let mut token: Option<[u8; 8]> = payload.try_into().ok();
                if let (Some(token), Some(key)) = (&mut token, head.key) {
                    apply_mask(token, key);
                }
                Item::Pong { len, token }
            }
            OPCODE_CLOSE => {
                let mut payload = payload.to_vec();
                if let Some(key) = head.key {
                    apply_mask(&mut payload, key);
                }
                close(len, &payload)
            }
            // Of an extension that we do not know: it passes like data, but ends no message.
            _extension => Item::Data {
                len,
                edge: self.edge(),
                message: false,
            },
        }
    }

    /// Compares the message that starts at the front of `input`, if one does, with the reply, over all its frames.
    /// A control frame between two of them makes it data: what is behind that frame could not overtake it.
    #[inline(never)]
    fn compare(&self, reply: &Payload, input: &[u8]) -> Match {
        let mut kind = if reply.binary {
            OPCODE_BINARY
        } else {
            OPCODE_TEXT
        };
        let mut want = &*reply.bytes;
        let mut at = 0;
        // That the next head has room: so the verdict does not depend on how much of it has been read.
        while at + HEAD_MAX <= self.hold_max() {
            let frame = &input[at..];
            if frame.first().is_some_and(|first| first & !FIN != kind)
                || frame.get(1).is_some_and(|s| s & MASKED != self.masked)
            {
                return Match::No;
            }
            let head = match Head::parse(frame) {
                Ok(Some(head)) => head,
                Ok(None) => return Match::Partial,
                Err(_) => return Match::No,
            };
            let Some((part, rest)) = usize::try_from(head.payload)
                .ok()
                .and_then(|payload| want.split_at_checked(payload))
            else {
                return Match::No;
            };
            let end = head.size + part.len();
            if (head.fin() && !rest.is_empty()) || at + end > self.hold_max() {
                return Match::No;
            }
            let present = &frame[head.size..end.min(frame.len())];
            let key = head.key.unwrap_or_default();
            let same = |((sent, key), wanted): ((&u8, u8), &u8)| sent ^ key == *wanted;
            if !present
                .iter()
                .zip(key.into_iter().cycle())
                .zip(part)
                .all(same)
            {
                return Match::No;
            }
            if present.len() < part.len() {
                return Match::Partial;
            }
            at += end;
            if head.fin() {
                return Match::Whole(at);
            }
            want = rest;
            kind = OPCODE_CONTINUATION;
        }
        Match::No
    }
}

/// Reads the payload of a Close frame; what is wrong with it is for the peer to judge.
fn close(len: usize, payload: &[u8]) -> Item {
    let (code, text) = match payload.split_first_chunk() {
        Some((code, text)) => (Some(u16::from_be_bytes(*code)), text),
        None => (None, &[][..]),
    };
    Item::Close {
        len,
        code: code.filter(|code| may_be_sent(*code)),
        text: String::from_utf8_lossy(text).into_owned(),
    }
}

/// The codes that an endpoint may put into a Close frame: those defined so far by RFC 6455 section 7.4.1 and the IANA
/// registry (1012 to 1014), without the ones made for APIs only (1005, 1006, 1015), and the ranges of libraries and applications.
fn may_be_sent(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_of_declared_lengths_cannot_overflow() {
        let limit = u64::MAX - 1;
        let mut frames = Frames::new(End::Upstream, Extensions::default(), Some(limit), None);
        let mut head = [2, 127, 0x7F, 255, 255, 255, 255, 255, 255, 255];
        for _ in 0..2 {
            assert!(matches!(frames.next(&head), Ok(Item::Data { len: 10, .. })));
            // As if 8 EiB had passed.
            frames.left = 0;
            head[0] = 0;
        }
        assert_eq!(frames.next(&head), Err(Violation::TooBig { limit }));
    }
}
