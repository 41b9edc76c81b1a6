//! The body of the fuzz target `scanner`, and the walk over a stream that the tests share with it.

use super::{Edge, Framing, Item, Payload, Scanner, Violation};
use crate::proto::cause::End;
use crate::proto::websocket::Extensions;

/// One thing that the scanner saw. The pieces of one frame or record are one `Data`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// Bytes that pass, and where the last of them ends.
    Data {
        /// Heads included.
        len: usize,
        /// After the last byte.
        edge: Edge,
        /// A message ended with them.
        message: bool,
    },
    /// Any other item.
    Whole(Item),
    /// The peer is cut off here.
    Violation(Violation),
}

/// Feeds a stream as a relay does, in `pieces` as they are read, with what was held back in front of the next piece.
/// Ends at a violation, a Close or the end of the stream; returns what was seen and how many bytes the end of the stream
/// found held back.
///
/// # Panics
/// If the scanner breaks a promise of its interface.
pub fn walk<'p>(
    mut scanner: Scanner,
    pieces: impl IntoIterator<Item = &'p [u8]>,
) -> (Vec<Seen>, usize) {
    let mut seen = Vec::new();
    let mut held = Vec::new();
    for piece in pieces {
        held.extend_from_slice(piece);
        let mut at = 0;
        while at < held.len() {
            let before = scanner.edge();
            let item = match scanner.next(&held[at..]) {
                Ok(item) => item,
                Err(violation) => {
                    seen.push(Seen::Violation(violation));
                    return (seen, 0);
                }
            };
            let left = held.len() - at;
            let len = match item {
                Item::Data { len, edge, message } => {
                    assert_eq!(edge, scanner.edge(), "an item and the scanner disagree");
                    assert!(!message || edge == Edge::Message, "a message ends nowhere");
                    pass(&mut seen, len, edge, message);
                    len
                }
                Item::Ping { len }
                | Item::Pong { len, .. }
                | Item::Close { len, .. }
                | Item::Reply { len } => {
                    assert_ne!(before, Edge::Inside, "a frame inside of another");
                    assert_eq!(before, scanner.edge(), "it belongs to no message");
                    seen.push(Seen::Whole(item.clone()));
                    len
                }
                Item::Incomplete => {
                    assert!(left <= scanner.hold_max(), "{left} bytes held back");
                    break;
                }
            };
            assert!((1..=left).contains(&len), "{len} of {left} bytes");
            at += len;
            if matches!(item, Item::Close { .. }) {
                return (seen, 0);
            }
        }
        held.drain(..at);
    }
    (seen, held.len())
}

/// Adds to the last item what belongs to the same frame or record; raw bytes all belong together.
fn pass(seen: &mut Vec<Seen>, more: usize, now: Edge, ended: bool) {
    match seen.last_mut() {
        Some(Seen::Data { len, edge, message })
            if *edge == Edge::Inside || (now == Edge::Message && !*message && !ended) =>
        {
            *len += more;
            *edge = now;
            *message = ended;
        }
        _ => seen.push(Seen::Data {
            len: more,
            edge: now,
            message: ended,
        }),
    }
}

/// How many scanners `preset` knows.
pub const PRESETS: u8 = 20;

/// One scanner of each kind and option, with limits and replies that short inputs reach.
pub fn preset(number: u8) -> Scanner {
    let reply = |bytes: &[u8], binary| Payload {
        bytes: bytes.into(),
        binary,
    };
    let line = |max, reply| Scanner::from_framing(Framing::Line { max }, reply);
    let prefix = |bytes, includes_itself, reply| {
        let framing = Framing::LengthPrefix {
            bytes,
            includes_itself,
            max: 300,
        };
        Scanner::from_framing(framing, reply)
    };
    let plain = Extensions::default();
    let deflate = Extensions {
        rsv: 0x40,
        unknown: false,
    };
    let unknown = Extensions {
        rsv: 0,
        unknown: true,
    };
    let client = |extensions, max, reply: Option<&Payload>| {
        Scanner::websocket(End::Client, extensions, max, reply)
    };
    let upstream = |extensions, max| Scanner::websocket(End::Upstream, extensions, max, None);
    match number % PRESETS {
        0 => Scanner::raw(),
        1 => line(u64::MAX, None),
        2 => line(8, None),
        3 => line(8, Some(&reply(b"pong\n", false))),
        4 => prefix(1, false, None),
        5 => prefix(1, true, Some(&reply(b"\x05pong", false))),
        6 => prefix(2, true, None),
        7 => prefix(4, false, Some(&reply(b"\0\0\0\x04pong", false))),
        8 => prefix(8, false, None),
        9 => prefix(8, true, None),
        10 => client(plain, None, None),
        11 => client(deflate, None, None),
        12 => client(unknown, None, None),
        13 => client(plain, Some(64), None),
        14 => client(plain, None, Some(&reply(b"pong", false))),
        15 => client(unknown, Some(64), Some(&reply(&[7; 40], true))),
        16 => upstream(plain, None),
        17 => upstream(deflate, None),
        18 => upstream(unknown, None),
        _ => upstream(plain, Some(64)),
    }
}

/// A stream behind two bytes that choose the scanner and how the stream is cut into reads: nothing panics, every promise of
/// the interface holds, and the cuts change nothing of what is seen.
///
/// # Panics
/// If one of them does not hold.
pub fn scanner(input: &[u8]) {
    let &[kind, cut, ref stream @ ..] = input else {
        return;
    };
    let whole = walk(preset(kind), [stream]);
    assert_eq!(whole, walk(preset(kind), stream.chunks(1)));
    assert_eq!(
        whole,
        walk(preset(kind), stream.chunks(1 + usize::from(cut)))
    );
    let (head, tail) = stream.split_at(usize::from(cut).min(stream.len()));
    assert_eq!(whole, walk(preset(kind), [head, tail]));
}
