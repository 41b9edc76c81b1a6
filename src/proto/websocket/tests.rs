use std::io::Cursor;

use proptest::prelude::*;
use tungstenite::protocol::frame::FrameHeader;

use super::*;
use crate::proto::cause::End;
use crate::proto::framing::fuzz::{Seen, walk};
use crate::proto::framing::{Edge, Item, Payload, Scanner, Violation};

const KEY: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];
const PLAIN: Extensions = Extensions {
    rsv: 0,
    unknown: false,
};
const DEFLATE: Extensions = Extensions {
    rsv: 0x40,
    unknown: false,
};
const UNKNOWN: Extensions = Extensions {
    rsv: 0,
    unknown: true,
};

/// A client's frame with a payload of less than 126 bytes.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first, 0x80 | payload.len() as u8];
    frame.extend(KEY);
    frame.extend(payload.iter().zip(KEY.iter().cycle()).map(|(b, k)| b ^ k));
    frame
}

/// The head of a client's frame whose length takes 2 or 8 bytes.
fn long_head(first: u8, length: &[u8]) -> Vec<u8> {
    let form = if length.len() == 2 { 0xFE } else { 0xFF };
    let mut head = vec![first, form];
    head.extend(length);
    head.extend(KEY);
    head
}

fn client(extensions: Extensions) -> Scanner {
    Scanner::websocket(End::Client, extensions, None, None)
}

fn limited(max: u64) -> Scanner {
    Scanner::websocket(End::Client, PLAIN, Some(max), None)
}

fn upstream() -> Scanner {
    Scanner::websocket(End::Upstream, PLAIN, None, None)
}

fn with_reply(reply: &[u8], binary: bool) -> Scanner {
    let reply = Payload {
        bytes: reply.into(),
        binary,
    };
    Scanner::websocket(End::Client, PLAIN, None, Some(&reply))
}

fn data(len: usize, edge: Edge) -> Seen {
    Seen::Data {
        len,
        edge,
        message: edge == Edge::Message,
    }
}

fn seen(scanner: Scanner, stream: &[u8]) -> Vec<Seen> {
    let whole = walk(scanner, [stream]);
    assert_eq!(whole.1, 0, "nothing is held back");
    whole.0
}

/// The sentence of the violation that ends the stream, after nothing else was seen.
fn refused(scanner: Scanner, stream: &[u8]) -> &'static str {
    match seen(scanner, stream).as_slice() {
        [Seen::Violation(Violation::Protocol(why))] => why,
        other => panic!("{other:?}"),
    }
}

mod base_framing {
    use super::*;

    #[test]
    fn every_length_form_passes() {
        for (length, form) in [(0, 0), (125, 0), (126, 2), (65_535, 2), (65_536, 8)] {
            let mut stream = match form {
                0 => frame(0x82, &vec![0; length]),
                2 => long_head(0x82, &(length as u16).to_be_bytes()),
                _ => long_head(0x82, &(length as u64).to_be_bytes()),
            };
            stream.resize(2 + form + 4 + length, 0);
            let expected = vec![data(stream.len(), Edge::Message)];
            assert_eq!(seen(client(PLAIN), &stream), expected, "{length} bytes");
        }
    }

    #[test]
    fn a_length_must_be_encoded_in_the_fewest_bytes() {
        for length in [&[0, 0][..], &[0, 125], &[0; 8], &65_535u64.to_be_bytes()] {
            let stream = long_head(0x82, length);
            assert_eq!(refused(client(PLAIN), &stream), NOT_MINIMAL, "{length:?}");
        }
    }

    #[test]
    fn a_length_has_63_bits() {
        let largest = long_head(0x82, &(u64::MAX >> 1).to_be_bytes());
        let expected = vec![data(largest.len(), Edge::Inside)];
        assert_eq!(seen(client(PLAIN), &largest), expected);
        let too_large = long_head(0x82, &(1u64 << 63).to_be_bytes());
        let why = refused(client(PLAIN), &too_large);
        assert_eq!(why, "a frame's length has more than 63 bits");
    }

    #[test]
    fn a_head_is_read_only_when_it_is_whole() {
        for length in [&[][..], &[1, 0], &(1u64 << 20).to_be_bytes()] {
            let head = match length {
                [] => frame(0x82, b"x")[..6].to_vec(),
                _ => long_head(0x82, length),
            };
            let mut scanner = client(PLAIN);
            for end in 1..head.len() {
                assert_eq!(scanner.next(&head[..end]), Ok(Item::Incomplete));
                assert_eq!(scanner.edge(), Edge::Message);
            }
            let item = scanner.next(&head).unwrap();
            let Item::Data { len, edge, message } = item else {
                panic!("{item:?}")
            };
            assert_eq!((len, edge, message), (head.len(), Edge::Inside, false));
        }
    }

    #[test]
    fn a_payload_passes_as_it_comes() {
        let stream = frame(0x81, b"hello");
        let mut scanner = client(PLAIN);
        let mut next = |input: &[u8]| match scanner.next(input).unwrap() {
            Item::Data { len, edge, message } => (len, edge, message),
            other => panic!("{other:?}"),
        };
        assert_eq!(next(&stream[..8]), (8, Edge::Inside, false));
        assert_eq!(next(&stream[8..10]), (2, Edge::Inside, false));
        // The frame's last byte, and the next frame behind it.
        assert_eq!(next(&[stream[10], 0x81, 0x80]), (1, Edge::Message, true));
    }

    #[test]
    fn reserved_opcodes_are_refused() {
        let mut tried = 0;
        for opcode in (0x3..=0x7).chain(0xB..=0xF) {
            let why = refused(client(PLAIN), &frame(0x80 | opcode, b""));
            assert!(why.contains("reserved opcode"), "{why}");
            tried += 1;
        }
        assert_eq!(tried, 10);
    }

    #[test]
    fn the_first_two_bytes_are_judged_without_waiting_for_more() {
        assert_eq!(
            client(PLAIN).next(&[0x83, 0x80]),
            Err(Violation::Protocol("a data frame of a reserved opcode"))
        );
        assert_eq!(client(PLAIN).next(&[0x83]), Ok(Item::Incomplete));
    }

    #[test]
    fn tls_bytes_are_refused() {
        let client_hello = [0x16, 0x03, 0x01, 0x02, 0x00, 0x01];
        refused(client(PLAIN), &client_hello);
        refused(upstream(), &client_hello);
    }
}

mod masking {
    use super::*;

    #[test]
    fn a_client_must_mask() {
        let why = "an unmasked frame from the client";
        assert_eq!(refused(client(PLAIN), &[0x81, 0x01, b'x']), why);
        assert_eq!(refused(client(UNKNOWN), &[0x89, 0x00]), why);
    }

    #[test]
    fn an_upstream_must_not_mask() {
        let why = "a masked frame from the upstream";
        assert_eq!(refused(upstream(), &frame(0x81, b"x")), why);
        assert_eq!(refused(upstream(), &frame(0x8A, b"")), why);
        let expected = vec![data(3, Edge::Message)];
        assert_eq!(seen(upstream(), &[0x81, 0x01, b'x']), expected);
    }

    #[test]
    fn the_mask_of_the_rfc() {
        // RFC 6455 section 5.7.
        let mut hello = [0x7F, 0x9F, 0x4D, 0x51, 0x58];
        apply_mask(&mut hello, KEY);
        assert_eq!(&hello, b"Hello");
    }
}

mod fragmentation {
    use super::*;

    #[test]
    fn a_message_ends_with_its_last_fragment() {
        let stream = [
            frame(0x01, b"Hel"),
            frame(0x00, b""),
            frame(0x80, b"lo"),
            frame(0x82, b""),
        ];
        let expected = vec![
            data(9, Edge::Frame),
            data(6, Edge::Frame),
            data(8, Edge::Message),
            data(6, Edge::Message),
        ];
        assert_eq!(seen(client(PLAIN), &stream.concat()), expected);
    }

    #[test]
    fn control_frames_between_fragments_leave_the_edge() {
        // netty #14118.
        let stream = [
            frame(0x01, b"a"),
            frame(0x89, b"p"),
            frame(0x8A, b""),
            frame(0x80, b"b"),
            frame(0x89, b""),
        ];
        let expected = vec![
            data(7, Edge::Frame),
            Seen::Whole(Item::Ping { len: 7 }),
            Seen::Whole(Item::Pong {
                len: 6,
                token: None,
            }),
            data(7, Edge::Message),
            Seen::Whole(Item::Ping { len: 6 }),
        ];
        assert_eq!(seen(client(PLAIN), &stream.concat()), expected);
    }

    #[test]
    fn a_continuation_needs_a_message() {
        let why = "a continuation frame outside of a fragmented message";
        assert_eq!(refused(client(PLAIN), &frame(0x80, b"x")), why);
        assert_eq!(refused(client(PLAIN), &frame(0x00, b"x")), why);
        let stream = [frame(0x81, b"x"), frame(0x80, b"x")].concat();
        let violation = Seen::Violation(Violation::Protocol(why));
        let expected = vec![data(7, Edge::Message), violation];
        assert_eq!(seen(client(PLAIN), &stream), expected);
    }

    #[test]
    fn a_new_message_must_wait_for_the_end_of_the_last() {
        for first in [0x01, 0x02, 0x81, 0x82] {
            let stream = [frame(0x02, b"x"), frame(first, b"x")].concat();
            let why = Violation::Protocol("a new message within a fragmented one");
            let expected = vec![data(7, Edge::Frame), Seen::Violation(why)];
            assert_eq!(seen(client(PLAIN), &stream), expected);
        }
    }
}

mod control_frames {
    use super::*;

    #[test]
    fn are_judged_whole() {
        for first in [0x88, 0x89, 0x8A] {
            let stream = frame(first, &[b'x'; 125]);
            assert_eq!(stream.len(), 131);
            let mut scanner = client(PLAIN);
            for end in 1..stream.len() {
                assert_eq!(scanner.next(&stream[..end]), Ok(Item::Incomplete));
            }
            assert_eq!(
                scanner.hold_max(),
                stream.len(),
                "and no more than that is held"
            );
            let item = scanner.next(&stream).unwrap();
            assert!(!matches!(item, Item::Incomplete | Item::Data { .. }));
        }
    }

    #[test]
    fn have_at_most_125_bytes() {
        for form in [0xFE, 0xFF] {
            let why = refused(client(PLAIN), &[0x89, form]);
            assert_eq!(why, "a control frame of more than 125 bytes");
        }
    }

    #[test]
    fn are_not_fragmented() {
        for first in [0x08, 0x09, 0x0A] {
            let why = refused(client(PLAIN), &frame(first, b""));
            assert_eq!(why, "a fragmented control frame");
        }
    }

    #[test]
    fn a_pong_of_eight_bytes_carries_a_token() {
        let pong = |payload: &[u8]| {
            let stream = frame(0x8A, payload);
            client(PLAIN).next(&stream).unwrap()
        };
        let with = |len, token| Item::Pong { len, token };
        assert_eq!(pong(b"12345678"), with(14, Some(*b"12345678")));
        assert_eq!(pong(b"1234567"), with(13, None));
        assert_eq!(pong(b"123456789"), with(15, None));
        assert_eq!(
            upstream().next(b"\x8A\x0812345678"),
            Ok(with(10, Some(*b"12345678")))
        );
    }
}

mod closing {
    use super::*;

    fn close(payload: &[u8]) -> (Option<u16>, String) {
        let stream = frame(0x88, payload);
        match client(PLAIN).next(&stream) {
            Ok(Item::Close { len, code, text }) if len == stream.len() => (code, text),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn code_and_text_are_read() {
        assert_eq!(close(b"\x03\xE8bye"), (Some(1000), "bye".into()));
        assert_eq!(close(b"\x03\xE9"), (Some(1001), String::new()));
        assert_eq!(close(b""), (None, String::new()));
    }

    #[test]
    fn an_invalid_payload_is_for_the_peer_to_judge() {
        assert_eq!(close(b"\x03"), (None, String::new()));
        assert_eq!(
            close(b"\x03\xE8\xFFx"),
            (Some(1000), "\u{FFFD}x".to_owned())
        );
    }

    #[test]
    fn only_codes_that_may_be_sent_are_codes() {
        let valid = |code: &u16| close(&code.to_be_bytes()).0 == Some(*code);
        let codes: Vec<_> = (0..=u16::MAX).filter(valid).collect();
        assert_eq!(
            codes[..12],
            [
                1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014
            ]
        );
        assert_eq!(codes[12..], (3000..=4999).collect::<Vec<_>>());
    }

    #[test]
    fn nothing_behind_a_close_is_looked_at() {
        let stream = [frame(0x88, b""), vec![0xFF; 20]].concat();
        let item = client(PLAIN).next(&stream);
        assert!(matches!(item, Ok(Item::Close { len: 6, .. })));
    }
}

mod extensions {
    use super::*;

    #[test]
    fn reserved_bits_without_extension_are_refused() {
        for rsv in [0x10, 0x20, 0x40, 0x70] {
            let why = refused(client(PLAIN), &frame(0x81 | rsv, b""));
            assert!(why.contains("reserved bit"), "{why}");
        }
    }

    #[test]
    fn deflate_marks_the_first_frame_of_a_message_only() {
        // RFC 7692 section 6.
        let stream = [frame(0x41, b"a"), frame(0x80, b"b"), frame(0xC2, b"")].concat();
        let expected = vec![
            data(7, Edge::Frame),
            data(7, Edge::Message),
            data(6, Edge::Message),
        ];
        assert_eq!(seen(client(DEFLATE), &stream), expected);
        refused(client(DEFLATE), &frame(0xC9, b""));
        refused(client(DEFLATE), &frame(0xA1, b""));
        refused(client(DEFLATE), &frame(0xC0, b""));
        let stream = [frame(0x41, b"a"), frame(0xC0, b"b")].concat();
        let last = seen(client(DEFLATE), &stream).pop().unwrap();
        assert!(matches!(last, Seen::Violation(Violation::Protocol(_))));
    }

    #[test]
    fn an_unknown_extension_may_use_every_bit_and_opcode() {
        let ctl = |len, edge| Seen::Data {
            len,
            edge,
            message: false,
        };
        let stream = [
            frame(0xF3, b"a"),
            frame(0xBB, b"c"),
            frame(0x47, b"a"),
            frame(0xFF, b"c"),
            frame(0xF9, b""),
            frame(0xA0, b"b"),
        ];
        let expected = vec![
            data(7, Edge::Message),
            ctl(7, Edge::Message),
            data(7, Edge::Frame),
            ctl(7, Edge::Frame),
            Seen::Whole(Item::Ping { len: 6 }),
            data(7, Edge::Message),
        ];
        assert_eq!(seen(client(UNKNOWN), &stream.concat()), expected);
    }

    #[test]
    fn an_unknown_extension_changes_no_order() {
        refused(client(UNKNOWN), &frame(0x80, b""));
        refused(client(UNKNOWN), &frame(0x0B, b""));
        refused(client(UNKNOWN), &[0x8B, 0xFE]);
        let stream = [frame(0x03, b"a"), frame(0x83, b"b")].concat();
        let last = seen(client(UNKNOWN), &stream).pop().unwrap();
        assert!(matches!(last, Seen::Violation(Violation::Protocol(_))));
    }
}

mod limits {
    use super::*;

    const TOO_BIG: Violation = Violation::TooBig { limit: 5 };

    #[test]
    fn a_message_may_be_as_large_as_the_limit() {
        let stream = [frame(0x81, b"12345"), frame(0x81, b"12345")].concat();
        let expected = vec![data(11, Edge::Message); 2];
        assert_eq!(seen(limited(5), &stream), expected);
    }

    #[test]
    fn a_larger_one_is_refused_by_its_head() {
        let head = &frame(0x81, b"123456")[..6];
        assert_eq!(limited(5).next(head), Err(TOO_BIG));
    }

    #[test]
    fn all_fragments_count() {
        let stream = [frame(0x01, b"123"), frame(0x89, b"123"), frame(0x80, b"12")].concat();
        assert_eq!(seen(limited(5), &stream).len(), 3);
        let stream = [frame(0x01, b"123"), frame(0x80, b"123")].concat();
        let expected = vec![data(9, Edge::Frame), Seen::Violation(TOO_BIG)];
        assert_eq!(seen(limited(5), &stream), expected);
    }
}

mod reply {
    use super::*;

    fn reply(len: usize) -> Seen {
        Seen::Whole(Item::Reply { len })
    }

    #[test]
    fn a_message_of_that_payload_is_one() {
        let stream = [frame(0x81, b"pong"), frame(0x81, b"pong?")].concat();
        let expected = vec![reply(10), data(11, Edge::Message)];
        assert_eq!(seen(with_reply(b"pong", false), &stream), expected);
    }

    #[test]
    fn a_part_of_it_is_data() {
        let stream = [
            frame(0x81, b"po"),
            frame(0x81, b""),
            frame(0x01, b"po"),
            frame(0x80, b"n"),
        ];
        let expected = vec![
            data(8, Edge::Message),
            data(6, Edge::Message),
            data(8, Edge::Frame),
            data(7, Edge::Message),
        ];
        let seen = seen(with_reply(b"pong", false), &stream.concat());
        assert_eq!(seen, expected);
    }

    #[test]
    fn its_kind_matters() {
        let text = frame(0x81, b"pong");
        let binary = frame(0x82, b"pong");
        let passes = vec![data(10, Edge::Message)];
        assert_eq!(seen(with_reply(b"pong", false), &binary), passes);
        assert_eq!(seen(with_reply(b"pong", true), &text), passes);
        assert_eq!(seen(with_reply(b"pong", true), &binary), vec![reply(10)]);
    }

    #[test]
    fn fragments_make_one() {
        let stream = [
            frame(0x01, b""),
            frame(0x00, b"po"),
            frame(0x00, b"ng"),
            frame(0x80, b""),
        ]
        .concat();
        let expected = vec![reply(stream.len())];
        assert_eq!(seen(with_reply(b"pong", false), &stream), expected);
    }

    #[test]
    fn a_control_frame_in_between_makes_it_data() {
        let stream = [frame(0x01, b"po"), frame(0x89, b""), frame(0x80, b"ng")].concat();
        let expected = vec![
            data(8, Edge::Frame),
            Seen::Whole(Item::Ping { len: 6 }),
            data(8, Edge::Message),
        ];
        assert_eq!(seen(with_reply(b"pong", false), &stream), expected);
    }

    #[test]
    fn it_is_not_looked_for_within_a_message() {
        let stream = [frame(0x01, b"a"), frame(0x80, b"pong")].concat();
        let expected = vec![data(7, Edge::Frame), data(10, Edge::Message)];
        assert_eq!(seen(with_reply(b"pong", false), &stream), expected);
    }

    #[test]
    fn it_is_held_back_only_as_long_as_it_can_be_one() {
        let mut scanner = with_reply(b"pong", false);
        let good = frame(0x81, b"pong");
        for end in 1..good.len() {
            assert_eq!(scanner.next(&good[..end]), Ok(Item::Incomplete));
        }
        let bad = frame(0x81, b"poNg");
        assert_eq!(scanner.next(&bad[..8]), Ok(Item::Incomplete));
        let item = scanner.next(&bad[..9]);
        assert!(matches!(item, Ok(Item::Data { len: 9, .. })), "{item:?}");
        // Another length is enough to know.
        let longer = frame(0x81, b"pong?");
        let item = with_reply(b"pong", false).next(&longer[..6]);
        assert!(matches!(item, Ok(Item::Data { len: 6, .. })), "{item:?}");
    }

    #[test]
    fn endless_fragments_are_data() {
        let mut scanner = with_reply(b"pong", false);
        let mut stream = frame(0x01, b"");
        while matches!(scanner.next(&stream), Ok(Item::Incomplete)) {
            assert!(stream.len() <= scanner.hold_max());
            assert_eq!(scanner.hold_max(), client(PLAIN).hold_max() + 4);
            stream.extend(frame(0x00, b""));
        }
        assert_eq!(seen(scanner, &stream[6..])[0], data(6, Edge::Frame));
    }

    #[test]
    fn fragments_that_cannot_be_held_back_are_data() {
        let mut scanner = with_reply(&[7; 40], true);
        let head = &frame(0x80, &[7; 40])[..6];
        let fragments = (scanner.hold_max() - HEAD_MAX) / head.len();
        let mut stream = frame(0x02, b"");
        stream.extend(frame(0x00, b"").repeat(fragments - 1));
        assert_eq!(scanner.next(&stream), Ok(Item::Incomplete));
        stream.extend(head);
        assert!(stream.len() + 40 > scanner.hold_max());
        let item = scanner.next(&stream);
        assert!(matches!(item, Ok(Item::Data { len: 6, .. })), "{item:?}");
    }

    #[test]
    fn a_violation_in_its_middle_is_one() {
        let nested = "a new message within a fragmented one";
        let unmasked = "an unmasked frame from the client";
        let second = [
            (frame(0x81, b"ng"), nested),
            (b"\x80\x02ng".to_vec(), unmasked),
        ];
        for (second, why) in second {
            let stream = [frame(0x01, b"po"), second].concat();
            let why = Violation::Protocol(why);
            let expected = vec![data(8, Edge::Frame), Seen::Violation(why)];
            assert_eq!(seen(with_reply(b"pong", false), &stream), expected);
        }
    }

    #[test]
    fn one_over_the_limit_is_too_big() {
        let reply = Payload {
            bytes: b"pong".as_slice().into(),
            binary: false,
        };
        let mut scanner = Scanner::websocket(End::Client, PLAIN, Some(3), Some(&reply));
        let item = scanner.next(&frame(0x81, b"pong"));
        assert_eq!(item, Err(Violation::TooBig { limit: 3 }));
    }

    #[test]
    fn a_compressed_frame_is_none() {
        let reply = Payload {
            bytes: b"pong".as_slice().into(),
            binary: false,
        };
        let scanner = Scanner::websocket(End::Client, DEFLATE, None, Some(&reply));
        let expected = vec![data(10, Edge::Message)];
        assert_eq!(seen(scanner, &frame(0xC1, b"pong")), expected);
    }
}

mod encoding {
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
}

mod oracle {
    use super::*;

    /// A head as another implementation reads it, where that knows all that ours refuses.
    fn by_tungstenite(input: &[u8]) -> Option<(FrameHeader, u64, usize)> {
        let mut cursor = Cursor::new(input);
        let (header, length) = FrameHeader::parse(&mut cursor).ok()??;
        Some((header, length, cursor.position() as usize))
    }

    proptest! {
        #[test]
        fn heads_are_read_alike(mut input in prop::collection::vec(any::<u8>(), 0..20), form in 0u8..6) {
            if let [first, second, rest @ ..] = input.as_mut_slice() {
                // Make long lengths that are small enough, and opcodes that are known, frequent.
                match form {
                    0 => { *second |= 0x7F; rest.iter_mut().take(4).for_each(|b| *b = 0); }
                    1 => *second = (*second | 0x7E) & !1,
                    _ => {}
                }
                if form > 2 {
                    *first &= !0x04;
                }
            }
            let Ok(Some(ours)) = Head::parse(&input) else { return Ok(()) };
            match by_tungstenite(&input) {
                Some((header, length, size)) => {
                    prop_assert_eq!(ours.payload, length);
                    prop_assert_eq!(ours.size, size);
                    prop_assert_eq!(ours.key, header.mask);
                    prop_assert_eq!(ours.fin(), header.is_final);
                    prop_assert_eq!(ours.first & OPCODE, u8::from(header.opcode));
                    let rsv = [header.rsv1, header.rsv2, header.rsv3];
                    prop_assert_eq!([0x40, 0x20, 0x10].map(|bit| ours.first & bit != 0), rsv);
                }
                // Its parser refuses these before any extension is asked.
                None => prop_assert!(matches!(ours.first & OPCODE, 0x3..=0x7 | 0xB..=0xF)),
            }
        }

        #[test]
        fn what_is_not_whole_for_one_is_not_for_the_other(input in prop::collection::vec(any::<u8>(), 0..16)) {
            let theirs = FrameHeader::parse(&mut Cursor::new(&input));
            if let (Ok(ours), Ok(theirs)) = (Head::parse(&input), theirs) {
                prop_assert_eq!(ours.is_some(), theirs.is_some());
            }
        }
    }
}

mod differential {
    use super::*;
    use crate::proto::websocket::fuzz::frames;

    /// The corpus of the fuzz target.
    #[test]
    fn the_corpus_is_read_alike() {
        let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus/frames");
        let mut files = 0;
        for entry in std::fs::read_dir(corpus).unwrap() {
            frames(&std::fs::read(entry.unwrap().path()).unwrap());
            files += 1;
        }
        assert_eq!(files, 26);
    }

    proptest! {
        /// Frames of any kind, most of them well-formed alone, in any order.
        #[test]
        fn streams_are_read_alike(
            from in 0u8..2,
            firsts in prop::collection::vec((prop::sample::select(vec![
                0x00, 0x01, 0x02, 0x80, 0x81, 0x82, 0x88, 0x89, 0x8a, 0x09, 0x83, 0xc1, 0x8b,
            ]), 0usize..300, any::<bool>()), 0..8),
            cut in 0usize..20,
        ) {
            let mut stream = vec![from];
            for (first, size, right) in firsts {
                let start = stream.len();
                let size = if first & 0x08 != 0 && right { size % 126 } else { size };
                let mask = ((from == 0) == right).then_some([1, 2, 3, 4]);
                encode(first & 0x0f, &vec![b'x'; size], mask, &mut stream);
                stream[start] = first;
            }
            stream.truncate(stream.len() - cut.min(stream.len() - 1));
            frames(&stream);
        }
    }
}
