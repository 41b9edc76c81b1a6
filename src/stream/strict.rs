//! The client's side as hyper reads it: nothing that is not a well-formed request gets past.

use std::cell::Cell;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use crate::net::leg::Leg;
use crate::proto::request::{Fault, Part, Requests};

/// One read; heads are smaller, and bodies are no bulk transfers here.
const READ: usize = 8 * 1024;

/// A request that was refused.
#[derive(Debug, Clone, Copy)]
pub(super) struct Refused {
    /// Its place on the connection, from 1.
    pub(super) request: u64,
    pub(super) fault: Fault,
}

/// What the reader found, for the one who answers.
pub(super) type Verdict = Rc<Cell<Option<Refused>>>;

/// A client's connection with its requests judged before hyper reads them.
///
/// In the place of a head that is refused hyper reads a stand-in, so that the refusal is answered in its turn, after
/// the answers to earlier requests, and by the one place that answers. A body that is refused is a failed read.
pub(super) struct Strict {
    leg: Leg,
    requests: Requests,
    /// Judged, not read by hyper yet.
    passed: Bytes,
    verdict: Verdict,
    ended: bool,
    /// How long the client may take nothing of an answer.
    stall: Duration,
    /// Runs while it takes nothing.
    blocked: Option<Pin<Box<Sleep>>>,
}

impl Strict {
    /// Nothing is read yet. `head`: the longest one, in bytes. `stall`: how long the client may take nothing of an
    /// answer.
    pub(super) fn new(leg: Leg, head: usize, stall: Duration, verdict: Verdict) -> Self {
        Self {
            leg,
            requests: Requests::new(head),
            passed: Bytes::new(),
            verdict,
            ended: false,
            stall,
            blocked: None,
        }
    }

    /// Whether a head has begun and is not complete.
    pub(super) fn in_head(&self) -> bool {
        self.requests.in_head()
    }

    /// The connection, and what hyper has not read of it.
    pub(super) fn into_parts(self) -> (Leg, Bytes) {
        (self.leg, self.passed)
    }

    /// Passes on what a write said, or ends it if the client has taken nothing for too long.
    fn bounded<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.blocked = None;
            return written;
        }
        let stall = self.stall;
        let blocked = self.blocked.get_or_insert_with(|| Box::pin(sleep(stall)));
        ready!(blocked.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    fn judge(&mut self, input: &[u8]) {
        let mut passed = Vec::new();
        let judged = if input.is_empty() {
            self.ended = true;
            self.requests.end()
        } else {
            self.requests.feed(input, &mut passed)
        };
        if let Err(fault) = judged {
            if self.requests.refused() == Some(Part::Head) {
                passed.extend_from_slice(b"GET /refused HTTP/1.1\r\nHost: refused\r\n\r\n");
            }
            let request = self.requests.heads();
            self.verdict.set(Some(Refused { request, fault }));
        }
        self.passed = passed.into();
    }
}

impl AsyncRead for Strict {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.passed.is_empty() {
            if self.requests.is_beyond() {
                return Pin::new(&mut self.leg).poll_read(cx, buf);
            }
            match self.requests.refused() {
                Some(Part::Body) => return Poll::Ready(Err(io::ErrorKind::InvalidData.into())),
                Some(Part::Head) => return Poll::Ready(Ok(())),
                None if self.ended => return Poll::Ready(Ok(())),
                None => {}
            }
            let mut room = [MaybeUninit::uninit(); READ];
            let mut room = ReadBuf::uninit(&mut room);
            ready!(Pin::new(&mut self.leg).poll_read(cx, &mut room))?;
            self.judge(room.filled());
        }
        let taken = self.passed.len().min(buf.remaining());
        buf.put_slice(&self.passed[..taken]);
        self.passed.advance(taken);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Strict {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.leg).poll_write(cx, buf);
        self.bounded(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.leg).poll_write_vectored(cx, bufs);
        self.bounded(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.leg.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.leg).poll_flush(cx);
        self.bounded(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.leg).poll_shutdown(cx)
    }
}
