//! The body of the fuzz target `request`.

use super::{Part, Requests};

/// The bytes of a connection: nothing panics, how they are cut does not matter, what is passed on is what came, and
/// every head that is passed is one that a parser of HTTP finds complete, too, in the same place.
///
/// # Panics
/// If one of them does not hold.
pub fn request(input: &[u8]) {
    let mut at_once = Vec::new();
    let mut whole = Requests::new(8192);
    let judged = whole.feed(input, &mut at_once).and_then(|()| whole.end());
    assert!(input.starts_with(&at_once), "bytes were changed");
    assert_eq!(judged.is_err(), whole.refused().is_some());

    let mut in_bytes = Vec::new();
    let mut slow = Requests::new(8192);
    let mut dripped = Ok(());
    for byte in input {
        dripped = dripped.and_then(|()| slow.feed(&[*byte], &mut in_bytes));
    }
    dripped = dripped.and_then(|()| slow.end());
    assert_eq!((dripped, slow.refused()), (judged, whole.refused()));
    assert_eq!(slow.heads(), whole.heads());
    // A body is passed as it comes: what of it lies before a fault depends on the cuts, a head does not.
    if whole.refused() != Some(Part::Body) {
        assert!(in_bytes == at_once, "the cuts matter");
    }

    let mut headers = [httparse::EMPTY_HEADER; 100];
    let mut parser = httparse::Request::new(&mut headers);
    let passed = whole.heads() > u64::from(whole.refused() == Some(Part::Head));
    if passed {
        let parsed = parser
            .parse(&at_once)
            .expect("a head was passed that is none");
        assert!(parsed.is_complete(), "a head was passed before its end");
    }
}
