//! The client's first message as its uid.

use super::bench::{Heard, Setup, in_virtual_time};
use super::mailbox::{QUIET, text};
use crate::proto::websocket::{OPCODE_CONTINUATION, OPCODE_PING, OPCODE_TEXT};

#[test]
fn the_first_message_is_the_uid_and_passes() {
    in_virtual_time(async {
        let keys = "identity: [ { first_message: whole } ],";
        let mut bench = Setup {
            keys,
            ..Setup::websocket(QUIET)
        }
        .open();
        let part = bench.client.fragment(OPCODE_TEXT, b"us", false);
        bench.client.send(&part).await;
        assert_eq!(bench.app.hear().await, text("us"));
        assert_eq!(bench.uid(), None);
        bench.client.send_frame(OPCODE_PING, b"").await;
        assert_eq!(bench.app.hear().await, Heard::Ping(Vec::new()));
        let rest = bench.client.fragment(OPCODE_CONTINUATION, b"er-7", true);
        bench.client.send(&rest).await;
        bench.client.send_text("the second").await;
        assert_eq!(bench.app.hear().await, text("er-7"));
        assert_eq!(bench.app.hear().await, text("the second"));
        assert_eq!(bench.uid(), Some(("user-7".into(), "first_message")));
        bench.client.send_close(1000, "").await;
        assert_eq!(bench.closed().await.0.stream.uid.as_deref(), Some("user-7"));
    });
}

#[test]
fn a_first_line_is_the_uid_without_its_end() {
    in_virtual_time(async {
        for (line, uid) in [
            (&b"42\r\n"[..], Some("42")),
            (b"42\n", Some("42")),
            (b"\n", None),
            (b"a\tb\n", None),
            (b"\xff\n", None),
            (&[&[b'x'; 129][..], b"\n"].concat(), None),
            (&[&[b'x'; 4000][..], b"\n"].concat(), None),
        ] {
            let keys = "framing: line, identity: [ { first_message: whole } ],";
            let mut bench = Setup {
                keys,
                pipe: 8192,
                ..Setup::tcp("{}")
            }
            .open();
            bench.client.send(line).await;
            bench.client.send(b"second\n").await;
            assert_eq!(
                bench.app.read(line.len() + 7).await,
                [line, b"second\n"].concat()
            );
            let bound = bench.uid().map(|(uid, _)| uid);
            assert_eq!(bound.as_deref(), uid, "{}", line.escape_ascii());
        }
    });
}
