use std::io::Cursor;

use proptest::prelude::*;
use tungstenite::protocol::frame::FrameHeader;

use super::*;

fn encoded(opcode: u8, payload: &[u8], mask: Option<[u8; 4]>) -> Vec<u8> {
    let mut out = vec![0xEE];
    encode(opcode, payload, mask, &mut out);
    assert_eq!(out.remove(0), 0xEE, "what is there stays");
    out
}

#[test]
fn the_frames_of_the_rfc() {
    // RFC 6455 section 5.7.
    assert_eq!(encoded(OPCODE_TEXT, b"Hello", None), b"\x81\x05Hello");
    assert_eq!(
        encoded(OPCODE_TEXT, b"Hello", Some(KEY)),
        [
            0x81, 0x85, 0x37, 0xFA, 0x21, 0x3D, 0x7F, 0x9F, 0x4D, 0x51, 0x58
        ]
    );
    let head = |len| encoded(OPCODE_BINARY, &vec![0; len], None)[..10].to_vec();
    assert_eq!(head(256)[..4], [0x82, 0x7E, 0x01, 0x00]);
    assert_eq!(head(65_536), [0x82, 0x7F, 0, 0, 0, 0, 0, 1, 0, 0]);
}

fn close_of(code: Option<u16>, text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    encode_close(code, text, None, &mut out);
    out
}

#[test]
fn a_close_carries_code_and_text() {
    let close = close_of(Some(1001), "client_idle");
    assert_eq!(close, b"\x88\x0D\x03\xE9client_idle");
    assert_eq!(close_of(None, "text"), b"\x88\x00");
}

#[test]
fn a_long_text_is_cut_between_two_characters() {
    let text = format!("{}é", "x".repeat(122));
    let close = close_of(Some(1000), &text);
    assert_eq!(close.len(), 2 + 2 + 122);
    let text = format!("{}é!", "x".repeat(121));
    let close = close_of(Some(1000), &text);
    assert_eq!(close.len(), 2 + 125);
    assert!(close.ends_with("é".as_bytes()));
}

proptest! {
    #[test]
    fn the_scanner_sees_what_was_encoded(
        opcode in prop::sample::select(vec![OPCODE_TEXT, OPCODE_BINARY, OPCODE_PING, OPCODE_PONG]),
        payload in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..=125),
            prop::collection::vec(any::<u8>(), 120..=130),
            prop::collection::vec(any::<u8>(), 65_530..=65_540),
        ],
        key in any::<Option<[u8; 4]>>(),
    ) {
        prop_assume!(opcode & CONTROL == 0 || payload.len() <= CONTROL_PAYLOAD_MAX);
        let stream = encoded(opcode, &payload, key);
        let from = if key.is_some() { End::Client } else { End::Upstream };
        let len = stream.len();
        let expected = match opcode {
            OPCODE_PING => Seen::Whole(Item::Ping { len }),
            OPCODE_PONG => {
                let token = payload.as_slice().try_into().ok();
                Seen::Whole(Item::Pong { len, token })
            }
            _ => data(len, Edge::Message),
        };
        prop_assert_eq!(seen(Scanner::websocket(from, PLAIN, None, None), &stream), [expected]);
        let (header, length) = FrameHeader::parse(&mut Cursor::new(&stream)).unwrap().unwrap();
        prop_assert_eq!(length, payload.len() as u64);
        prop_assert_eq!(header.mask, key);
        let mut sent = stream[len - payload.len()..].to_vec();
        if let Some(key) = key {
            apply_mask(&mut sent, key);
        }
        prop_assert_eq!(sent, payload);
    }

    #[test]
    fn a_close_comes_back_as_it_was_meant(
        code in 3000u16..5000,
        text in ".{0,140}",
        key in any::<[u8; 4]>(),
    ) {
        let mut stream = Vec::new();
        encode_close(Some(code), &text, Some(key), &mut stream);
        prop_assert!(stream.len() <= 131);
        let item = client(PLAIN).next(&stream).unwrap();
        let Item::Close { len, code: seen, text: kept } = item else { panic!("{item:?}") };
        prop_assert_eq!((len, seen), (stream.len(), Some(code)));
        prop_assert!(text.starts_with(&kept));
        prop_assert!(kept == text || kept.len() > CLOSE_TEXT_MAX - 4);
    }
}
