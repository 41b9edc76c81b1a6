use super::*;

fn close(payload: &[u8]) -> (Option<u16>, String) {
    let stream = frame(0x88, payload);
    match client(PLAIN).next(&stream) {
        Ok(Item::Close { len, code, text }) if len == stream.len() => (code, text),
        other => panic!("{other:?}"),
    }
}

#[test]
fn code_and_text_are_read() {
    assert_eq!(close(b"\x03\xE8bye"), (Some(1000), "bye".into()));
    assert_eq!(close(b"\x03\xE9"), (Some(1001), String::new()));
    assert_eq!(close(b""), (None, String::new()));
}

#[test]
fn an_invalid_payload_is_for_the_peer_to_judge() {
    assert_eq!(close(b"\x03"), (None, String::new()));
    assert_eq!(
        close(b"\x03\xE8\xFFx"),
        (Some(1000), "\u{FFFD}x".to_owned())
    );
}

#[test]
fn only_codes_that_may_be_sent_are_codes() {
    let valid = |code: &u16| close(&code.to_be_bytes()).0 == Some(*code);
    let codes: Vec<_> = (0..=u16::MAX).filter(valid).collect();
    assert_eq!(
        codes[..12],
        [
            1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014
        ]
    );
    assert_eq!(codes[12..], (3000..=4999).collect::<Vec<_>>());
}

#[test]
fn nothing_behind_a_close_is_looked_at() {
    let stream = [frame(0x88, b""), vec![0xFF; 20]].concat();
    let item = client(PLAIN).next(&stream);
    assert!(matches!(item, Ok(Item::Close { len: 6, .. })));
}
