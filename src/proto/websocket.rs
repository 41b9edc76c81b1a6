//! WebSocket frame heads in and out (RFC 6455 section 5.2); payloads are never looked at but for control frames.

/// `Sec-WebSocket-*` extension bits that the two ends agreed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Extensions {
    /// Reserved bits allowed on the first frame of a data message, as in the first byte (0x40 = RSV1).
    pub rsv: u8,
    /// An extension that we do not know was negotiated: any reserved bit and opcode may mean something to the two ends.
    pub unknown: bool,
}

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

/// Appends one unfragmented frame to `out`; `mask` is given for frames to an upstream.
pub fn encode(_opcode: u8, _payload: &[u8], _mask: Option<[u8; 4]>, _out: &mut Vec<u8>) {}

/// Appends a Close frame with code and text (cut at 123 bytes on a character boundary).
pub fn encode_close(_code: Option<u16>, _text: &str, _mask: Option<[u8; 4]>, _out: &mut Vec<u8>) {}
