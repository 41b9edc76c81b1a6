//! What the API puts into a stream: where it goes, what it may hold, what is answered when.

mod ping;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot::{self, Receiver};
use tokio::time::{sleep, timeout};

use super::bench::{Bench, Heard, Setup, in_virtual_time};
use crate::proto::cause::{Cause, Reason};
use crate::proto::framing::Unfit;
use crate::proto::websocket::{OPCODE_CONTINUATION, OPCODE_TEXT};
use crate::worker::{Command, Manner, Message, Refusal};

pub(super) const QUIET: &str = "{ idle_limit: off, ping: off, stall_limit: off }";
const LONG: Duration = Duration::from_secs(3600);

impl Bench {
    fn post(&self, payload: impl Into<Bytes>, binary: bool) -> Receiver<Result<(), Refusal>> {
        let payload = payload.into();
        let message = Arc::new(Message { payload, binary });
        let (reply, answer) = oneshot::channel();
        self.command(Command::Send { message, reply });
        answer
    }
}

pub(super) fn text(words: &str) -> Heard {
    Heard::Data(words.as_bytes().to_vec())
}

#[test]
fn a_message_goes_between_those_of_the_app() {
    in_virtual_time(async {
        let mut bench = Setup::websocket(QUIET).open();
        let first = bench.post("idle", false);
        assert_eq!(bench.client.hear().await, text("idle"));
        assert_eq!(first.await, Ok(Ok(())));

        let part = bench.app.fragment(OPCODE_TEXT, b"one ", false);
        bench.app.send(&part).await;
        assert_eq!(bench.client.hear().await, text("one "));
        let mut waits = bench.post("between", false);
        assert!(
            timeout(LONG, &mut waits).await.is_err(),
            "not between two frames of a message"
        );
        let rest = bench.app.fragment(OPCODE_CONTINUATION, b"two", true);
        bench.app.send(&rest).await;
        bench.app.send_text("next").await;
        for words in ["two", "between", "next"] {
            assert_eq!(bench.client.hear().await, text(words));
        }
        assert_eq!(waits.await, Ok(Ok(())));
    });
}

#[test]
fn records_get_their_terminator_or_prefix() {
    in_virtual_time(async {
        let keys = "framing: line,";
        let mut bench = Setup {
            keys,
            ..Setup::tcp("{}")
        }
        .open();
        bench.app.send(b"half ").await;
        assert_eq!(bench.client.read(5).await, b"half ");
        let answers = [bench.post("a", false), bench.post("b\n", true)];
        bench.app.send(b"a line\nthe next").await;
        assert_eq!(bench.client.read(19).await, b"a line\na\nb\nthe next");
        for answer in answers {
            assert_eq!(answer.await, Ok(Ok(())));
        }
        let several = Refusal::Unfit(Unfit::SeveralLines);
        assert_eq!(bench.post("a\nb", false).await, Ok(Err(several)));

        let keys = "framing: { length_prefix: { bytes: 2, includes_itself: true, max: 1KiB } },";
        let mut bench = Setup {
            keys,
            ..Setup::tcp("{}")
        }
        .open();
        let answer = bench.post("four", true);
        assert_eq!(bench.client.read(6).await, b"\0\x06four");
        assert_eq!(answer.await, Ok(Ok(())));
        let most = bench.post(vec![0; 1022], true);
        assert_eq!(bench.client.read(1024).await[..2], [4, 0]);
        assert_eq!(most.await, Ok(Ok(())));
        let limit = Refusal::Unfit(Unfit::TooLarge { limit: 1024 });
        assert_eq!(bench.post(vec![0; 1023], true).await, Ok(Err(limit)));
    });
}

#[test]
fn raw_bytes_know_no_messages() {
    in_virtual_time(async {
        let bench = Setup::tcp("{}").open();
        assert_eq!(bench.post("a", false).await, Ok(Err(Refusal::Raw)));
        assert_eq!(bench.ask().await, Ok(Err(Refusal::Raw)));
        let keys = "framing: line,";
        let bench = Setup {
            keys,
            ..Setup::tcp("{}")
        }
        .open();
        assert_eq!(bench.ask().await, Ok(Err(Refusal::NoReply)));
    });
}

#[test]
fn it_is_sent_when_the_last_byte_is_taken_and_not_before() {
    in_virtual_time(async {
        let mut bench = Setup {
            pipe: 64,
            ..Setup::websocket(QUIET)
        }
        .open();
        let mut long = bench.post(vec![b'x'; 100], true);
        let mut behind = bench.post("behind", false);
        assert!(
            timeout(LONG, &mut long).await.is_err(),
            "the pipe holds 64 bytes of it"
        );
        assert_eq!(bench.client.hear().await, Heard::Data(vec![b'x'; 100]));
        assert_eq!(long.await, Ok(Ok(())));
        assert_eq!(bench.client.hear().await, text("behind"));
        assert_eq!((&mut behind).await, Ok(Ok(())));
    });
}

#[test]
fn a_client_that_does_not_read_holds_one_message_and_a_mebibyte() {
    in_virtual_time(async {
        let mut bench = Setup {
            pipe: 64,
            ..Setup::websocket(QUIET)
        }
        .open();
        let begun = bench.post(vec![0; 1024 * 1024], true);
        sleep(Duration::from_millis(1)).await;
        let waiting = bench.post(vec![0; 1024 * 1024], true);
        assert_eq!(bench.post("one more", false).await, Ok(Err(Refusal::Full)));
        drop((begun, waiting));
        let heard = bench.post("instead", false);
        assert!(
            matches!(bench.client.hear().await, Heard::Data(begun) if begun.len() == 1024 * 1024)
        );
        assert_eq!(
            bench.client.hear().await,
            text("instead"),
            "what nobody waits for was never begun"
        );
        assert_eq!(heard.await, Ok(Ok(())));
    });
}

#[test]
fn a_slow_client_of_a_busy_app_still_gets_its_messages() {
    in_virtual_time(async {
        let bench = Setup {
            pipe: 4096,
            ..Setup::websocket(QUIET)
        }
        .open();
        let answer = bench.post("news", false);
        let (mut client, mut app) = (bench.client, bench.app);
        let talk = tokio::task::spawn_local(async move {
            let frame = app.frame(OPCODE_TEXT, &[b'x'; 10_000]);
            loop {
                app.send(&frame).await;
            }
        });
        let mut heard = 0;
        while client.hear().await != text("news") {
            sleep(Duration::from_millis(50)).await;
            heard += 1;
            assert!(heard < 20, "it waits for ever");
        }
        assert_eq!(answer.await, Ok(Ok(())));
        talk.abort();
    });
}

#[test]
fn the_end_of_a_stream_lets_go_of_what_waits() {
    in_virtual_time(async {
        let mut bench = Setup {
            pipe: 64,
            ..Setup::websocket(QUIET)
        }
        .open();
        let begun = bench.post(vec![b'x'; 100], true);
        sleep(Duration::from_millis(1)).await;
        let (waiting, pinging) = (bench.post("late", false), bench.ask());
        sleep(Duration::from_millis(1)).await;
        let (reply, ended) = oneshot::channel();
        let cause = Cause::new(Reason::AdminClose).with_code(Some(4001));
        let manner = Manner::Goodbye;
        bench.command(Command::Cut {
            cause,
            manner,
            reply,
        });
        assert_eq!(ended.await, Ok(()));
        assert!(waiting.await.is_err() && pinging.await.is_err());
        assert_eq!(bench.client.hear().await, Heard::Data(vec![b'x'; 100]));
        assert_eq!(
            begun.await,
            Ok(Ok(())),
            "what had begun is finished before the Close"
        );
        assert_eq!(
            bench.client.hear().await,
            Heard::Close(Some(4001), "admin_close".into())
        );
        assert!(bench.post("later", false).await.is_err());
        let record = bench.closed().await.0;
        assert_eq!(
            (record.reason, record.by, record.close_code),
            ("admin_close", "admin", Some(4001))
        );
    });
}

#[test]
fn an_app_that_has_ended_its_side_ends_messages_too() {
    in_virtual_time(async {
        let keys = "framing: line,";
        let mut bench = Setup {
            keys,
            ..Setup::tcp("{}")
        }
        .open();
        bench.app.send(b"bye\n").await;
        bench.app.fin().await;
        assert_eq!(bench.client.rest().await, b"bye\n");
        assert_eq!(bench.post("a", false).await, Ok(Err(Refusal::HalfClosed)));
        assert!(bench.is_open());
    });
}

#[test]
fn an_aborted_stream_ends_at_once_and_without_a_close() {
    in_virtual_time(async {
        let mut bench = Setup::websocket("{ close_timeout: 60s }").open();
        let (reply, ended) = oneshot::channel();
        let cause = Cause::new(Reason::AdminClose).with_code(Some(4001));
        bench.command(Command::Cut {
            cause,
            manner: Manner::Reset,
            reply,
        });
        assert_eq!(ended.await, Ok(()));
        assert!(
            bench.ended().await < 0.01,
            "no close_timeout for those who are reset"
        );
        assert_eq!(
            bench.client.hear().await,
            Heard::Fin,
            "a pipe knows no reset"
        );
        assert_eq!(bench.closed().await.0.close_code, None);
    });
}
