mod base_framing;
mod closing;
mod control_frames;
mod differential;
mod encoding;
mod extensions;
mod fragmentation;
mod oracle;
mod reply;

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
