//! The end of a connection that is no stream.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout, timeout_at};

use super::Connection;
use crate::listener::Phase;
use crate::net::leg::Leg;
use crate::proto::cause::Rejection;
use crate::stream::LINGER;

/// How long, and how much, is read of a client that goes on sending after the last answer, until it notices.
const LINGER_LONGEST: Duration = Duration::from_secs(5);
const LINGER_BYTES: usize = 64 << 20;

impl Connection<'_> {
    /// Counts how a connection without a stream ended and says goodbye to it.
    pub(super) async fn finish(&self, mut leg: Leg, end: Option<hyper::Result<()>>, in_head: bool) {
        self.attempt.seat.wait(Phase::Idle);
        match end {
            Some(Ok(())) => {}
            None => self.late(&mut leg).await,
            // The same timer ends a connection that was kept alive and asks nothing more: that one is no failure.
            Some(Err(error)) if error.is_timeout() && (in_head || self.asked.get() == 0) => {
                self.late(&mut leg).await;
            }
            // Little is left for hyper to find, and it has answered that itself.
            Some(Err(error)) if error.is_parse() => self.attempt.reject(Rejection::BadRequest),
            Some(Err(error)) => {
                tracing::debug!(client = %self.attempt.client, %error, "HTTP connection ended")
            }
        }
        if self.verdict.take().is_some() {
            // A body went wrong whose request had its answer already.
            self.attempt.reject(Rejection::BadRequest);
        }
        linger(leg).await;
    }

    async fn late(&self, leg: &mut Leg) {
        self.attempt.reject(Rejection::HandshakeTimeout);
        write_answer(leg, "408 Request Timeout").await;
    }
}

async fn write_answer(leg: &mut Leg, status: &str) {
    let answer = format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    // A client that does not even take this is dropped with the connection.
    let _ = timeout(LINGER, leg.write_all(answer.as_bytes())).await;
}

/// FIN first, then what the client still sends is read until it notices: closing with unread data resets the connection,
/// and the reset can overtake the answer (RFC 9112 section 9.6).
async fn linger(mut leg: Leg) {
    let longest = Instant::now() + LINGER_LONGEST;
    if !matches!(timeout(LINGER, leg.shutdown()).await, Ok(Ok(()))) {
        return;
    }
    let mut scratch = vec![0; 16 * 1024];
    let mut left = LINGER_BYTES;
    while left > 0 {
        let silence = longest.min(Instant::now() + LINGER);
        match timeout_at(silence, leg.read(&mut scratch)).await {
            Ok(Ok(read @ 1..)) => left = left.saturating_sub(read),
            Ok(Ok(0) | Err(_)) | Err(_) => return,
        }
    }
}
