use super::*;

#[test]
fn every_length_form_passes() {
    for (length, form) in [(0, 0), (125, 0), (126, 2), (65_535, 2), (65_536, 8)] {
        let mut stream = match form {
            0 => frame(0x82, &vec![0; length]),
            2 => long_head(0x82, &(length as u16).to_be_bytes()),
            _ => long_head(0x82, &(length as u64).to_be_bytes()),
        };
        stream.resize(2 + form + 4 + length, 0);
        let expected = vec![data(stream.len(), Edge::Message)];
        assert_eq!(seen(client(PLAIN), &stream), expected, "{length} bytes");
    }
}

#[test]
fn a_length_must_be_encoded_in_the_fewest_bytes() {
    for length in [&[0, 0][..], &[0, 125], &[0; 8], &65_535u64.to_be_bytes()] {
        let stream = long_head(0x82, length);
        assert_eq!(refused(client(PLAIN), &stream), NOT_MINIMAL, "{length:?}");
    }
}

#[test]
fn a_length_has_63_bits() {
    let largest = long_head(0x82, &(u64::MAX >> 1).to_be_bytes());
    let expected = vec![data(largest.len(), Edge::Inside)];
    assert_eq!(seen(client(PLAIN), &largest), expected);
    let too_large = long_head(0x82, &(1u64 << 63).to_be_bytes());
    let why = refused(client(PLAIN), &too_large);
    assert_eq!(why, "a frame's length has more than 63 bits");
}

#[test]
fn a_head_is_read_only_when_it_is_whole() {
    for length in [&[][..], &[1, 0], &(1u64 << 20).to_be_bytes()] {
        let head = match length {
            [] => frame(0x82, b"x")[..6].to_vec(),
            _ => long_head(0x82, length),
        };
        let mut scanner = client(PLAIN);
        for end in 1..head.len() {
            assert_eq!(scanner.next(&head[..end]), Ok(Item::Incomplete));
            assert_eq!(scanner.edge(), Edge::Message);
        }
        let item = scanner.next(&head).unwrap();
        let Item::Data { len, edge, message } = item else {
            panic!("{item:?}")
        };
        assert_eq!((len, edge, message), (head.len(), Edge::Inside, false));
    }
}

#[test]
fn a_payload_passes_as_it_comes() {
    let stream = frame(0x81, b"hello");
    let mut scanner = client(PLAIN);
    let mut next = |input: &[u8]| match scanner.next(input).unwrap() {
        Item::Data { len, edge, message } => (len, edge, message),
        other => panic!("{other:?}"),
    };
    assert_eq!(next(&stream[..8]), (8, Edge::Inside, false));
    assert_eq!(next(&stream[8..10]), (2, Edge::Inside, false));
    // The frame's last byte, and the next frame behind it.
    assert_eq!(next(&[stream[10], 0x81, 0x80]), (1, Edge::Message, true));
}

#[test]
fn reserved_opcodes_are_refused() {
    let mut tried = 0;
    for opcode in (0x3..=0x7).chain(0xB..=0xF) {
        let why = refused(client(PLAIN), &frame(0x80 | opcode, b""));
        assert!(why.contains("reserved opcode"), "{why}");
        tried += 1;
    }
    assert_eq!(tried, 10);
}

#[test]
fn the_first_two_bytes_are_judged_without_waiting_for_more() {
    assert_eq!(
        client(PLAIN).next(&[0x83, 0x80]),
        Err(Violation::Protocol("a data frame of a reserved opcode"))
    );
    assert_eq!(client(PLAIN).next(&[0x83]), Ok(Item::Incomplete));
}

#[test]
fn tls_bytes_are_refused() {
    let client_hello = [0x16, 0x03, 0x01, 0x02, 0x00, 0x01];
    refused(client(PLAIN), &client_hello);
    refused(upstream(), &client_hello);
}
