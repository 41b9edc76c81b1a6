//! The body of the fuzz target `proxy`.

use super::{Head, V2_LIMIT, encode_v1, encode_v2, parse};

/// The first bytes of a connection: nothing panics, a header is the same however it is cut, it is decided before the
/// buffer is full, and its addresses survive being written in either version.
///
/// # Panics
/// If one of them does not hold.
pub fn proxy(input: &[u8]) {
    let input = &input[..input.len().min(V2_LIMIT)];
    let whole = parse(input);
    if input.len() == V2_LIMIT {
        assert!(!matches!(whole, Ok(Head::Incomplete)), "it waits for ever");
    }
    let decided = (1..=input.len()).find_map(|seen| match parse(&input[..seen]) {
        Ok(Head::Incomplete) => None,
        decided => Some((seen, decided)),
    });
    let Some((seen, first)) = decided else {
        assert!(input.is_empty() || matches!(whole, Ok(Head::Incomplete)));
        return;
    };
    match (first, whole) {
        (Ok(first), Ok(whole)) => {
            assert_eq!(first, whole, "what follows a header changes it");
            let Head::Complete(length, addresses) = whole else {
                panic!("an incomplete header was complete before");
            };
            assert_eq!(length, seen, "a header ends where it is complete");
            let Some(ends) = addresses else { return };
            for header in [
                encode_v1(ends.source, ends.destination),
                encode_v2(ends.source, ends.destination, uuid::Uuid::nil()),
            ] {
                let read = parse(&header).expect("our own header");
                assert_eq!(read, Head::Complete(header.len(), Some(ends)));
            }
        }
        (Err(_), Err(_)) => {}
        (first, whole) => panic!("{first:?} became {whole:?}"),
    }
}
