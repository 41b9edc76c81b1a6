use super::*;

#[test]
fn a_message_ends_with_its_last_fragment() {
    let stream = [
        frame(0x01, b"Hel"),
        frame(0x00, b""),
        frame(0x80, b"lo"),
        frame(0x82, b""),
    ];
    let expected = vec![
        data(9, Edge::Frame),
        data(6, Edge::Frame),
        data(8, Edge::Message),
        data(6, Edge::Message),
    ];
    assert_eq!(seen(client(PLAIN), &stream.concat()), expected);
}

#[test]
fn control_frames_between_fragments_leave_the_edge() {
    // netty #14118.
    let stream = [
        frame(0x01, b"a"),
        frame(0x89, b"p"),
        frame(0x8A, b""),
        frame(0x80, b"b"),
        frame(0x89, b""),
    ];
    let expected = vec![
        data(7, Edge::Frame),
        Seen::Whole(Item::Ping { len: 7 }),
        Seen::Whole(Item::Pong {
            len: 6,
            token: None,
        }),
        data(7, Edge::Message),
        Seen::Whole(Item::Ping { len: 6 }),
    ];
    assert_eq!(seen(client(PLAIN), &stream.concat()), expected);
}

#[test]
fn a_continuation_needs_a_message() {
    let why = "a continuation frame outside of a fragmented message";
    assert_eq!(refused(client(PLAIN), &frame(0x80, b"x")), why);
    assert_eq!(refused(client(PLAIN), &frame(0x00, b"x")), why);
    let stream = [frame(0x81, b"x"), frame(0x80, b"x")].concat();
    let violation = Seen::Violation(Violation::Protocol(why));
    let expected = vec![data(7, Edge::Message), violation];
    assert_eq!(seen(client(PLAIN), &stream), expected);
}

#[test]
fn a_new_message_must_wait_for_the_end_of_the_last() {
    for first in [0x01, 0x02, 0x81, 0x82] {
        let stream = [frame(0x02, b"x"), frame(first, b"x")].concat();
        let why = Violation::Protocol("a new message within a fragmented one");
        let expected = vec![data(7, Edge::Frame), Seen::Violation(why)];
        assert_eq!(seen(client(PLAIN), &stream), expected);
    }
}
