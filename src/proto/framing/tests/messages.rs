//! Whole messages: made for a client, opened again, and passed without being looked at.

use super::*;
use crate::proto::cause::End;
use crate::proto::websocket::Extensions;

fn frames(reply: Option<&Payload>) -> Scanner {
    Scanner::websocket(End::Upstream, Extensions::default(), None, reply)
}

fn too_large<T>(limit: u64) -> Result<T, Unfit> {
    Err(Unfit::TooLarge { limit })
}

/// What goes before and behind a payload.
fn sealed(scanner: &Scanner, payload: &[u8]) -> Result<(Vec<u8>, &'static [u8]), Unfit> {
    let seal = scanner.seal(payload, false);
    seal.map(|seal| (seal.head, seal.tail))
}

#[test]
fn a_line_gets_its_end_and_is_one() {
    let line = line(5);
    assert_eq!(sealed(&line, b""), Ok((vec![], &b"\n"[..])));
    assert_eq!(sealed(&line, b"abcd"), Ok((vec![], &b"\n"[..])));
    assert_eq!(sealed(&line, b"abcd\n"), Ok((vec![], &b""[..])));
    assert_eq!(sealed(&line, b"abcde"), too_large(5));
    assert_eq!(sealed(&line, b"abcde\n"), too_large(5));
    for several in [&b"a\nb"[..], b"a\nb\n", b"\na", b"\n\n"] {
        assert_eq!(sealed(&line, several), Err(Unfit::SeveralLines));
    }
}

#[test]
fn a_record_gets_its_length_as_far_as_it_goes() {
    let head = |head: &[u8]| Ok((head.to_vec(), &b""[..]));
    let (most, long) = (&[0; 255][..], &[0; 256][..]);
    assert_eq!(sealed(&prefix(1, false, 300), most), head(&[255]));
    assert_eq!(sealed(&prefix(1, false, 300), long), too_large(256));
    assert_eq!(sealed(&prefix(1, true, 300), &most[1..]), head(&[255]));
    assert_eq!(sealed(&prefix(1, true, 300), most), too_large(255));
    for includes_itself in [false, true] {
        let short = prefix(2, includes_itself, 10);
        let length = if includes_itself { 10 } else { 8 };
        assert_eq!(sealed(&short, b"12345678"), head(&[0, length]));
        assert_eq!(sealed(&short, b"123456789"), too_large(10));
    }
    assert_eq!(sealed(&prefix(2, false, 999), long), head(&[1, 0]));
    assert_eq!(sealed(&prefix(4, true, 999), b"12345"), head(&[0, 0, 0, 9]));
    let widest = prefix(8, false, u64::MAX);
    assert_eq!(sealed(&widest, long), head(&[0, 0, 0, 0, 0, 0, 1, 0]));
}

#[test]
fn a_frame_for_a_client_is_whole_and_not_masked() {
    let seal = |binary| frames(None).seal(b"abc", binary).unwrap();
    assert_eq!(
        (seal(false).head, seal(false).tail),
        (vec![0x81, 3], &b""[..])
    );
    assert_eq!(seal(true).head, [0x82, 3]);
    assert_eq!(Scanner::raw().seal(b"a\nb", true), Ok(Seal::default()));
}

#[test]
fn one_message_is_opened() {
    let opened = |scanner: Scanner, wire: &[u8]| scanner.open(wire);
    let ab = || Some(b"ab".to_vec());
    assert_eq!(opened(frames(None), b"\x81\x02ab"), ab());
    assert_eq!(opened(frames(None), b"\x01\x01a\x80\x01b"), ab());
    assert_eq!(opened(frames(None), b"\x81\x02ab\x81\x00"), None);
    assert_eq!(opened(frames(None), b"\x01\x02ab"), None);
    assert_eq!(opened(line(9), b"ab\n"), ab());
    assert_eq!(opened(line(9), b"ab\r\n"), ab());
    assert_eq!(opened(line(9), b"ab"), None);
    assert_eq!(opened(prefix(2, false, 9), b"\x00\x02ab"), ab());
    assert_eq!(opened(prefix(2, true, 9), b"\x00\x04ab"), ab());
    for wire in [&b"\x00"[..], b"\x00\x03ab", b"\x00\x01ab"] {
        assert_eq!(opened(prefix(2, false, 9), wire), None);
    }
    assert_eq!(opened(Scanner::raw(), b"ab"), None);
}

#[test]
fn what_need_not_be_seen_may_be_skipped() {
    let mut scanner = frames(None);
    assert_eq!(scanner.unseen(), 0);
    scanner.next(b"\x02\x05ab").unwrap();
    assert_eq!(scanner.unseen(), 3);
    assert_eq!(scanner.skip(2), (Edge::Inside, false));
    assert_eq!(scanner.unseen(), 1);
    assert_eq!(scanner.skip(1), (Edge::Frame, false));
    scanner.next(b"\x80\x02").unwrap();
    assert_eq!(scanner.skip(2), (Edge::Message, true));
    assert_eq!(scanner.unseen(), 0);

    let mut raw = Scanner::raw();
    assert_eq!(raw.unseen(), u64::MAX);
    assert_eq!(raw.skip(7), (Edge::Message, false));
    for (mut looked_at, input) in [(line(9), b"ab"), (prefix(1, false, 9), b"\x04a")] {
        looked_at.next(input).unwrap();
        assert_eq!(looked_at.unseen(), 0);
        assert_eq!(looked_at.skip(0), (Edge::Inside, false));
    }
}

#[test]
fn a_reply_is_known_unless_it_is_larger_than_a_record() {
    let reply = Payload {
        bytes: b"\x03ok\n".as_slice().into(),
        binary: false,
    };
    for (max, known) in [(4, true), (3, false)] {
        let length_prefix = Framing::LengthPrefix {
            bytes: 1,
            includes_itself: false,
            max,
        };
        for framing in [Framing::Line { max }, length_prefix] {
            let knows = |reply| Scanner::from_framing(framing, reply).knows_reply();
            assert_eq!((knows(Some(&reply)), knows(None)), (known, false));
        }
    }
    assert!(frames(Some(&reply)).knows_reply() && !frames(None).knows_reply());
    assert!(!Scanner::from_framing(Framing::Raw, Some(&reply)).knows_reply());
}
