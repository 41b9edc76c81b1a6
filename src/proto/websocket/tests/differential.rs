use proptest::prelude::*;

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
