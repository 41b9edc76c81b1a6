mod length_prefix;
mod lines;
mod messages;
mod streams;

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
