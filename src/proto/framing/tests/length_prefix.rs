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
