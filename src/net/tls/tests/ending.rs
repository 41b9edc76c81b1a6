//! What a leg hears below and above TLS, and how a session ends.

use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::net::leg::Io;

/// A byte each way.
pub(super) async fn exchange(leg: &mut Leg, client: &mut Client) {
    client.write_all(b"?").await.unwrap();
    client.flush().await.unwrap();
    assert_eq!(leg.read_u8().await.unwrap(), b'?');
    leg.write_all(b"!").await.unwrap();
    leg.flush().await.unwrap();
    assert_eq!(client.read_u8().await.unwrap(), b'!');
}

async fn session() -> (Leg, Client) {
    let authority = Authority::new();
    let server = listener(&[&authority.issue(&["localhost"])]);
    let (mut leg, mut client) = connected(&server, Trusting::new().config()).await;
    exchange(&mut leg, &mut client).await;
    (leg, client)
}

#[tokio::test]
async fn close_notify_is_an_end_after_which_the_other_side_may_still_speak() {
    let (mut leg, mut client) = session().await;
    client.shutdown().await.unwrap();
    assert_eq!(leg.read(&mut [0; 8]).await.unwrap(), 0);
    leg.write_all(b"answer").await.unwrap();
    leg.shutdown().await.unwrap();
    let mut heard = Vec::new();
    client.read_to_end(&mut heard).await.unwrap();
    assert_eq!(heard, b"answer");
}

#[tokio::test]
async fn our_shutdown_is_a_close_notify_after_which_we_still_hear() {
    let (mut leg, mut client) = session().await;
    leg.shutdown().await.unwrap();
    assert_eq!(client.read(&mut [0; 8]).await.unwrap(), 0);
    client.write_all(b"late").await.unwrap();
    client.shutdown().await.unwrap();
    let mut heard = Vec::new();
    leg.read_to_end(&mut heard).await.unwrap();
    assert_eq!(heard, b"late");
}

#[tokio::test]
async fn a_fin_without_close_notify_is_no_proper_end() {
    let (mut leg, client) = session().await;
    drop(client);
    let error = leg.read(&mut [0; 8]).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
}

#[tokio::test]
async fn a_reset_is_seen_as_one_by_either_side() {
    let (mut leg, client) = session().await;
    client.get_ref().0.set_zero_linger().unwrap();
    drop(client);
    let error = leg.read(&mut [0; 8]).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);

    let (leg, mut client) = session().await;
    leg.reset();
    drop(leg);
    let error = client.read(&mut [0; 8]).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn bytes_that_complete_no_record_are_heard_below_tls() {
    let (mut leg, client) = session().await;
    let before = leg.raw_bytes_read();
    assert!(before > 100, "the handshake was read through the sensor");
    assert!(!leg.has_input());
    // Application data, TLS 1.2 on the wire, 32 bytes to come.
    let head = [0x17, 0x03, 0x03, 0, 32];
    SockRef::from(client.get_ref().0).send(&head).unwrap();
    assert!(leg.has_input());
    assert_eq!(leg.raw_bytes_read(), before, "a look is no read");
    while leg.has_input() {
        let mut byte = [0];
        tokio::select! {
            biased;
            plaintext = leg.read(&mut byte) => panic!("{plaintext:?}"),
            () = tokio::task::yield_now() => {}
        }
    }
    assert_eq!(leg.raw_bytes_read(), before + 5);
}

#[tokio::test]
async fn plaintext_on_a_tls_port_fails_the_handshake() {
    let authority = Authority::new();
    let server = listener(&[&authority.issue(&["localhost"])]);
    let (mut dialed, accepted) = tcp_pair().await;
    dialed.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let error = accept(server.acceptor(), accepted, Rc::default())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
}

#[tokio::test]
async fn a_peer_that_reads_nothing_is_owed_a_bounded_amount() {
    let (mut leg, client) = session().await;
    let (chunk, mut taken) = (vec![0; 64 * 1024], 0);
    // What the kernel's buffers take is a few megabytes; then the session's own limit has to say no.
    while taken < 64 << 20 {
        tokio::select! {
            biased;
            written = leg.write(&chunk) => taken += written.unwrap(),
            () = tokio::task::yield_now() => {
                drop(client);
                return;
            }
        }
    }
    panic!("{taken} bytes taken");
}
