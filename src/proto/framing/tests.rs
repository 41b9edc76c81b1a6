mod messages;

use std::path::Path;

use proptest::prelude::*;

use super::fuzz::{PRESETS, Seen, preset, walk};
use super::*;

fn line(max: u64) -> Scanner {
    Scanner::from_framing(Framing::Line { max }, None)
}

fn prefix(bytes: u8, includes_itself: bool, max: u64) -> Scanner {
    let framing = Framing::LengthPrefix {
        bytes,
        includes_itself,
        max,
    };
    Scanner::from_framing(framing, None)
}

fn data(len: usize, edge: Edge) -> Seen {
    Seen::Data {
        len,
        edge,
        message: edge == Edge::Message,
    }
}

mod raw {
    use super::*;

    #[test]
    fn everything_is_data_between_messages() {
        let mut scanner = Scanner::raw();
        for input in [&b"x"[..], b"\n\0", &[0xFF; 70_000]] {
            let expected = Item::Data {
                len: input.len(),
                edge: Edge::Message,
                message: false,
            };
            assert_eq!(scanner.next(input), Ok(expected));
            assert_eq!(scanner.edge(), Edge::Message);
        }
        assert_eq!(scanner.hold_max(), 0);
    }
}

mod lines {
    use super::*;

    fn seen(scanner: Scanner, stream: &[u8]) -> Vec<Seen> {
        walk(scanner, [stream]).0
    }

    #[test]
    fn end_with_lf() {
        let expected = vec![
            data(3, Edge::Message),
            data(1, Edge::Message),
            data(3, Edge::Message),
            data(2, Edge::Inside),
        ];
        assert_eq!(seen(line(99), b"ab\n\nc\r\nde"), expected);
    }

    #[test]
    fn may_be_as_long_as_the_limit_with_lf() {
        let expected = vec![data(4, Edge::Message); 2];
        assert_eq!(seen(line(4), b"abc\nabc\n"), expected);
    }

    #[test]
    fn pass_up_to_the_limit_and_no_further() {
        let too_big = Seen::Violation(Violation::TooBig { limit: 4 });
        let expected = vec![data(4, Edge::Inside), too_big];
        assert_eq!(seen(line(4), b"abcd\n"), expected);
    }

    fn with_reply(max: u64) -> Scanner {
        let reply = Payload {
            bytes: b"pong\n".as_slice().into(),
            binary: false,
        };
        Scanner::from_framing(Framing::Line { max }, Some(&reply))
    }

    #[test]
    fn equal_to_the_reply_are_replies() {
        let expected = vec![
            Seen::Whole(Item::Reply { len: 5 }),
            data(6, Edge::Message),
            data(6, Edge::Message),
            Seen::Whole(Item::Reply { len: 5 }),
        ];
        assert_eq!(
            seen(with_reply(99), b"pong\npongs\nxpong\npong\n"),
            expected
        );
    }

    #[test]
    fn are_held_back_only_as_long_as_they_can_be_a_reply() {
        let mut scanner = with_reply(99);
        for end in 1..5 {
            assert_eq!(scanner.next(&b"pong"[..end]), Ok(Item::Incomplete));
        }
        assert_eq!(scanner.hold_max(), 5);
        let item = scanner.next(b"pon\0");
        assert!(matches!(item, Ok(Item::Data { len: 4, .. })), "{item:?}");
        // In the middle of a line nothing is a reply.
        let item = scanner.next(b"pong\n");
        assert!(matches!(item, Ok(Item::Data { len: 5, .. })), "{item:?}");
    }

    #[test]
    fn a_reply_over_the_limit_is_too_big() {
        let too_big = Seen::Violation(Violation::TooBig { limit: 4 });
        let expected = vec![data(4, Edge::Inside), too_big];
        assert_eq!(seen(with_reply(4), b"pong\n"), expected);
    }
}

mod length_prefix {
    use super::*;

    fn seen(scanner: Scanner, stream: &[u8]) -> Vec<Seen> {
        walk(scanner, [stream]).0
    }

    #[test]
    fn of_every_size_ends_records() {
        for bytes in [1u8, 2, 4, 8] {
            let own = usize::from(bytes);
            let length = |length: u8| [&vec![0; own - 1][..], &[length]].concat();
            let expected = vec![
                data(own + 3, Edge::Message),
                data(own, Edge::Message),
                data(own + 1, Edge::Inside),
            ];
            let stream = [&length(3)[..], b"abc", &length(0), &length(2), b"a"].concat();
            assert_eq!(seen(prefix(bytes, false, 99), &stream), expected);
            let itself = |of: u8| length(bytes + of);
            let stream = [&itself(3)[..], b"abc", &itself(0), &itself(2), b"a"].concat();
            assert_eq!(seen(prefix(bytes, true, 99), &stream), expected);
        }
    }

    #[test]
    fn is_big_endian() {
        let expected = Item::Data {
            len: 2,
            edge: Edge::Inside,
            message: false,
        };
        let mut scanner = prefix(2, false, u64::MAX);
        assert_eq!(scanner.next(&[1, 2]), Ok(expected));
        let rest = scanner.next(&[0; 1000]);
        assert!(matches!(rest, Ok(Item::Data { len: 258, .. })), "{rest:?}");
    }

    #[test]
    fn is_read_only_when_it_is_whole() {
        for bytes in [1u8, 2, 4, 8] {
            let mut scanner = prefix(bytes, false, 99);
            for end in 1..usize::from(bytes) {
                assert_eq!(scanner.next(&[0; 8][..end]), Ok(Item::Incomplete));
                assert!(end <= scanner.hold_max());
            }
        }
    }

    #[test]
    fn that_counts_itself_is_at_least_its_own_size() {
        let why = "a record's length is smaller than its own prefix";
        let violation = Err(Violation::Protocol(why));
        assert_eq!(prefix(4, true, 99).next(&[0, 0, 0, 3]), violation);
        assert_eq!(prefix(4, true, 99).next(&[0, 0, 0, 0]), violation);
        assert!(prefix(4, true, 99).next(&[0, 0, 0, 4]).is_ok());
    }

    #[test]
    fn limits_the_record_with_its_prefix() {
        let too_big = Err(Violation::TooBig { limit: 9 });
        assert!(prefix(4, false, 9).next(&[0, 0, 0, 5]).is_ok());
        assert_eq!(prefix(4, false, 9).next(&[0, 0, 0, 6]), too_big);
        assert!(prefix(4, true, 9).next(&[0, 0, 0, 9]).is_ok());
        assert_eq!(prefix(4, true, 9).next(&[0, 0, 0, 10]), too_big);
        assert_eq!(prefix(8, false, 9).next(&[0xFF; 8]), too_big);
        let limit = u64::MAX;
        let too_big = Err(Violation::TooBig { limit });
        assert_eq!(prefix(8, false, limit).next(&[0xFF; 8]), too_big);
    }

    #[test]
    fn records_equal_to_the_reply_are_replies() {
        let reply = Payload {
            bytes: b"\0\x04pong".as_slice().into(),
            binary: true,
        };
        let framing = Framing::LengthPrefix {
            bytes: 2,
            includes_itself: false,
            max: 99,
        };
        let scanner = || Scanner::from_framing(framing, Some(&reply));
        let stream = b"\0\x04pong\0\x05pongs\0\x04ping\0\x04pong";
        let expected = vec![
            Seen::Whole(Item::Reply { len: 6 }),
            data(7, Edge::Message),
            data(6, Edge::Message),
            Seen::Whole(Item::Reply { len: 6 }),
        ];
        assert_eq!(seen(scanner(), stream), expected);
        assert_eq!(scanner().next(b"\0\x04pon"), Ok(Item::Incomplete));
        assert_eq!(scanner().hold_max(), 6);
    }
}

/// Streams that are right most of the time, for the scanners of WebSocket frames.
mod streams {
    use super::*;
    use crate::proto::websocket::apply_mask;

    /// One frame; the masking bit follows `client`, the bytes of the length are the fewest.
    pub(super) fn frame(first: u8, payload: &[u8], client: bool) -> Vec<u8> {
        let masked = if client { 0x80 } else { 0 };
        let mut out = vec![first];
        match payload.len() {
            len @ 0..126 => out.push(masked | len as u8),
            len @ 126..65_536 => {
                out.push(masked | 126);
                out.extend((len as u16).to_be_bytes());
            }
            len => {
                out.push(masked | 127);
                out.extend((len as u64).to_be_bytes());
            }
        }
        let key = [len_key(payload), 0x5A, 0, 0xFF];
        let mut payload = payload.to_vec();
        if client {
            out.extend(key);
            apply_mask(&mut payload, key);
        }
        out.extend(payload);
        out
    }

    fn len_key(payload: &[u8]) -> u8 {
        payload.len() as u8 ^ 0xA5
    }

    pub(super) fn payload() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            4 => prop::sample::select(vec![&b"pong"[..], b"po", b"ng", b"p", b"", b"pong\n", &[7; 40]])
                .prop_map(<[u8]>::to_vec),
            4 => prop::collection::vec(any::<u8>(), 0..40),
            1 => prop::collection::vec(any::<u8>(), 120..130),
            1 => (any::<u8>(), 65_530usize..65_540).prop_map(|(byte, len)| vec![byte; len]),
        ]
    }

    /// A valid message in fragments, each with a Ping behind it or none.
    #[derive(Debug, Clone)]
    pub(super) struct Message {
        binary: bool,
        fragments: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    }

    pub(super) fn message() -> impl Strategy<Value = Message> {
        let ping = prop::option::weighted(0.2, prop::collection::vec(any::<u8>(), 0..12));
        let halves = Just(vec![(b"po".to_vec(), None), (b"ng".to_vec(), None)]);
        let fragments = prop_oneof![
            3 => prop::collection::vec((payload(), ping), 1..5),
            1 => halves,
        ];
        (prop::bool::weighted(0.3), fragments)
            .prop_map(|(binary, fragments)| Message { binary, fragments })
    }

    impl Message {
        /// Its bytes and what a scanner is to see in them.
        pub(super) fn frames(&self, client: bool, reply: Option<&Payload>) -> (Vec<u8>, Vec<Seen>) {
            let (mut stream, mut seen) = (Vec::new(), Vec::new());
            let (last, before) = self.fragments.split_last().unwrap();
            let parts: Vec<_> = self.fragments.iter().map(|(part, _)| &part[..]).collect();
            let is_reply = reply.is_some_and(|reply| *reply.bytes == *parts.concat())
                && !self.binary
                && before.iter().all(|(_, ping)| ping.is_none());
            let mut opcode = 1 + u8::from(self.binary);
            let mut add = |payload: &[u8], ping: &Option<Vec<u8>>, fin, edge| {
                let data = frame(fin | opcode, payload, client);
                opcode = 0;
                stream.extend(&data);
                match edge {
                    Edge::Message if is_reply => {
                        let len = stream.len();
                        seen.push(Seen::Whole(Item::Reply { len }));
                    }
                    _ if is_reply => {}
                    _ => seen.push(super::data(data.len(), edge)),
                }
                if let Some(payload) = ping {
                    let ping = frame(0x89, payload, client);
                    seen.push(Seen::Whole(Item::Ping { len: ping.len() }));
                    stream.extend(ping);
                }
            };
            for (payload, ping) in before {
                add(payload, ping, 0, Edge::Frame);
            }
            add(&last.0, &last.1, 0x80, Edge::Message);
            (stream, seen)
        }
    }

    /// A frame of any kind: most of the time one that is allowed somewhere.
    fn any_frame(client: bool) -> impl Strategy<Value = Vec<u8>> {
        let first = prop_oneof![
            8 => prop::sample::select(vec![0x81, 0x82, 0x01, 0x02, 0x00, 0x80]),
            3 => prop::sample::select(vec![0x89, 0x8A, 0xC1, 0x41]),
            1 => any::<u8>(),
        ];
        (first, payload()).prop_map(move |(first, payload)| frame(first, &payload, client))
    }

    fn records() -> impl Strategy<Value = Vec<u8>> {
        let record = prop_oneof![
            payload(),
            payload().prop_map(|line| [&line[..], b"\n"].concat()),
            Just(b"pong\n".to_vec()),
            Just(b"\x05pong".to_vec()),
            Just(b"\0\0\0\x04pong".to_vec()),
            (0u8..9).prop_map(|length| vec![length]),
            (0u8..9).prop_map(|length| vec![0, length]),
            (0u8..9).prop_map(|length| vec![0, 0, 0, length]),
            (0u8..9).prop_map(|length| vec![0, 0, 0, 0, 0, 0, 0, length]),
        ];
        prop::collection::vec(record, 0..12).prop_map(|all| all.concat())
    }

    /// A stream for any of the scanners, cut off somewhere.
    pub(super) fn stream() -> impl Strategy<Value = Vec<u8>> {
        let frames = |client| {
            prop::collection::vec(any_frame(client), 0..12).prop_map(|frames| frames.concat())
        };
        let whole = prop_oneof![
            4 => frames(true),
            2 => frames(false),
            3 => records(),
            1 => prop::collection::vec(any::<u8>(), 0..300),
        ];
        (whole, 0usize..8).prop_map(|(mut stream, cut)| {
            stream.truncate(stream.len() - cut.min(stream.len()));
            stream
        })
    }

    /// The sizes of the reads: small ones most of the time.
    pub(super) fn cuts() -> impl Strategy<Value = Vec<usize>> {
        let size = prop_oneof![6 => 1usize..8, 2 => 1usize..200, 2 => 1usize..70_000];
        prop::collection::vec(size, 1..40)
    }
}

/// Cuts `stream` into pieces of the given sizes, over and over.
fn cut<'s>(stream: &'s [u8], sizes: &[usize]) -> Vec<&'s [u8]> {
    let mut rest = stream;
    let mut sizes = sizes.iter().cycle();
    let mut pieces = Vec::new();
    while let (false, Some(&size)) = (rest.is_empty(), sizes.next()) {
        let (piece, left) = rest.split_at(size.min(rest.len()));
        pieces.push(piece);
        rest = left;
    }
    pieces
}

fn bytes(seen: &[Seen]) -> usize {
    let len = |seen: &Seen| match seen {
        Seen::Data { len, .. }
        | Seen::Whole(
            Item::Ping { len }
            | Item::Pong { len, .. }
            | Item::Close { len, .. }
            | Item::Reply { len }
            | Item::Data { len, .. },
        ) => *len,
        Seen::Whole(Item::Incomplete) | Seen::Violation(_) => 0,
    };
    seen.iter().map(len).sum()
}

fn ended(seen: &[Seen]) -> bool {
    matches!(
        seen.last(),
        Some(Seen::Violation(_) | Seen::Whole(Item::Close { .. }))
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn chunking_never_changes_what_is_seen(
        number in 0..PRESETS,
        stream in streams::stream(),
        sizes in streams::cuts(),
    ) {
        let whole = walk(preset(number), [&stream[..]]);
        let pieces = walk(preset(number), cut(&stream, &sizes));
        prop_assert_eq!(whole, pieces);
    }

    #[test]
    fn what_passes_and_what_is_kept_is_all_there_was(
        number in 0..PRESETS,
        stream in streams::stream(),
        sizes in streams::cuts(),
    ) {
        let (seen, held) = walk(preset(number), cut(&stream, &sizes));
        if ended(&seen) {
            prop_assert!(bytes(&seen) <= stream.len());
        } else {
            prop_assert_eq!(bytes(&seen) + held, stream.len());
            prop_assert!(held <= preset(number).hold_max());
        }
    }

    /// Valid streams, made from what the scanner is to see in them.
    #[test]
    fn edges_are_where_frames_and_messages_end(
        messages in prop::collection::vec(streams::message(), 0..6),
        client in any::<bool>(),
        reply in any::<bool>(),
        sizes in streams::cuts(),
    ) {
        let reply = reply.then(|| Payload { bytes: b"pong".as_slice().into(), binary: false });
        let (mut stream, mut expected) = (Vec::new(), Vec::new());
        for message in messages {
            let (frames, seen) = message.frames(client, reply.as_ref());
            stream.extend(frames);
            expected.extend(seen);
        }
        let from = if client { End::Client } else { End::Upstream };
        let scanner = Scanner::websocket(from, Extensions::default(), None, reply.as_ref());
        prop_assert_eq!(walk(scanner, cut(&stream, &sizes)), (expected, 0));
    }

    #[test]
    fn any_bytes_are_survived(input in prop::collection::vec(any::<u8>(), 0..400)) {
        fuzz::scanner(&input);
        for number in 0..PRESETS {
            walk(preset(number), [&input[..]]);
        }
    }
}

#[test]
fn the_corpus_is_survived() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/scanner");
    let mut presets = [false; PRESETS as usize];
    let mut files = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let input = std::fs::read(entry.unwrap().path()).unwrap();
        fuzz::scanner(&input);
        presets[usize::from(input[0] % PRESETS)] = true;
        files += 1;
    }
    assert_eq!(files, 66);
    assert_eq!(presets, [true; PRESETS as usize], "scanners without a file");
}
