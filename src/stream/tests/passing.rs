//! Bytes pass, all of them, in order, and no buffer grows.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, split};
use tokio::time::timeout;

use super::bench::{Heard, Setup, in_virtual_time};
use crate::net::leg::Leg;
use crate::proto::websocket::{OPCODE_BINARY, OPCODE_PING, OPCODE_PONG};
use crate::stream::relay::{Ahead, Relay};

const QUIET: &str = "{ idle_limit: off, ping: off }";

#[test]
fn messages_pass_both_ways_through_the_smallest_pipes() {
    in_virtual_time(async {
        let bench = Setup {
            pipe: 3,
            ..Setup::websocket(QUIET)
        }
        .open();
        let payload: Vec<u8> = (0..=255).cycle().take(70_000).collect();
        let (to_app, to_client) = (
            bench.client.frame(OPCODE_BINARY, &payload),
            bench.app.frame(OPCODE_BINARY, &payload),
        );
        let (mut client_reads, mut client_writes) = split(bench.client.pipe);
        let (mut app_reads, mut app_writes) = split(bench.app.pipe);
        let (mut at_app, mut at_client) = (vec![0; to_app.len()], vec![0; to_client.len()]);
        let (a, b, c, d) = tokio::join!(
            client_writes.write_all(&to_app),
            app_writes.write_all(&to_client),
            app_reads.read_exact(&mut at_app),
            client_reads.read_exact(&mut at_client),
        );
        assert!(a.is_ok() && b.is_ok() && c.is_ok() && d.is_ok());
        assert!(
            at_app == to_app && at_client == to_client,
            "no byte is changed"
        );
    });
}

#[test]
fn what_was_read_with_the_heads_comes_first() {
    in_virtual_time(async {
        let ahead: [&[u8]; 2] = [b"\x81\x82\x01\x02\x03\x04ik", b"\x81\x03"];
        let mut bench = Setup {
            ahead,
            ..Setup::websocket(QUIET)
        }
        .open();
        assert_eq!(bench.app.hear().await, Heard::Data(b"hi".to_vec()));
        bench.app.send(b"yes").await;
        assert_eq!(bench.client.hear().await, Heard::Data(b"yes".to_vec()));
    });
}

#[test]
fn all_that_was_read_ahead_counts_though_it_ends_the_stream() {
    in_virtual_time(async {
        let bench = Setup {
            ahead: [b"\x81\x02not masked", b"\x81\x03yes"],
            ..Setup::websocket(QUIET)
        }
        .open();
        let (record, _) = bench.closed().await;
        assert_eq!(record.reason, "protocol_error");
        let bytes = record.stream.bytes;
        assert_eq!((bytes.client, bytes.upstream), (Some(12), Some(5)));
    });
}

#[test]
fn pings_and_pongs_of_the_two_ends_pass_untouched() {
    in_virtual_time(async {
        let mut bench = Setup::websocket("{ idle_limit: 55s, ping: { interval: 10s } }").open();
        bench.client.send_frame(OPCODE_PING, b"from me").await;
        assert_eq!(bench.app.hear().await, Heard::Ping(b"from me".to_vec()));
        bench.app.send_frame(OPCODE_PONG, b"from me").await;
        assert_eq!(bench.client.hear().await, Heard::Pong(b"from me".to_vec()));
        bench.client.send_frame(OPCODE_PONG, b"8 bytes!").await;
        assert_eq!(
            bench.app.hear().await,
            Heard::Pong(b"8 bytes!".to_vec()),
            "not one of our tokens"
        );
    });
}

/// A direction whose sink takes nothing is not read: memory of a stream is bounded by one read.
#[test]
fn a_side_that_takes_nothing_stops_the_other() {
    in_virtual_time(async {
        let mut bench = Setup {
            pipe: 1024,
            ..Setup::websocket("{ idle_limit: off, ping: off, stall_limit: off }")
        }
        .open();
        let frame = bench.app.frame(OPCODE_BINARY, &vec![7; 1 << 20]);
        let written = timeout(Duration::from_secs(600), bench.app.pipe.write_all(&frame)).await;
        assert!(
            written.is_err(),
            "a mebibyte must not fit anywhere between the two"
        );
        assert!(bench.is_open());
        let head = bench.client.read(10).await;
        assert_eq!(head, frame[..10], "and what fits comes out in order");
    });
}

#[test]
fn raw_bytes_pass_with_half_closes_either_way() {
    in_virtual_time(async {
        for first_is_client in [true, false] {
            let mut bench = Setup::tcp("{}").open();
            let (first, second) = if first_is_client {
                (&mut bench.client, &mut bench.app)
            } else {
                (&mut bench.app, &mut bench.client)
            };
            first.send(b"request").await;
            first.fin().await;
            assert_eq!(second.rest().await, b"request");
            second.send(b"long answer").await;
            second.fin().await;
            assert_eq!(first.rest().await, b"long answer");
            let expected = if first_is_client {
                "client_close"
            } else {
                "upstream_close"
            };
            assert_eq!(bench.reason().await, expected);
            bench.ended().await;
        }
    });
}

#[test]
fn half_a_record_at_the_end_passes_too() {
    in_virtual_time(async {
        let keys = "framing: { length_prefix: { bytes: 4, includes_itself: true } },";
        let mut bench = Setup {
            keys,
            ..Setup::tcp("{}")
        }
        .open();
        bench.client.send(b"\0\0").await;
        bench.client.fin().await;
        assert_eq!(bench.app.rest().await, b"\0\0");
    });
}
/// What an idle stream keeps in its task: the relay itself, its timer and next to nothing else.
#[test]
fn the_future_of_a_stream_is_small() {
    fn size<C, U, F: std::future::Future>(_: fn(Relay<C, U>, Ahead) -> F) -> usize {
        size_of::<F>()
    }
    let size = size(Relay::<Leg, Leg>::run);
    assert!(size <= 792, "{size} bytes");
}
