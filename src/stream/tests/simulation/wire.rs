//! A reader of the wire that is as simple as can be, and no part of the product: whole units from the front of the bytes.

/// How a stream is cut into units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wire {
    WebSocket,
    Line,
    /// Records behind a big-endian length of so many bytes, which counts itself or not; at most `max` bytes in all.
    Prefix {
        bytes: usize,
        includes_itself: bool,
        max: usize,
    },
    Raw,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A frame of a message; with `fin` the last.
    Data {
        opcode: u8,
        fin: bool,
    },
    Ping,
    Pong,
    Close,
    Record,
}

/// A frame or a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unit {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) kind: Kind,
    /// On ws without its mask; of a record all of it.
    pub(super) payload: Vec<u8>,
    pub(super) masked: bool,
}

impl Unit {
    /// A data message ends with it.
    pub(super) fn ends_message(&self) -> bool {
        matches!(self.kind, Kind::Data { fin: true, .. } | Kind::Record)
    }

    /// The direction stands between two messages behind it.
    pub(super) fn leaves_inside(&self, inside: bool) -> bool {
        match self.kind {
            Kind::Data { fin, .. } => !fin,
            Kind::Record => false,
            Kind::Ping | Kind::Pong | Kind::Close => inside,
        }
    }
}

impl Wire {
    /// The whole units of `bytes` from `start` on. Raw bytes have none.
    pub(super) fn units(self, bytes: &[u8], mut start: usize) -> Vec<Unit> {
        let mut units = Vec::new();
        while let Some(unit) = self.unit(bytes, start) {
            start = unit.end;
            units.push(unit);
        }
        units
    }

    fn unit(self, bytes: &[u8], start: usize) -> Option<Unit> {
        let rest = &bytes[start..];
        match self {
            Self::Raw => None,
            Self::WebSocket => frame(rest, start),
            Self::Line => {
                let end = rest.iter().position(|byte| *byte == b'\n')? + 1;
                Some(record(&rest[..end], start))
            }
            Self::Prefix {
                bytes,
                includes_itself,
                ..
            } => {
                let head = rest.get(..bytes)?;
                let told = head.iter().fold(0, |sum, byte| sum << 8 | *byte as usize);
                let size = if includes_itself { told } else { told + bytes };
                Some(record(rest.get(..size.max(bytes))?, start))
            }
        }
    }

    /// A payload as one unit for a client.
    pub(super) fn seal(self, payload: &[u8], binary: bool) -> Vec<u8> {
        match self {
            Self::WebSocket => encode(0x80 | if binary { 2 } else { 1 }, payload, None),
            Self::Raw => payload.to_vec(),
            Self::Line => [payload, b"\n"].concat(),
            Self::Prefix {
                bytes,
                includes_itself,
                ..
            } => {
                let told = payload.len() + if includes_itself { bytes } else { 0 };
                let told = (told as u64).to_be_bytes();
                [&told[8 - bytes..], payload].concat()
            }
        }
    }
}

fn record(bytes: &[u8], start: usize) -> Unit {
    Unit {
        start,
        end: start + bytes.len(),
        kind: Kind::Record,
        payload: bytes.to_vec(),
        masked: false,
    }
}

fn frame(rest: &[u8], start: usize) -> Option<Unit> {
    let (first, second) = (*rest.first()?, *rest.get(1)?);
    let (mut size, mut at) = (u64::from(second & 0x7f), 2);
    let more = match size {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    if more > 0 {
        let told = rest.get(2..2 + more)?;
        size = told.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        at += more;
    }
    let masked = second & 0x80 != 0;
    let mut key = [0; 4];
    if masked {
        key.copy_from_slice(rest.get(at..at + 4)?);
        at += 4;
    }
    let end = at.checked_add(usize::try_from(size).ok()?)?;
    let mut payload = rest.get(at..end)?.to_vec();
    for (place, byte) in payload.iter_mut().enumerate() {
        *byte ^= key[place % 4];
    }
    let kind = match first & 0x0f {
        8 => Kind::Close,
        9 => Kind::Ping,
        10 => Kind::Pong,
        opcode => Kind::Data {
            opcode,
            fin: first & 0x80 != 0,
        },
    };
    Some(Unit {
        start,
        end: start + end,
        kind,
        payload,
        masked,
    })
}

/// A frame with this first byte; the length in the fewest bytes.
pub(super) fn encode(first: u8, payload: &[u8], mask: Option<[u8; 4]>) -> Vec<u8> {
    let bit = if mask.is_some() { 0x80 } else { 0 };
    let mut frame = vec![first];
    match payload.len() {
        short @ 0..126 => frame.push(bit | short as u8),
        middle @ 126..0x1_0000 => {
            frame.push(bit | 126);
            frame.extend((middle as u16).to_be_bytes());
        }
        long => {
            frame.push(bit | 127);
            frame.extend((long as u64).to_be_bytes());
        }
    }
    frame.extend(mask.iter().flatten());
    let key = mask.unwrap_or_default();
    let masked = payload.iter().enumerate();
    frame.extend(masked.map(|(place, byte)| byte ^ key[place % 4]));
    frame
}
