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
