use std::io::Cursor;

use proptest::prelude::*;
use tungstenite::protocol::frame::FrameHeader;

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
