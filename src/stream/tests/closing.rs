//! How each side is told, and how long it may take (rule 10).

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::time::sleep;

use super::bench::{Heard, Setup, in_virtual_time};
use crate::proto::websocket::OPCODE_BINARY;
use crate::worker::Command;

const QUIET: &str = "{ idle_limit: off, ping: off }";

#[test]
fn a_clients_close_passes_untouched_and_the_answer_passes_back() {
    in_virtual_time(async {
        let mut bench = Setup::websocket(QUIET).open();
        bench.client.send_close(4001, "bye").await;
        assert_eq!(
            bench.app.hear().await,
            Heard::Close(Some(4001), "bye".into())
        );
        bench.app.send_text("last words").await;
        bench.app.send_close(4001, "bye too").await;
        assert_eq!(
            bench.client.hear().await,
            Heard::Data(b"last words".to_vec())
        );
        assert_eq!(
            bench.client.hear().await,
            Heard::Close(Some(4001), "bye too".into())
        );
        assert_eq!(
            (bench.client.hear().await, bench.app.hear().await),
            (Heard::Fin, Heard::Fin)
        );
        bench.client.fin().await;
        bench.app.fin().await;
        assert!(bench.ended().await < 0.1);
        let (record, _) = bench.closed().await;
        assert_eq!(
            (record.reason, record.by, record.close_code),
            ("client_close", "client", Some(4001))
        );
        assert_eq!(record.close_reason.as_deref(), Some("bye"));
    });
}

#[test]
fn an_apps_close_passes_and_a_client_that_never_answers_is_waited_for_no_longer_than_close_timeout()
{
    in_virtual_time(async {
        let mut bench =
            Setup::websocket("{ idle_limit: off, ping: off, close_timeout: 7s }").open();
        bench.app.send_close(1000, "").await;
        assert_eq!(
            bench.client.hear().await,
            Heard::Close(Some(1000), String::new())
        );
        let ended = bench.ended().await;
        assert!((7.0..7.01).contains(&ended), "{ended}");
        assert_eq!(bench.reason().await, "upstream_close");
    });
}

#[test]
fn a_client_that_vanishes_leaves_the_app_a_fin_without_close() {
    in_virtual_time(async {
        let mut bench = Setup::websocket(QUIET).open();
        bench.client.send_text("hi").await;
        bench.client.fin().await;
        assert_eq!(bench.app.hear().await, Heard::Data(b"hi".to_vec()));
        assert_eq!(bench.app.hear().await, Heard::Fin);
        let (record, _) = bench.closed().await;
        assert_eq!(
            (record.reason, record.by, record.close_code),
            ("client_gone", "client", None)
        );
    });
}

#[test]
fn an_app_that_vanishes_leaves_the_client_a_close() {
    in_virtual_time(async {
        let mut bench = Setup::websocket(QUIET).open();
        bench.app.fin().await;
        assert_eq!(
            bench.client.hear().await,
            Heard::Close(Some(1001), "upstream_gone".into())
        );
        assert_eq!(bench.client.hear().await, Heard::Fin);
        bench.client.fin().await;
        assert!(bench.ended().await < 0.1);
    });
}

#[test]
fn a_violation_is_1002_to_both_and_names_who() {
    in_virtual_time(async {
        let mut bench = Setup::websocket(QUIET).open();
        bench.client.send_text("fine").await;
        bench.client.send(&[0xf1, 0x80, 0, 0, 0, 0]).await;
        assert_eq!(
            bench.app.hear().await,
            Heard::Data(b"fine".to_vec()),
            "what was right before it passes"
        );
        assert_eq!(
            bench.app.hear().await,
            Heard::Close(Some(1002), "protocol_error".into())
        );
        bench.app.send_text("answer to fine").await;
        bench.app.send_close(1002, "understood").await;
        assert_eq!(
            bench.client.hear().await,
            Heard::Data(b"answer to fine".to_vec()),
            "alone, the app would have been heard"
        );
        assert_eq!(
            bench.client.hear().await,
            Heard::Close(Some(1002), "protocol_error".into())
        );
        assert_eq!(bench.app.hear().await, Heard::Fin);
        let (record, _) = bench.closed().await;
        assert!(
            record.detail.as_deref().unwrap().starts_with("client: "),
            "{:?}",
            record.detail
        );
        assert_eq!(record.reason, "protocol_error");
    });
}

#[test]
fn the_offender_does_not_wait_for_an_app_that_says_nothing_final() {
    in_virtual_time(async {
        for inside in [false, true] {
            let mut bench = Setup::websocket(QUIET).open();
            let frame = bench.app.frame(OPCODE_BINARY, &[9; 100]);
            if inside {
                bench.app.send(&frame[..50]).await;
                bench.client.read(50).await;
            }
            bench.client.send(&[0xf1, 0x80, 0, 0, 0, 0]).await;
            assert_eq!(
                bench.app.hear().await,
                Heard::Close(Some(1002), "protocol_error".into())
            );
            if inside {
                sleep(Duration::from_secs(2)).await;
                bench.app.send(&frame[50..]).await;
                bench.client.read(52).await;
            }
            assert_eq!(
                bench.client.hear().await,
                Heard::Close(Some(1002), "protocol_error".into())
            );
            let expected = if inside { 2.0 } else { 1.0 };
            assert!(
                (expected..expected + 0.01).contains(&bench.now()),
                "{}",
                bench.now()
            );
        }
    });
}

#[test]
fn a_message_over_the_limit_is_1009_before_any_of_it_passes() {
    in_virtual_time(async {
        let keys = "limits: { message: 64B },";
        let mut bench = Setup {
            keys,
            ..Setup::websocket(QUIET)
        }
        .open();
        bench.client.send_frame(OPCODE_BINARY, &[1; 65]).await;
        assert_eq!(
            bench.app.hear().await,
            Heard::Close(Some(1009), "message_too_big".into())
        );
        assert_eq!(
            bench.client.hear().await,
            Heard::Close(Some(1009), "message_too_big".into())
        );
    });
}

/// A peer that ignores its Close and talks on is read only so far.
#[test]
fn endless_talk_after_a_close_is_cut_at_a_mebibyte() {
    in_virtual_time(async {
        let mut bench = Setup {
            pipe: 4096,
            ..Setup::websocket("{ close_timeout: 60s }")
        }
        .open();
        bench.command(Command::Close(bench.worker.shared.drain_cause()));
        bench.app.fin().await;
        let mut sent = 0;
        while bench.client.pipe.write_all(&[0; 1024]).await.is_ok() && sent < (4 << 20) {
            sent += 1024;
        }
        assert!((1 << 20..2 << 20).contains(&sent), "{sent}");
        assert!(bench.ended().await < 1.0);
    });
}

#[test]
fn half_closed_and_silent_ends_at_its_limit() {
    in_virtual_time(async {
        let mut bench = Setup::tcp("{ half_close_limit: 30s }").open();
        bench.client.send(b"request").await;
        bench.client.fin().await;
        assert_eq!(bench.app.rest().await, b"request");
        sleep(Duration::from_secs(20)).await;
        bench.app.send(b"part").await;
        assert_eq!(bench.client.read(4).await, b"part");
        let (record, after) = bench.closed().await;
        assert_eq!(
            (record.reason, record.close_code),
            ("half_close_timeout", None)
        );
        assert!(
            (50.0..50.01).contains(&after),
            "30 s after the last byte of the other side: {after}"
        );
        assert_eq!(bench.client.rest().await, b"");
    });
}

#[test]
fn a_task_that_dies_is_recorded_by_its_guard() {
    in_virtual_time(async {
        let bench = Setup::websocket(QUIET).open();
        bench.abort();
        assert_eq!(bench.reason().await, "internal_error");
    });
}
