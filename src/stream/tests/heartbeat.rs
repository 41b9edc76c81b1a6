//! Who is asked, where, and who is given up when.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::bench::{Heard, Setup, in_virtual_time};
use crate::proto::cause::{End, Reason};
use crate::proto::websocket::{OPCODE_BINARY, OPCODE_PING, OPCODE_PONG, OPCODE_TEXT};
use crate::worker::Command;

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

#[test]
fn a_silent_client_is_asked_and_then_given_up_at_the_limit() {
    in_virtual_time(async {
        let mut bench =
            Setup::websocket("{ idle_limit: 55s, ping: { interval: 25s, jitter: 0% } }").open();
        let mut pings = Vec::new();
        let close = loop {
            match bench.client.hear().await {
                Heard::Ping(token) => pings.push((bench.now(), token)),
                close => break close,
            }
        };
        assert_eq!(close, Heard::Close(Some(1001), "client_idle".into()));
        let first = pings[0].0;
        assert!(
            (12.5..=25.002).contains(&first),
            "the first from (interval/2, interval]: {first}"
        );
        assert!(
            (pings[1].0 - first - 25.0).abs() < 0.01,
            "then one an interval"
        );
        assert_ne!(pings[0].1, pings[1].1, "tokens are fresh");
        let (record, after) = bench.closed().await;
        assert_eq!(
            (record.reason, record.by, record.close_code),
            ("client_idle", "sidecar", Some(1001))
        );
        assert!(
            (55.0..55.005).contains(&after),
            "never before, and at once: {after}"
        );
        assert_eq!(record.stream.pings.sent, Some(pings.len() as u64));
        assert_eq!(
            bench.app.hear().await,
            Heard::Close(Some(1001), "client_idle".into())
        );
        assert_eq!(bench.app.hear().await, Heard::Fin);
        assert_eq!(bench.client.hear().await, Heard::Fin);
    });
}

#[test]
fn a_client_that_answers_lives_and_the_app_sees_none_of_it() {
    in_virtual_time(async {
        let mut bench = Setup::websocket("{ idle_limit: 55s, ping: { interval: 25s } }").open();
        while bench.now() < 3600.0 {
            match bench.client.hear().await {
                Heard::Ping(token) => bench.client.send_frame(OPCODE_PONG, &token).await,
                other => panic!("{other:?}"),
            }
        }
        assert!(bench.is_open());
        let silence = timeout(seconds(1), bench.app.hear()).await;
        assert!(silence.is_err(), "our pongs are kept back: {silence:?}");
        let metrics = std::sync::Arc::clone(&bench.listener().metrics);
        assert!(metrics.pongs(End::Client).get() >= 140);
    });
}

/// What is written to a side is never that side's traffic: a talking app must not hide a dead client.
#[test]
fn a_chatty_app_does_not_hide_a_dead_client() {
    in_virtual_time(async {
        let mut bench = Setup {
            pipe: 1 << 20,
            ..Setup::websocket("{ idle_limit: 55s }")
        }
        .open();
        let talk = async {
            loop {
                bench.app.send_text("tick").await;
                sleep(seconds(1)).await;
                if !bench.worker.shared.registry.closed().is_empty() {
                    break;
                }
            }
        };
        talk.await;
        let (record, after) = bench.closed().await;
        assert_eq!(record.reason, "client_idle");
        assert!((55.0..55.005).contains(&after), "{after}");
    });
}

#[test]
fn any_byte_counts_as_traffic_and_half_a_message_is_no_message() {
    in_virtual_time(async {
        for (counts, expected) in [("traffic", 155.0), ("messages", 55.0)] {
            let heartbeat = match counts {
                "traffic" => "{ idle_limit: 55s, ping: off }",
                _ => "{ idle_limit: 55s, idle_counts: messages, ping: off }",
            };
            let mut bench = Setup::websocket(heartbeat).open();
            let frame = bench.client.frame(OPCODE_TEXT, &[b'x'; 100]);
            for byte in &frame[..10] {
                sleep(seconds(10)).await;
                if bench.is_open() {
                    bench.client.send(&[*byte]).await;
                }
            }
            let (record, after) = bench.closed().await;
            assert_eq!(record.reason, "client_idle");
            assert!(
                (expected..expected + 0.005).contains(&after),
                "{counts}: {after}"
            );
        }
    });
}

/// RFC 6455 allows a Ping between two fragments, and several clients break on it: it goes there only when it has been
/// due for half an interval, and never inside a frame.
#[test]
fn a_ping_waits_for_the_end_of_the_message_then_for_the_end_of_the_frame() {
    in_virtual_time(async {
        let heartbeat = "{ idle_limit: 100s, ping: { interval: 20s, jitter: 0% } }";
        let mut bench = Setup::websocket(heartbeat).open();
        let first = bench.app.fragment(OPCODE_TEXT, b"one", false);
        bench.app.send(&first).await;
        assert_eq!(bench.client.hear().await, Heard::Data(b"one".to_vec()));
        let Heard::Ping(token) = bench.client.hear().await else {
            panic!("a ping between two frames")
        };
        let forced = bench.now();
        assert!(
            (20.0..=30.01).contains(&forced),
            "due in (10, 20], and half an interval later: {forced}"
        );
        bench.client.send_frame(OPCODE_PONG, &token).await;

        let second = bench.app.fragment(0, &[b'z'; 50], false);
        bench.app.send(&second[..20]).await;
        bench.client.read(20).await;
        let inside = timeout(seconds(40), bench.client.read(1)).await;
        assert!(inside.is_err(), "nothing may be put inside a frame");
        bench.app.send(&second[20..]).await;
        bench.client.read(32).await;
        assert!(
            matches!(bench.client.hear().await, Heard::Ping(_)),
            "right behind the frame"
        );
    });
}

#[test]
fn a_ping_of_the_app_is_not_overtaken_by_ours() {
    in_virtual_time(async {
        let heartbeat = "{ idle_limit: 60s, ping: { interval: 20s, jitter: 0% } }";
        let mut bench = Setup::websocket(heartbeat).open();
        bench.app.send_frame(OPCODE_PING, b"app's own").await;
        assert_eq!(
            bench.client.hear().await,
            Heard::Ping(b"app's own".to_vec())
        );
        let Heard::Ping(token) = bench.client.hear().await else {
            panic!("ours comes in the end")
        };
        assert_eq!(token.len(), 8);
        assert!(
            (40.0..40.01).contains(&bench.now()),
            "after idle_limit - interval: {}",
            bench.now()
        );
    });
}

#[test]
fn data_heartbeats_go_between_messages_and_their_replies_are_kept_back() {
    in_virtual_time(async {
        let heartbeat = "{ idle_limit: 55s, ping: { interval: 20s, data: '{\"type\":\"ping\"}', reply: pong } }";
        let mut bench = Setup::websocket(heartbeat).open();
        for _ in 0..5 {
            assert_eq!(
                bench.client.hear().await,
                Heard::Data(b"{\"type\":\"ping\"}".to_vec())
            );
            bench.client.send_text("pong").await;
        }
        bench.client.send_text("pongo").await;
        assert_eq!(
            bench.app.hear().await,
            Heard::Data(b"pongo".to_vec()),
            "only the reply itself is kept back"
        );
    });
}

/// Between two frames of a message there is room for a control frame, and for no other message (RFC 6455 5.4).
#[test]
fn data_heartbeats_never_go_into_a_message_however_long_it_takes() {
    in_virtual_time(async {
        for (heartbeat, expected) in [
            (
                "{ idle_limit: 1h, ping: { interval: 20s, data: ping } }",
                b"ping".as_slice(),
            ),
            (
                "{ idle_limit: 1h, ping: { interval: 20s, data: 'hex:0102' } }",
                &[1, 2],
            ),
        ] {
            let mut bench = Setup::websocket(heartbeat).open();
            let first = bench.app.fragment(OPCODE_TEXT, b"one", false);
            bench.app.send(&first).await;
            assert_eq!(bench.client.hear().await, Heard::Data(b"one".to_vec()));
            let inside = timeout(seconds(600), bench.client.hear()).await;
            assert!(inside.is_err(), "{inside:?}");
            let last = bench.app.fragment(0, b"two", true);
            bench.app.send(&last).await;
            assert_eq!(bench.client.hear().await, Heard::Data(b"two".to_vec()));
            let heartbeat = bench.client.hear().await;
            assert_eq!(heartbeat, Heard::Data(expected.to_vec()));
        }
    });
}

#[test]
fn the_app_is_asked_with_masked_pings_and_given_up_too() {
    in_virtual_time(async {
        let heartbeat =
            "{ idle_limit: off, ping: off, upstream_ping: 10s, upstream_idle_limit: 30s }";
        let mut bench = Setup::websocket(heartbeat).open();
        for _ in 0..3 {
            let Heard::Ping(token) = bench.app.hear().await else {
                panic!("a ping")
            };
            bench.app.send_frame(OPCODE_PONG, &token).await;
        }
        let answered = bench.now();
        let (record, after) = bench.closed().await;
        assert_eq!(
            (record.reason, record.close_code),
            ("upstream_idle", Some(1001))
        );
        assert!(
            (29.99..30.01).contains(&(after - answered)),
            "{after} {answered}"
        );
        assert_eq!(
            bench.client.hear().await,
            Heard::Close(Some(1001), "upstream_idle".into())
        );
    });
}

#[test]
fn a_client_that_takes_nothing_is_given_up_at_the_stall_limit() {
    in_virtual_time(async {
        let heartbeat = "{ idle_limit: 300s, ping: off, stall_limit: 30s }";
        let mut bench = Setup {
            pipe: 64,
            ..Setup::websocket(heartbeat)
        }
        .open();
        let frame = bench.app.frame(OPCODE_BINARY, &[1; 4000]);
        let stuck = timeout(seconds(20), bench.app.send(&frame)).await;
        assert!(stuck.is_err());
        bench.client.read(1).await;
        let progressed = bench.now();
        let (record, after) = bench.closed().await;
        assert_eq!(record.reason, "client_stalled");
        assert!(
            (29.99..30.01).contains(&(after - progressed)),
            "from the last byte it took: {after} {progressed}"
        );
    });
}

/// A slow download is alive: its kernel acknowledged data, which is seen as a blocked write that goes on.
#[test]
fn a_slow_reader_of_one_huge_frame_is_alive() {
    in_virtual_time(async {
        let heartbeat = "{ idle_limit: 55s, stall_limit: 60s }";
        let mut bench = Setup {
            pipe: 64,
            ..Setup::websocket(heartbeat)
        }
        .open();
        let frame = bench.app.frame(OPCODE_BINARY, &[1; 4000]);
        let read = async {
            for _ in 0..20 {
                sleep(seconds(40)).await;
                bench.client.read(100).await;
            }
        };
        let (writer, ()) = tokio::join!(timeout(seconds(800), bench.app.send(&frame)), read);
        assert!(writer.is_err() || bench.is_open());
        assert!(
            bench.is_open(),
            "{:?}",
            bench.worker.shared.registry.closed()
        );
    });
}

#[test]
fn a_reload_shortens_a_limit_without_cutting_anybody_early() {
    in_virtual_time(async {
        let bench = Setup::websocket("{ idle_limit: 300s, ping: off }").open();
        sleep(seconds(100)).await;
        let mut policy = bench.listener().terms.load().policy.clone();
        policy.idle_limit = Some(seconds(40));
        bench.replace_policy(policy);
        let (record, after) = bench.closed().await;
        assert_eq!(
            (record.reason, record.idle_limit_ms),
            ("client_idle", Some(40_000))
        );
        assert!(
            (140.0..140.01).contains(&after),
            "reload + new limit: {after}"
        );
    });
}

#[test]
fn observe_reports_once_and_closes_nobody() {
    in_virtual_time(async {
        let mut bench = Setup::websocket("{ idle_limit: 30s, ping: off, mode: observe }").open();
        sleep(seconds(100)).await;
        let metrics = std::sync::Arc::clone(&bench.listener().metrics);
        let overdue = metrics.overdue(Reason::ClientIdle).unwrap();
        assert_eq!(overdue.get(), 1);
        bench.client.send_text("back").await;
        assert_eq!(bench.app.hear().await, Heard::Data(b"back".to_vec()));
        sleep(seconds(31)).await;
        assert_eq!(
            (overdue.get(), metrics.heard_again.get_sample_count()),
            (2, 1)
        );
        assert!((69.0..71.0).contains(&metrics.heard_again.get_sample_sum()));
        assert!(bench.is_open());
    });
}

#[test]
fn an_admin_or_a_drain_ends_the_stream_with_its_code() {
    in_virtual_time(async {
        let mut bench = Setup::websocket("{}").open();
        bench.command(Command::Close(bench.worker.shared.drain_cause()));
        assert_eq!(
            bench.client.hear().await,
            Heard::Close(Some(1012), "drain".into())
        );
        assert_eq!(
            bench.app.hear().await,
            Heard::Close(Some(1012), "drain".into())
        );
        assert_eq!(bench.reason().await, "drain");
    });
}

/// A heartbeat after the FIN that was passed on would break the client's connection: it may still be sending.
#[test]
fn a_client_whose_app_has_ended_its_side_is_asked_no_more() {
    in_virtual_time(async {
        let mut bench = Setup {
            keys: "framing: line,",
            ..Setup::tcp("{ ping: { interval: 10s, data: \"beat\\n\" }, half_close_limit: off }")
        }
        .open();
        assert_eq!(bench.client.read(5).await, b"beat\n");
        bench.app.fin().await;
        assert_eq!(bench.client.rest().await, b"");
        sleep(seconds(60)).await;
        assert!(bench.is_open());
        bench.client.send(b"the rest of it\n").await;
        assert_eq!(bench.app.read(15).await, b"the rest of it\n");
        bench.client.fin().await;
        assert_eq!(bench.reason().await, "upstream_close");
    });
}
