use super::*;

#[test]
fn reserved_bits_without_extension_are_refused() {
    for rsv in [0x10, 0x20, 0x40, 0x70] {
        let why = refused(client(PLAIN), &frame(0x81 | rsv, b""));
        assert!(why.contains("reserved bit"), "{why}");
    }
}

#[test]
fn deflate_marks_the_first_frame_of_a_message_only() {
    // RFC 7692 section 6.
    let stream = [frame(0x41, b"a"), frame(0x80, b"b"), frame(0xC2, b"")].concat();
    let expected = vec![
        data(7, Edge::Frame),
        data(7, Edge::Message),
        data(6, Edge::Message),
    ];
    assert_eq!(seen(client(DEFLATE), &stream), expected);
    refused(client(DEFLATE), &frame(0xC9, b""));
    refused(client(DEFLATE), &frame(0xA1, b""));
    refused(client(DEFLATE), &frame(0xC0, b""));
    let stream = [frame(0x41, b"a"), frame(0xC0, b"b")].concat();
    let last = seen(client(DEFLATE), &stream).pop().unwrap();
    assert!(matches!(last, Seen::Violation(Violation::Protocol(_))));
}

#[test]
fn an_unknown_extension_may_use_every_bit_and_opcode() {
    let ctl = |len, edge| Seen::Data {
        len,
        edge,
        message: false,
    };
    let stream = [
        frame(0xF3, b"a"),
        frame(0xBB, b"c"),
        frame(0x47, b"a"),
        frame(0xFF, b"c"),
        frame(0xF9, b""),
        frame(0xA0, b"b"),
    ];
    let expected = vec![
        data(7, Edge::Message),
        ctl(7, Edge::Message),
        data(7, Edge::Frame),
        ctl(7, Edge::Frame),
        Seen::Whole(Item::Ping { len: 6 }),
        data(7, Edge::Message),
    ];
    assert_eq!(seen(client(UNKNOWN), &stream.concat()), expected);
}

#[test]
fn an_unknown_extension_changes_no_order() {
    refused(client(UNKNOWN), &frame(0x80, b""));
    refused(client(UNKNOWN), &frame(0x0B, b""));
    refused(client(UNKNOWN), &[0x8B, 0xFE]);
    let stream = [frame(0x03, b"a"), frame(0x83, b"b")].concat();
    let last = seen(client(UNKNOWN), &stream).pop().unwrap();
    assert!(matches!(last, Seen::Violation(Violation::Protocol(_))));
}
