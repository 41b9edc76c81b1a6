//! WebSocket frame heads in and out (RFC 6455 section 5.2); payloads are never looked at but for control frames.

mod frames;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz;
#[cfg(test)]
mod tests;

pub use frames::Frames;

/// `Sec-WebSocket-*` extension bits that the two ends agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Extensions {
    /// Reserved bits allowed on the first frame of a data message, as in the first byte (0x40 = RSV1).
    pub rsv: u8,
    /// An extension that we do not know was negotiated: any reserved bit and opcode may mean something to the two ends.
    pub unknown: bool,
}

/// A further fragment of a text or binary message.
pub const OPCODE_CONTINUATION: u8 = 0x0;
/// Text.
pub const OPCODE_TEXT: u8 = 0x1;
/// Binary.
pub const OPCODE_BINARY: u8 = 0x2;
/// Close.
pub const OPCODE_CLOSE: u8 = 0x8;
/// Ping.
pub const OPCODE_PING: u8 = 0x9;
/// Pong.
pub const OPCODE_PONG: u8 = 0xA;

/// First byte: the last frame of its message.
const FIN: u8 = 0x80;
/// First byte: RSV1 to RSV3.
const RSV: u8 = 0x70;
/// First byte.
const OPCODE: u8 = 0x0F;
/// The bit of an opcode that makes it a control frame (RFC 6455 section 5.5).
const CONTROL: u8 = 0x08;
/// Second byte: the payload is masked.
const MASKED: u8 = 0x80;
/// Second byte: the payload's length, or that it follows in 2 or 8 bytes.
const LENGTH: u8 = 0x7F;
const LENGTH_16: u8 = 126;
const LENGTH_64: u8 = 127;

/// The most payload bytes of a control frame (RFC 6455 section 5.5).
const CONTROL_PAYLOAD_MAX: usize = 125;
/// The longest text of a Close frame: the code takes two bytes of the payload.
const CLOSE_TEXT_MAX: usize = CONTROL_PAYLOAD_MAX - 2;

/// Appends one unfragmented frame to `out`; `mask` is given for frames to an upstream.
/// The payload of a control frame has at most 125 bytes.
pub fn encode(opcode: u8, payload: &[u8], mask: Option<[u8; 4]>, out: &mut Vec<u8>) {
    out.reserve(HEAD_MAX + payload.len());
    encode_head(opcode, payload.len(), mask, out);
    let start = out.len();
    out.extend_from_slice(payload);
    if let Some(key) = mask {
        apply_mask(&mut out[start..], key);
    }
}

/// Appends the head of one unfragmented frame with `payload` bytes to come.
pub fn encode_head(opcode: u8, payload: usize, mask: Option<[u8; 4]>, out: &mut Vec<u8>) {
    let masked = if mask.is_some() { MASKED } else { 0 };
    out.push(FIN | opcode);
    match payload {
        len if len < usize::from(LENGTH_16) => out.push(masked | len as u8),
        len => match u16::try_from(len) {
            Ok(len) => {
                out.push(masked | LENGTH_16);
                out.extend_from_slice(&len.to_be_bytes());
            }
            Err(_) => {
                out.push(masked | LENGTH_64);
                out.extend_from_slice(&(len as u64).to_be_bytes());
            }
        },
    }
    if let Some(key) = mask {
        out.extend_from_slice(&key);
    }
}

/// The unmasked payload of one message, given all its frames and nothing else; `None` if that is not what they are.
pub fn payload_of(mut frames: &[u8]) -> Option<Vec<u8>> {
    let mut message = Vec::new();
    loop {
        let head = Head::parse(frames).ok()??;
        let end = usize::try_from(head.payload).ok()?.checked_add(head.size)?;
        let (frame, rest) = frames.split_at_checked(end)?;
        let start = message.len();
        message.extend_from_slice(&frame[head.size..]);
        if let Some(key) = head.key {
            apply_mask(&mut message[start..], key);
        }
        if head.fin() {
            return rest.is_empty().then_some(message);
        }
        frames = rest;
    }
}

/// Appends a Close frame with code and text (cut at 123 bytes on a character boundary). Without a code the frame is empty.
pub fn encode_close(code: Option<u16>, text: &str, mask: Option<[u8; 4]>, out: &mut Vec<u8>) {
    let mut payload = [0; CONTROL_PAYLOAD_MAX];
    let len = match code {
        Some(code) => {
            let text = &text.as_bytes()[..text.floor_char_boundary(CLOSE_TEXT_MAX)];
            payload[..2].copy_from_slice(&code.to_be_bytes());
            payload[2..2 + text.len()].copy_from_slice(text);
            2 + text.len()
        }
        None => 0,
    };
    encode(OPCODE_CLOSE, &payload[..len], mask, out);
}

/// Masks a whole payload, or takes its mask off again (RFC 6455 section 5.3).
pub fn apply_mask(payload: &mut [u8], key: [u8; 4]) {
    for four in payload.chunks_mut(key.len()) {
        for (byte, key) in four.iter_mut().zip(key) {
            *byte ^= key;
        }
    }
}

/// The longest head: two bytes, eight of a length, four of a masking key.
pub const HEAD_MAX: usize = 14;

/// A frame head as it is on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Head {
    /// FIN, reserved bits and opcode.
    first: u8,
    /// The masking key.
    key: Option<[u8; 4]>,
    /// Bytes of the payload.
    payload: u64,
    /// Bytes of the head itself.
    size: usize,
}

impl Head {
    /// Reads the head at the front of `input`; `None` if it is not whole.
    #[inline]
    fn parse(input: &[u8]) -> Result<Option<Self>, &'static str> {
        let &[first, second, ref rest @ ..] = input else {
            return Ok(None);
        };
        let (payload, rest) = match second & LENGTH {
            LENGTH_16 => {
                let Some((length, rest)) = rest.split_first_chunk() else {
                    return Ok(None);
                };
                let payload = u64::from(u16::from_be_bytes(*length));
                if payload < u64::from(LENGTH_16) {
                    return Err(NOT_MINIMAL);
                }
                (payload, rest)
            }
            LENGTH_64 => {
                let Some((length, rest)) = rest.split_first_chunk() else {
                    return Ok(None);
                };
                let payload = u64::from_be_bytes(*length);
                if payload <= u64::from(u16::MAX) {
                    return Err(NOT_MINIMAL);
                }
                if payload > i64::MAX as u64 {
                    return Err(LENGTH_OVER_63_BITS);
                }
                (payload, rest)
            }
            short => (u64::from(short), rest),
        };
        let (key, rest) = if second & MASKED == 0 {
            (None, rest)
        } else {
            let Some((key, rest)) = rest.split_first_chunk() else {
                return Ok(None);
            };
            (Some(*key), rest)
        };
        Ok(Some(Self {
            first,
            key,
            payload,
            size: input.len() - rest.len(),
        }))
    }

    fn fin(self) -> bool {
        self.first & FIN != 0
    }
}

const LENGTH_OVER_63_BITS: &str = "a frame's length has more than 63 bits";
const NOT_MINIMAL: &str = "a frame's length is not encoded in the fewest bytes";
