use super::*;

fn reply(len: usize) -> Seen {
    Seen::Whole(Item::Reply { len })
}

#[test]
fn a_message_of_that_payload_is_one() {
    let stream = [frame(0x81, b"pong"), frame(0x81, b"pong?")].concat();
    let expected = vec![reply(10), data(11, Edge::Message)];
    assert_eq!(seen(with_reply(b"pong", false), &stream), expected);
}

#[test]
fn a_part_of_it_is_data() {
    let stream = [
        frame(0x81, b"po"),
        frame(0x81, b""),
        frame(0x01, b"po"),
        frame(0x80, b"n"),
    ];
    let expected = vec![
        data(8, Edge::Message),
        data(6, Edge::Message),
        data(8, Edge::Frame),
        data(7, Edge::Message),
    ];
    let seen = seen(with_reply(b"pong", false), &stream.concat());
    assert_eq!(seen, expected);
}

#[test]
fn its_kind_matters() {
    let text = frame(0x81, b"pong");
    let binary = frame(0x82, b"pong");
    let passes = vec![data(10, Edge::Message)];
    assert_eq!(seen(with_reply(b"pong", false), &binary), passes);
    assert_eq!(seen(with_reply(b"pong", true), &text), passes);
    assert_eq!(seen(with_reply(b"pong", true), &binary), vec![reply(10)]);
}

#[test]
fn fragments_make_one() {
    let stream = [
        frame(0x01, b""),
        frame(0x00, b"po"),
        frame(0x00, b"ng"),
        frame(0x80, b""),
    ]
    .concat();
    let expected = vec![reply(stream.len())];
    assert_eq!(seen(with_reply(b"pong", false), &stream), expected);
}

#[test]
fn a_control_frame_in_between_makes_it_data() {
    let stream = [frame(0x01, b"po"), frame(0x89, b""), frame(0x80, b"ng")].concat();
    let expected = vec![
        data(8, Edge::Frame),
        Seen::Whole(Item::Ping { len: 6 }),
        data(8, Edge::Message),
    ];
    assert_eq!(seen(with_reply(b"pong", false), &stream), expected);
}

#[test]
fn it_is_not_looked_for_within_a_message() {
    let stream = [frame(0x01, b"a"), frame(0x80, b"pong")].concat();
    let expected = vec![data(7, Edge::Frame), data(10, Edge::Message)];
    assert_eq!(seen(with_reply(b"pong", false), &stream), expected);
}

#[test]
fn it_is_held_back_only_as_long_as_it_can_be_one() {
    let mut scanner = with_reply(b"pong", false);
    let good = frame(0x81, b"pong");
    for end in 1..good.len() {
        assert_eq!(scanner.next(&good[..end]), Ok(Item::Incomplete));
    }
    let bad = frame(0x81, b"poNg");
    assert_eq!(scanner.next(&bad[..8]), Ok(Item::Incomplete));
    let item = scanner.next(&bad[..9]);
    assert!(matches!(item, Ok(Item::Data { len: 9, .. })), "{item:?}");
    // Another length is enough to know.
    let longer = frame(0x81, b"pong?");
    let item = with_reply(b"pong", false).next(&longer[..6]);
    assert!(matches!(item, Ok(Item::Data { len: 6, .. })), "{item:?}");
}

#[test]
fn endless_fragments_are_data() {
    let mut scanner = with_reply(b"pong", false);
    let mut stream = frame(0x01, b"");
    while matches!(scanner.next(&stream), Ok(Item::Incomplete)) {
        assert!(stream.len() <= scanner.hold_max());
        assert_eq!(scanner.hold_max(), client(PLAIN).hold_max() + 4);
        stream.extend(frame(0x00, b""));
    }
    assert_eq!(seen(scanner, &stream[6..])[0], data(6, Edge::Frame));
}

#[test]
fn fragments_that_cannot_be_held_back_are_data() {
    let mut scanner = with_reply(&[7; 40], true);
    let head = &frame(0x80, &[7; 40])[..6];
    let fragments = (scanner.hold_max() - HEAD_MAX) / head.len();
    let mut stream = frame(0x02, b"");
    stream.extend(frame(0x00, b"").repeat(fragments - 1));
    assert_eq!(scanner.next(&stream), Ok(Item::Incomplete));
    stream.extend(head);
    assert!(stream.len() + 40 > scanner.hold_max());
    let item = scanner.next(&stream);
    assert!(matches!(item, Ok(Item::Data { len: 6, .. })), "{item:?}");
}

#[test]
fn a_violation_in_its_middle_is_one() {
    let nested = "a new message within a fragmented one";
    let unmasked = "an unmasked frame from the client";
    let second = [
        (frame(0x81, b"ng"), nested),
        (b"\x80\x02ng".to_vec(), unmasked),
    ];
    for (second, why) in second {
        let stream = [frame(0x01, b"po"), second].concat();
        let why = Violation::Protocol(why);
        let expected = vec![data(8, Edge::Frame), Seen::Violation(why)];
        assert_eq!(seen(with_reply(b"pong", false), &stream), expected);
    }
}

#[test]
fn one_over_the_limit_is_too_big() {
    let reply = Payload {
        bytes: b"pong".as_slice().into(),
        binary: false,
    };
    let mut scanner = Scanner::websocket(End::Client, PLAIN, Some(3), Some(&reply));
    let item = scanner.next(&frame(0x81, b"pong"));
    assert_eq!(item, Err(Violation::TooBig { limit: 3 }));
}

#[test]
fn a_compressed_frame_is_none() {
    let reply = Payload {
        bytes: b"pong".as_slice().into(),
        binary: false,
    };
    let scanner = Scanner::websocket(End::Client, DEFLATE, None, Some(&reply));
    let expected = vec![data(10, Edge::Message)];
    assert_eq!(seen(scanner, &frame(0xC1, b"pong")), expected);
}
