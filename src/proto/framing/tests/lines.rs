use super::*;

fn seen(scanner: Scanner, stream: &[u8]) -> Vec<Seen> {
    walk(scanner, [stream]).0
}

#[test]
fn end_with_lf() {
    let expected = vec![
        data(3, Edge::Message),
        data(1, Edge::Message),
        data(3, Edge::Message),
        data(2, Edge::Inside),
    ];
    assert_eq!(seen(line(99), b"ab\n\nc\r\nde"), expected);
}

#[test]
fn may_be_as_long_as_the_limit_with_lf() {
    let expected = vec![data(4, Edge::Message); 2];
    assert_eq!(seen(line(4), b"abc\nabc\n"), expected);
}

#[test]
fn pass_up_to_the_limit_and_no_further() {
    let too_big = Seen::Violation(Violation::TooBig { limit: 4 });
    let expected = vec![data(4, Edge::Inside), too_big];
    assert_eq!(seen(line(4), b"abcd\n"), expected);
}

fn with_reply(max: u64) -> Scanner {
    let reply = Payload {
        bytes: b"pong\n".as_slice().into(),
        binary: false,
    };
    Scanner::from_framing(Framing::Line { max }, Some(&reply))
}

#[test]
fn equal_to_the_reply_are_replies() {
    let expected = vec![
        Seen::Whole(Item::Reply { len: 5 }),
        data(6, Edge::Message),
        data(6, Edge::Message),
        Seen::Whole(Item::Reply { len: 5 }),
    ];
    assert_eq!(
        seen(with_reply(99), b"pong\npongs\nxpong\npong\n"),
        expected
    );
}

#[test]
fn are_held_back_only_as_long_as_they_can_be_a_reply() {
    let mut scanner = with_reply(99);
    for end in 1..5 {
        assert_eq!(scanner.next(&b"pong"[..end]), Ok(Item::Incomplete));
    }
    assert_eq!(scanner.hold_max(), 5);
    let item = scanner.next(b"pon\0");
    assert!(matches!(item, Ok(Item::Data { len: 4, .. })), "{item:?}");
    // In the middle of a line nothing is a reply.
    let item = scanner.next(b"pong\n");
    assert!(matches!(item, Ok(Item::Data { len: 5, .. })), "{item:?}");
}

#[test]
fn a_reply_over_the_limit_is_too_big() {
    let too_big = Seen::Violation(Violation::TooBig { limit: 4 });
    let expected = vec![data(4, Edge::Inside), too_big];
    assert_eq!(seen(with_reply(4), b"pong\n"), expected);
}
