//! Records as they come: cut anywhere, with an error behind them, with new keys between them.

use std::future::poll_fn;
use std::io::ErrorKind;
use std::pin::Pin;
use std::task::Poll;

use rustls::version::{TLS12, TLS13};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::*;
use crate::net::leg::Io;

fn of_version(version: &'static rustls::SupportedProtocolVersion) -> ClientConfig {
    let client = Trusting {
        versions: vec![version],
        ..Trusting::new()
    };
    client.config()
}

/// Bytes that no two places share for long.
fn pattern(len: usize) -> Vec<u8> {
    (0..len)
        .map(|at| (at % 251) as u8 ^ (at / 251) as u8)
        .collect()
}

#[tokio::test]
async fn every_byte_passes_both_ways_whatever_a_reader_has_room_for() {
    let server = listener(&[&Authority::new().issue(&["localhost"])]);
    for version in [&TLS12, &TLS13] {
        for room in [1, 100, 16 * 1024 - 1, 64 * 1024] {
            let (mut leg, client) = connected(&server, of_version(version)).await;
            let wanted = pattern(if room == 1 { 40_000 } else { 1_000_000 });
            let (mut far, mut near) = tokio::io::split(client);
            let sent = wanted.clone();
            let sending = tokio::spawn(async move {
                near.write_all(&sent).await.unwrap();
                near.flush().await.unwrap();
                near
            });
            let mut heard = Vec::new();
            let mut chunk = vec![0; room];
            while heard.len() < wanted.len() {
                let count = leg.read(&mut chunk).await.unwrap();
                assert_ne!(count, 0);
                heard.extend_from_slice(&chunk[..count]);
            }
            assert!(heard == wanted, "{version:?}, reads of {room}");
            let _near = sending.await.unwrap();
            let reading = tokio::spawn(async move {
                let mut back = vec![0; 1_000_000];
                far.read_exact(&mut back).await.unwrap();
                back
            });
            let back = pattern(1_000_000);
            leg.write_all(&back).await.unwrap();
            leg.flush().await.unwrap();
            assert!(reading.await.unwrap() == back, "{version:?}");
        }
    }
}

#[tokio::test]
async fn bytes_before_an_error_pass_and_the_peer_is_told() {
    let server = listener(&[&Authority::new().issue(&["localhost"])]);
    let (mut leg, mut client) = connected(&server, Trusting::new().config()).await;
    client.write_all(b"still right").await.unwrap();
    client.flush().await.unwrap();
    let (tcp, _) = client.get_mut();
    tcp.write_all(&[23, 3, 3, 0, 32]).await.unwrap();
    tcp.write_all(&[0; 32]).await.unwrap();
    let mut heard = [0; 64];
    assert_eq!(leg.read(&mut heard).await.unwrap(), 11);
    let error = leg.read(&mut heard).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidData);
    let told = client.read(&mut heard).await.unwrap_err().to_string();
    assert!(told.contains("BadRecordMac"), "{told}");
    // Whatever comes now, a session that has failed is asked for nothing more.
    client.get_mut().0.write_all(&[0; 64]).await.unwrap();
    let again = leg.read(&mut heard).await.unwrap_err();
    assert_eq!(again.kind(), ErrorKind::BrokenPipe);
    assert!(leg.write_all(b"x").await.is_err());
    leg.shutdown().await.unwrap();
}

#[tokio::test]
async fn new_keys_of_the_client_are_followed() {
    let server = listener(&[&Authority::new().issue(&["localhost"])]);
    let (mut leg, mut client) = connected(&server, of_version(&TLS13)).await;
    for round in 0..3_u8 {
        client.get_mut().1.refresh_traffic_keys().unwrap();
        client.write_all(&[round]).await.unwrap();
        client.flush().await.unwrap();
        assert_eq!(leg.read_u8().await.unwrap(), round);
        leg.write_all(&[round + 100]).await.unwrap();
        leg.flush().await.unwrap();
        assert_eq!(client.read_u8().await.unwrap(), round + 100);
    }
}

#[tokio::test]
async fn a_peer_that_reads_late_gets_what_waits_with_the_flush() {
    let server = listener(&[&Authority::new().issue(&["localhost"])]);
    let (mut leg, mut client) = connected(&server, Trusting::new().config()).await;
    let block = pattern(64 * 1024);
    let mut sent = 0;
    loop {
        let write = poll_fn(|cx| Poll::Ready(Pin::new(&mut leg).poll_write(cx, &block)));
        match write.await {
            Poll::Ready(count) => sent += count.unwrap(),
            Poll::Pending => break,
        }
    }
    let reading = tokio::spawn(async move {
        let mut heard = vec![0; sent];
        client.read_exact(&mut heard).await.unwrap();
        heard
    });
    leg.flush().await.unwrap();
    let heard = reading.await.unwrap();
    assert!(heard.chunks(block.len()).all(|part| part == block));
}

#[tokio::test]
async fn tickets_go_with_the_first_bytes_where_the_version_allows() {
    let server = listener(&[&Authority::new().issue(&["localhost"])]);
    for (version, waits) in [(&TLS12, false), (&TLS13, true)] {
        let (mut leg, mut client) = connected(&server, of_version(version)).await;
        let flight = leg.raw_bytes_written();
        leg.flush().await.unwrap();
        assert_eq!(leg.raw_bytes_written(), flight, "they are in no hurry");
        leg.write_all(b"x").await.unwrap();
        let first = leg.raw_bytes_written() - flight;
        leg.write_all(b"x").await.unwrap();
        let second = leg.raw_bytes_written() - flight - first;
        assert_eq!(first > second, waits, "{first} and {second} bytes");
        let mut heard = [0; 2];
        client.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"xx");
    }
}
