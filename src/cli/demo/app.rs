//! The app of the demo: echoes WebSocket messages and lines, and has never heard of heartbeats.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    CONNECTION, CONTENT_TYPE, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::proto::upgrade;
use crate::proto::websocket::{OPCODE_CLOSE, OPCODE_PING, OPCODE_PONG, apply_mask, encode};

const PAGE: &str = include_str!("page.html");

/// More than anybody types.
const FRAME_MAX: u64 = 1024 * 1024;

/// Serves the page, and WebSocket streams on every path.
pub(super) async fn serve_http(socket: TcpListener) {
    loop {
        let (stream, _) = accept(&socket).await;
        let serve = http1::Builder::new()
            .timer(TokioTimer::new())
            .serve_connection(TokioIo::new(stream), service_fn(answer))
            .with_upgrades();
        // A connection that broke is nobody's loss.
        tokio::spawn(async move { drop(serve.await) });
    }
}

/// Sends back every byte, and so every line.
pub(super) async fn serve_lines(socket: TcpListener) {
    loop {
        let (mut stream, _) = accept(&socket).await;
        tokio::spawn(async move {
            let (mut from, mut to) = stream.split();
            tokio::io::copy(&mut from, &mut to).await?;
            to.shutdown().await
        });
    }
}

async fn accept(socket: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match socket.accept().await {
            Ok(accepted) => return accepted,
            // Out of descriptors, or a connection that is gone already: the next may do.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn answer(mut request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let body = !request.body().is_end_stream();
    let judged = upgrade::request(request.method(), request.version(), request.headers(), body);
    let accept = match judged {
        upgrade::Request::WebSocket { accept } => accept,
        upgrade::Request::Http => {
            let mut page = Response::new(Full::from(PAGE));
            let html = HeaderValue::from_static("text/html");
            page.headers_mut().insert(CONTENT_TYPE, html);
            return Ok(page);
        }
        upgrade::Request::Refuse { status, why } => {
            let mut refusal = Response::new(Full::from(why));
            *refusal.status_mut() = status;
            let version = HeaderValue::from_static("13");
            refusal.headers_mut().insert(SEC_WEBSOCKET_VERSION, version);
            return Ok(refusal);
        }
    };
    let upgraded = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        if let Ok(stream) = upgraded.await {
            // A client that broke the protocol has lost its connection, as it would anywhere.
            let _ = echo(BufReader::new(TokioIo::new(stream))).await;
        }
    });
    let answer = Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(CONNECTION, "Upgrade")
        .header(UPGRADE, "websocket")
        .header(SEC_WEBSOCKET_ACCEPT, accept)
        .body(Full::default());
    Ok(answer.expect("all headers are valid"))
}

/// Sends back every frame of a message as it came, answers pings and Close as RFC 6455 section 5.5 asks of everybody.
async fn echo(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
    let mut out = Vec::new();
    loop {
        let (first, payload) = frame(&mut stream).await?;
        let opcode = first & 0x0F;
        out.clear();
        match opcode {
            OPCODE_PONG => continue,
            OPCODE_PING => encode(OPCODE_PONG, &payload, None, &mut out),
            _ => {
                encode(opcode, &payload, None, &mut out);
                // Unfinished messages stay so.
                out[0] = first;
            }
        }
        stream.write_all(&out).await?;
        stream.flush().await?;
        if opcode == OPCODE_CLOSE {
            return stream.shutdown().await;
        }
    }
}

/// The first byte of a frame and its payload, unmasked.
async fn frame(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<(u8, Vec<u8>)> {
    let [first, second] = [stream.read_u8().await?, stream.read_u8().await?];
    let length = match second & 0x7F {
        126 => u64::from(stream.read_u16().await?),
        127 => stream.read_u64().await?,
        short => u64::from(short),
    };
    if second & 0x80 == 0 || length > FRAME_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut key = [0; 4];
    stream.read_exact(&mut key).await?;
    let mut payload = vec![0; length as usize];
    stream.read_exact(&mut payload).await?;
    apply_mask(&mut payload, key);
    Ok((first, payload))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A masked frame as a client sends it.
    fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        encode(first & 0x0F, payload, Some([1, 2, 3, 4]), &mut out);
        out[0] = first;
        out
    }

    fn plain(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        encode(first & 0x0F, payload, None, &mut out);
        out[0] = first;
        out
    }

    #[tokio::test]
    async fn frames_come_back_as_they_were_and_close_ends_it() {
        let (mut client, app) = tokio::io::duplex(8);
        let echoing = tokio::spawn(echo(app));
        let long = vec![b'x'; 70_000];
        for (sent, expected) in [
            (masked(0x81, b"hello"), plain(0x81, b"hello")),
            (masked(0x01, b"two "), plain(0x01, b"two ")),
            (masked(0x89, b"?"), plain(0x8A, b"?")),
            (masked(0x80, b"parts"), plain(0x80, b"parts")),
            (masked(0x82, &long), plain(0x82, &long)),
            (masked(0x88, &[3, 232]), plain(0x88, &[3, 232])),
        ] {
            let pong_first = masked(0x8A, b"unasked");
            client.write_all(&pong_first).await.unwrap();
            client.write_all(&sent).await.unwrap();
            let mut got = vec![0; expected.len()];
            client.read_exact(&mut got).await.unwrap();
            assert_eq!(got, expected);
        }
        assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
        echoing.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_declared_length_is_not_trusted_with_memory() {
        let (mut client, app) = tokio::io::duplex(64);
        client
            .write_all(&[0x82, 0xFF, 0x7F, 255, 255, 255, 255, 255, 255, 255])
            .await
            .unwrap();
        let error = echo(app).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}
