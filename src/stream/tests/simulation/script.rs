//! What peers say: well-formed messages of any size and cut, and malformed ones now and then.

use rand::RngExt;
use rand::rngs::SmallRng;

use super::trace::Ms;
use super::wire::{Wire, encode};
use crate::proto::cause::End;

/// Bytes that go out as one: nothing of the peer's own goes into them.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) bytes: Vec<u8>,
    pub(super) at: usize,
    /// At this byte the peer pauses for so long.
    pub(super) pause: Option<(usize, Ms)>,
    /// It breaks the rules: nothing from here on is judged.
    pub(super) bad: bool,
    /// Nothing follows it.
    pub(super) last: bool,
}

impl Frame {
    fn of(bytes: Vec<u8>) -> Self {
        Self {
            bytes,
            at: 0,
            pause: None,
            bad: false,
            last: false,
        }
    }
}

/// Writes what one peer says.
pub(super) struct Author {
    pub(super) end: End,
    pub(super) wire: Wire,
    pub(super) random: SmallRng,
    /// No message is longer.
    pub(super) longest: usize,
    /// Many messages are nearly as long.
    pub(super) large: bool,
    /// The pauses that may matter, in milliseconds: the limits of the listener.
    pub(super) pauses: Vec<Ms>,
    /// What the listener takes for an answer to its heartbeats.
    pub(super) reply: Option<(Vec<u8>, bool)>,
}

impl Author {
    fn mask(&mut self) -> Option<[u8; 4]> {
        (self.end == End::Client).then(|| self.random.random())
    }

    fn frame(&mut self, first: u8, payload: &[u8]) -> Frame {
        let mask = self.mask();
        Frame::of(encode(first, payload, mask))
    }

    fn payload(&mut self, longest: usize) -> Vec<u8> {
        let size = match self.random.random_range(0..10) {
            0 => 0,
            1 => 1,
            2 => *[125, 126, 127, 65_535, 65_536]
                .get(self.random.random_range(0..5))
                .unwrap(),
            3 => self.random.random_range(0..=longest),
            4..9 if self.large => self.random.random_range(0..=longest),
            _ => self.random.random_range(0..200),
        };
        // Letters, so that it is text, and neither a heartbeat nor its answer.
        let first = self.random.random::<u8>();
        let letter = |place: usize| b'a' + (place as u8).wrapping_mul(7).wrapping_add(first) % 26;
        (0..size.min(longest)).map(letter).collect()
    }

    /// A pause: short, about one of the limits, or long.
    pub(super) fn pause(&mut self) -> Ms {
        let limit = self.pauses[self.random.random_range(0..self.pauses.len())];
        match self.random.random_range(0..12) {
            0..3 => self.random.random_range(0..20),
            3..6 => self.random.random_range(0..2000),
            6..8 => limit * self.random.random_range(10..99) / 100,
            8 => limit,
            9 => limit + self.random.random_range(1..4),
            10 => limit.saturating_sub(self.random.random_range(1..4)),
            _ => limit * self.random.random_range(1..5),
        }
    }

    /// One message, perhaps in several frames with control frames between them.
    pub(super) fn message(&mut self) -> Vec<Frame> {
        let longest = self.longest;
        let mut frames = match self.wire {
            Wire::WebSocket => {
                let payload = self.payload(longest);
                let opcode = self.random.random_range(1..=2);
                self.fragments(opcode, &payload)
            }
            Wire::Line => {
                let mut line = self.payload(longest);
                line.push(b'\n');
                vec![Frame::of(line)]
            }
            Wire::Prefix { bytes, max, .. } => {
                let most = max.min(if bytes == 1 { 255 } else { longest }) - bytes;
                let payload = self.payload(most.min(longest));
                vec![Frame::of(self.wire.seal(&payload, false))]
            }
            Wire::Raw => {
                let mut bytes = self.payload(longest);
                bytes.push(b'.');
                vec![Frame::of(bytes)]
            }
        };
        if self.random.random_bool(if self.large { 0.5 } else { 0.2 }) {
            let place = self.random.random_range(0..frames.len());
            let pause = self.pause();
            let frame = &mut frames[place];
            frame.pause = Some((self.random.random_range(0..frame.bytes.len()), pause));
        }
        frames
    }

    fn fragments(&mut self, opcode: u8, payload: &[u8]) -> Vec<Frame> {
        let pieces = match self.random.random_range(0..4) {
            0 => self.random.random_range(2..6),
            _ => 1,
        };
        let size = payload.len().div_ceil(pieces).max(1);
        let mut parts: Vec<&[u8]> = payload.chunks(size).collect();
        if parts.is_empty() {
            parts.push(b"");
        }
        let last = parts.len() - 1;
        let mut frames = Vec::new();
        for (place, part) in parts.into_iter().enumerate() {
            let opcode = if place == 0 { opcode } else { 0 };
            let fin = if place == last { 0x80 } else { 0 };
            frames.push(self.frame(fin | opcode, part));
            if place < last && self.random.random_bool(0.3) {
                frames.push(self.control());
            }
        }
        frames
    }

    /// A Ping or a Pong of the peer's own, of eight bytes now and then, as ours are.
    pub(super) fn control(&mut self) -> Frame {
        let opcode = if self.random.random() { 9 } else { 10 };
        let size = if self.random.random() {
            8
        } else {
            self.random.random_range(0..126)
        };
        let payload = vec![b'p'; size];
        self.frame(0x80 | opcode, &payload)
    }

    pub(super) fn pong(&mut self, payload: &[u8]) -> Frame {
        self.frame(0x8a, payload)
    }

    /// The configured answer, in one frame or two.
    pub(super) fn reply(&mut self) -> Vec<Frame> {
        let Some((payload, binary)) = self.reply.clone() else {
            return Vec::new();
        };
        if self.wire != Wire::WebSocket {
            return vec![Frame::of(payload)];
        }
        let opcode = if binary { 2 } else { 1 };
        if self.random.random_bool(0.7) {
            return vec![self.frame(0x80 | opcode, &payload)];
        }
        let (front, back) = payload.split_at(self.random.random_range(0..=payload.len()));
        vec![self.frame(opcode, front), self.frame(0x80, back)]
    }

    /// A Close, or its answer.
    pub(super) fn close(&mut self) -> Frame {
        let payload = match self.random.random_range(0..4) {
            0 => Vec::new(),
            1 => 1000_u16.to_be_bytes().to_vec(),
            _ => [&4001_u16.to_be_bytes()[..], b"bye"].concat(),
        };
        let mut frame = self.frame(0x88, &payload);
        frame.last = true;
        frame
    }

    /// Something that no later byte makes right; raw bytes are never wrong.
    pub(super) fn malformed(&mut self) -> Option<Frame> {
        let (masked, key) = match self.mask() {
            Some(key) => (0x80, key.to_vec()),
            None => (0, Vec::new()),
        };
        let head = |first: u8, second: u8, more: &[u8]| [&[first, second][..], more, &key].concat();
        let bytes = match self.wire {
            Wire::Raw | Wire::Line => return None,
            Wire::Prefix { bytes, max, .. } => {
                if bytes == 1 {
                    return None;
                }
                (max as u64 + 9).to_be_bytes()[8 - bytes..].to_vec()
            }
            Wire::WebSocket => match self.random.random_range(0..7) {
                0 => head(0x83, masked, b""),
                1 => head(0xc1, masked, b""),
                2 => head(0x81, masked ^ 0x80, &[0; 8]),
                3 => head(0x09, masked, b""),
                4 => head(0x89, masked | 126, &[0, 126]),
                5 => head(0x82, masked | 126, &[0, 5]),
                _ => head(0x82, masked | 127, &[0x80, 0, 0, 0, 0, 0, 0, 0]),
            },
        };
        let mut frame = Frame::of(bytes);
        (frame.bad, frame.last) = (true, true);
        Some(frame)
    }
}
