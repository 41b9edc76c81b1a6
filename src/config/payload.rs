//! `ping.data` and `ping.reply`: text, hex or base64, and whether they fit the framing.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::ready::Protocol;
use crate::proto::framing::{Framing, Payload};

/// A heartbeat is small; the scanner has to hold back a possible reply until it can be told.
const MOST: usize = 4096;

/// A payload that cannot be sent, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum PayloadError {
    #[error("`{0}` is no hexadecimal: write pairs of digits, such as `hex:0a0b`")]
    Hex(String),
    #[error("`{0}` is no base64: write it with its padding, such as `base64:cGluZw==`")]
    Base64(String),
    #[error("it is empty: write at least one byte")]
    Empty,
    #[error("it has {0} bytes: write at most {MOST}")]
    TooLong(usize),
    #[error(
        "on `framing: line` it is exactly one line: end it with one line feed, such as \"ping\\n\" in double quotes"
    )]
    NotOneLine,
    #[error(
        "on this framing it is exactly one record, its length included: {found} bytes that begin with a length of {announced}"
    )]
    NotOneRecord { found: usize, announced: String },
    #[error("it is longer than the framing's max of {0} bytes")]
    OverMax(u64),
}

/// Reads a payload for a listener of this protocol and framing.
pub(super) fn parse_payload(
    text: &str,
    protocol: Protocol,
    framing: Framing,
) -> Result<Payload, PayloadError> {
    let (bytes, binary) = decode(text)?;
    match bytes.len() {
        0 => return Err(PayloadError::Empty),
        length if length > MOST => return Err(PayloadError::TooLong(length)),
        _ => {}
    }
    if !protocol.is_websocket() {
        fit(&bytes, framing)?;
    }
    Ok(Payload {
        bytes: Arc::from(bytes),
        binary,
    })
}

/// The bytes, and whether they were written as bytes.
fn decode(text: &str) -> Result<(Vec<u8>, bool), PayloadError> {
    if let Some(digits) = text.strip_prefix("hex:") {
        let bytes = decode_hex(digits).ok_or_else(|| PayloadError::Hex(digits.to_owned()))?;
        return Ok((bytes, true));
    }
    if let Some(letters) = text.strip_prefix("base64:") {
        let bytes = STANDARD
            .decode(letters)
            .map_err(|_| PayloadError::Base64(letters.to_owned()))?;
        return Ok((bytes, true));
    }
    Ok((text.as_bytes().to_vec(), false))
}

fn decode_hex(digits: &str) -> Option<Vec<u8>> {
    let digits: Vec<u32> = digits
        .chars()
        .map(|c| c.to_digit(16))
        .collect::<Option<_>>()?;
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    digits
        .chunks_exact(2)
        .map(|pair| u8::try_from(pair[0] * 16 + pair[1]).ok())
        .collect()
}

/// Whether `bytes` are exactly one record.
fn fit(bytes: &[u8], framing: Framing) -> Result<(), PayloadError> {
    let length = bytes.len() as u64;
    let max = match framing {
        Framing::Raw => return Ok(()),
        Framing::Line { max } => {
            if bytes.iter().position(|b| *b == b'\n') != Some(bytes.len() - 1) {
                return Err(PayloadError::NotOneLine);
            }
            max
        }
        Framing::LengthPrefix {
            bytes: prefix,
            includes_itself,
            max,
        } => {
            let announced = bytes
                .get(..prefix.into())
                .map(|head| head.iter().fold(0, |n: u64, b| n << 8 | u64::from(*b)));
            let own = if includes_itself {
                0
            } else {
                u64::from(prefix)
            };
            if announced.and_then(|n| n.checked_add(own)) != Some(length) {
                return Err(PayloadError::NotOneRecord {
                    found: bytes.len(),
                    announced: announced.map_or_else(|| "nothing".to_owned(), |n| n.to_string()),
                });
            }
            max
        }
    };
    if length > max {
        return Err(PayloadError::OverMax(max));
    }
    Ok(())
}

/// Writes a payload as `parse_payload` reads it.
pub(super) fn format_payload(payload: &Payload) -> String {
    match std::str::from_utf8(&payload.bytes) {
        Ok(text)
            if !payload.binary && !text.starts_with("hex:") && !text.starts_with("base64:") =>
        {
            text.to_owned()
        }
        _ => format!("base64:{}", STANDARD.encode(&payload.bytes)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LINE: Framing = Framing::Line { max: 10 };

    fn prefix(bytes: u8, includes_itself: bool) -> Framing {
        Framing::LengthPrefix {
            bytes,
            includes_itself,
            max: 100,
        }
    }

    fn bytes(text: &str, framing: Framing) -> Result<Vec<u8>, PayloadError> {
        parse_payload(text, Protocol::Tcp, framing).map(|payload| payload.bytes.to_vec())
    }

    #[test]
    fn on_ws_text_is_text_and_the_rest_is_binary() {
        for (text, expected, binary) in [
            ("ping", &b"ping"[..], false),
            ("hex:0aFF", b"\x0a\xff", true),
            ("base64:cGluZw==", b"ping", true),
        ] {
            let payload = parse_payload(text, Protocol::Ws, Framing::Raw).unwrap();
            assert_eq!(
                (&*payload.bytes, payload.binary),
                (expected, binary),
                "{text}"
            );
        }
        for text in ["", "hex:", "hex:0", "hex:0g", "base64:cGluZw", "base64:*"] {
            assert!(
                parse_payload(text, Protocol::Ws, Framing::Raw).is_err(),
                "{text}"
            );
        }
        let long = "x".repeat(MOST + 1);
        assert_eq!(
            parse_payload(&long, Protocol::Wss, Framing::Raw),
            Err(PayloadError::TooLong(MOST + 1))
        );
    }

    #[test]
    fn on_tcp_it_is_exactly_one_record() {
        assert_eq!(bytes("ping\n", LINE), Ok(b"ping\n".to_vec()));
        assert_eq!(bytes("hex:0a", LINE), Ok(b"\n".to_vec()));
        assert_eq!(bytes("ping", LINE), Err(PayloadError::NotOneLine));
        assert_eq!(bytes("a\nb\n", LINE), Err(PayloadError::NotOneLine));
        assert_eq!(bytes("0123456789\n", LINE), Err(PayloadError::OverMax(10)));
        // The empty record of Workerman's Frame protocol.
        assert!(bytes("hex:00000004", prefix(4, true)).is_ok());
        assert!(bytes("hex:00000000", prefix(4, false)).is_ok());
        assert!(bytes("hex:0161", prefix(1, false)).is_ok());
        assert!(bytes("hex:0000000000000000", prefix(8, false)).is_ok());
        for text in ["hex:000000", "hex:00000005", "hex:0000000400", "ping"] {
            assert!(
                matches!(
                    bytes(text, prefix(4, true)),
                    Err(PayloadError::NotOneRecord { .. })
                ),
                "{text}"
            );
        }
        assert!(bytes("hex:ffffffffffffffff", prefix(8, false)).is_err());
        assert_eq!(bytes("any", Framing::Raw), Ok(b"any".to_vec()));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(data in proptest::collection::vec(any::<u8>(), 1..50), binary: bool) {
            let binary = binary || std::str::from_utf8(&data).is_err();
            let payload = Payload { bytes: Arc::from(data), binary };
            let again = parse_payload(&format_payload(&payload), Protocol::Tcp, Framing::Raw).unwrap();
            prop_assert_eq!(again.bytes, payload.bytes);
        }
    }
}
