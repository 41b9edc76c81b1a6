//! What becomes of a frame that is under way when its stream ends (rule 10).

use std::time::Duration;

use tokio::time::sleep;

use super::bench::{Heard, Setup, in_virtual_time};
use crate::proto::websocket::{OPCODE_BINARY, OPCODE_TEXT};
use crate::worker::Command;

const QUIET: &str = "{ idle_limit: off, ping: off }";

#[test]
fn an_app_that_vanishes_in_mid_frame_leaves_a_fin_alone() {
    in_virtual_time(async {
        let mut bench = Setup::websocket(QUIET).open();
        let frame = bench.app.frame(OPCODE_BINARY, &[9; 100]);
        bench.app.send(&frame[..50]).await;
        bench.app.fin().await;
        assert_eq!(
            bench.client.rest().await,
            frame[..50],
            "a Close inside a frame would be payload"
        );
        assert_eq!(bench.reason().await, "upstream_gone");
    });
}

#[test]
fn a_frame_under_way_may_finish_in_a_drain_and_nothing_passes_after_it() {
    in_virtual_time(async {
        let mut bench = Setup::websocket(QUIET).open();
        let frame = bench.app.frame(OPCODE_BINARY, &[9; 100]);
        bench.app.send(&frame[..50]).await;
        bench.client.read(50).await;
        bench.command(Command::Close(bench.worker.shared.drain_cause()));
        assert_eq!(
            bench.app.hear().await,
            Heard::Close(Some(1012), "drain".into())
        );
        let mut more = frame[50..].to_vec();
        more.extend(bench.app.frame(OPCODE_TEXT, b"too late"));
        bench.app.send(&more).await;
        assert_eq!(bench.client.read(52).await, frame[50..]);
        assert_eq!(
            bench.client.hear().await,
            Heard::Close(Some(1012), "drain".into())
        );
        assert_eq!(bench.client.hear().await, Heard::Fin);
    });
}

#[test]
fn the_frames_under_way_of_both_sides_may_finish_at_once() {
    in_virtual_time(async {
        let mut bench = Setup::websocket(QUIET).open();
        let down = bench.app.frame(OPCODE_BINARY, &[9; 100]);
        let up = bench.client.frame(OPCODE_BINARY, &[8; 100]);
        bench.app.send(&down[..50]).await;
        bench.client.send(&up[..50]).await;
        bench.client.read(50).await;
        bench.app.read(50).await;
        bench.command(Command::Close(bench.worker.shared.drain_cause()));
        bench.app.send(&down[50..]).await;
        bench.client.send(&up[50..]).await;
        bench.client.send_frame(OPCODE_TEXT, b"too late").await;
        for (peer, rest) in [
            (&mut bench.app, &up[50..]),
            (&mut bench.client, &down[50..]),
        ] {
            assert_eq!(peer.read(rest.len()).await, rest);
            let close = Heard::Close(Some(1012), "drain".into());
            assert_eq!(peer.hear().await, close);
            assert_eq!(peer.hear().await, Heard::Fin);
        }
    });
}

#[test]
fn a_frame_that_never_finishes_ends_at_close_timeout() {
    in_virtual_time(async {
        let mut bench =
            Setup::websocket("{ idle_limit: off, ping: off, close_timeout: 3s }").open();
        let frame = bench.app.frame(OPCODE_BINARY, &[9; 100]);
        bench.app.send(&frame[..50]).await;
        bench.client.read(50).await;
        bench.command(Command::Close(bench.worker.shared.drain_cause()));
        assert_eq!(bench.client.rest().await, b"");
        let ended = bench.ended().await;
        assert!((3.0..3.01).contains(&ended), "{ended}");
    });
}

#[test]
fn the_frame_of_a_silent_client_is_not_waited_for() {
    in_virtual_time(async {
        let mut bench = Setup::websocket("{ idle_limit: 20s, ping: off }").open();
        let frame = bench.client.frame(OPCODE_BINARY, &[9; 100]);
        bench.client.send(&frame[..50]).await;
        assert_eq!(
            bench.app.rest().await,
            frame[..50],
            "FIN at once and no Close"
        );
        assert_eq!(
            bench.client.hear().await,
            Heard::Close(Some(1001), "client_idle".into())
        );
        assert!((20.0..20.01).contains(&bench.closed().await.1));
    });
}

#[test]
fn a_side_that_is_given_up_gets_nothing_behind_what_it_did_not_take() {
    in_virtual_time(async {
        let mut bench = Setup {
            pipe: 4096,
            ..Setup::websocket(QUIET)
        }
        .open();
        let payload: Vec<u8> = (0..5000_u16).flat_map(u16::to_be_bytes).collect();
        let frame = bench.app.frame(OPCODE_BINARY, &payload);
        // One pipe is full of it, as much waits in the relay, and the rest in the other pipe.
        bench.app.send(&frame[..10_000]).await;
        bench.command(Command::Close(bench.worker.shared.drain_cause()));
        bench.client.send(&[0; 1 << 20]).await;
        // On this clock: until the relay has nothing left to read.
        sleep(Duration::from_millis(1)).await;
        bench.app.fin().await;
        assert_eq!(bench.client.rest().await, frame[..4096]);
    });
}
