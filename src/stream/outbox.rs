//! What waits for one side: nothing while the side takes everything at once.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::net::leg::Io;
use crate::worker::Lent;

/// Bytes that a side has not taken yet.
///
/// ```text
/// taken by the socket │ unflushed (inside TLS) or in a pipe │ pending[at..] (here)
/// ```
#[derive(Debug, Default)]
pub(super) struct Outbox {
    pending: Vec<u8>,
    at: usize,
    /// TLS took bytes before its socket did. This belongs to the direction and not to one turn: a relay that forgets it
    /// between two turns stalls for good on a peer that reads late.
    unflushed: bool,
    /// Bytes that went past us from socket to socket, as far as they are not there yet.
    pipe: Option<Box<Lent>>,
    blocked: bool,
    /// Bytes that left `pending` or never had to wait there: positions count from the first byte ever sent.
    passed: u64,
    heartbeat: Option<Heartbeat>,
}

/// A heartbeat on its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Heartbeat {
    /// The position behind its last byte.
    end: u64,
    token: Option<[u8; 8]>,
}

/// How a side's appetite changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Appetite {
    /// It takes what comes, as before.
    Free,
    /// It takes nothing, since now or as before.
    Blocked,
    /// It was blocked and took some.
    Progressed,
    /// It was blocked and took all.
    Unblocked,
}

impl Outbox {
    /// Whether bytes wait; such a direction is not read.
    pub(super) fn waits(&self) -> bool {
        self.unflushed || self.pipe.is_some() || !self.pending.is_empty()
    }

    /// Hands `bytes` to the side and keeps what it does not take.
    pub(super) fn send<T: Io>(
        &mut self,
        to: &mut T,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> io::Result<()> {
        let mut rest = bytes;
        while self.pipe.is_none() && self.pending.is_empty() && !rest.is_empty() {
            match Pin::new(&mut *to).poll_write(cx, rest) {
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(taken)) => {
                    self.unflushed = true;
                    self.passed += taken as u64;
                    rest = &rest[taken..];
                }
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => break,
            }
        }
        self.pending.extend_from_slice(rest);
        Ok(())
    }

    /// Takes over what lies in `pipe`; nothing may wait before it. `flush` moves it.
    pub(super) fn carry(&mut self, pipe: Lent) {
        self.pipe = Some(Box::new(pipe));
    }

    /// Appends a heartbeat; `flush` tells when its last byte is out.
    pub(super) fn send_heartbeat<T: Io>(
        &mut self,
        to: &mut T,
        cx: &mut Context<'_>,
        bytes: &[u8],
        token: Option<[u8; 8]>,
    ) -> io::Result<()> {
        self.send(to, cx, bytes)?;
        let end = self.end();
        self.heartbeat = Some(Heartbeat { end, token });
        Ok(())
    }

    /// Moves what waits. The buffer is given back as soon as it is empty.
    pub(super) fn flush<T: Io>(
        &mut self,
        to: &mut T,
        cx: &mut Context<'_>,
    ) -> io::Result<Appetite> {
        let before = (self.passed, to.raw_bytes_written());
        self.drain(to, cx)?;
        while self.pipe.is_none() && self.at < self.pending.len() {
            match Pin::new(&mut *to).poll_write(cx, &self.pending[self.at..]) {
                Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(taken)) => {
                    self.unflushed = true;
                    self.passed += taken as u64;
                    self.at += taken;
                }
                Poll::Ready(Err(error)) => return Err(error),
                Poll::Pending => break,
            }
        }
        if self.at == self.pending.len() {
            (self.pending, self.at) = (Vec::new(), 0);
        }
        if self.unflushed && Pin::new(&mut *to).poll_flush(cx)?.is_ready() {
            self.unflushed = false;
        }
        let took = before != (self.passed, to.raw_bytes_written());
        let blocked = self.waits();
        let was_blocked = std::mem::replace(&mut self.blocked, blocked);
        Ok(match (was_blocked, blocked) {
            (false, false) => Appetite::Free,
            (true, true) if took => Appetite::Progressed,
            (false | true, true) => Appetite::Blocked,
            (true, false) => Appetite::Unblocked,
        })
    }

    fn drain<T: Io>(&mut self, to: &T, cx: &mut Context<'_>) -> io::Result<()> {
        let (Some(pipe), Some(socket)) = (&mut self.pipe, to.socket()) else {
            return Ok(());
        };
        while pipe.held() > 0 {
            match pipe.poll_drain(cx, socket)? {
                Poll::Ready(drained) => self.passed += drained as u64,
                Poll::Pending => return Ok(()),
            }
        }
        self.pipe = None;
        Ok(())
    }

    /// The token of the heartbeat whose last byte the socket has taken since the last call.
    pub(super) fn heartbeat_sent(&mut self) -> Option<Option<[u8; 8]>> {
        let taken = self.taken();
        let heartbeat = self.heartbeat.take_if(|heartbeat| heartbeat.end <= taken)?;
        Some(heartbeat.token)
    }

    /// Whether a heartbeat is on its way out.
    pub(super) fn has_heartbeat(&self) -> bool {
        self.heartbeat.is_some()
    }

    /// The position behind everything that was sent.
    pub(super) fn end(&self) -> u64 {
        let piped = self.pipe.as_ref().map_or(0, |pipe| pipe.held());
        self.passed + (piped + self.pending.len() - self.at) as u64
    }

    /// The position up to which the socket has certainly taken everything; 0 while TLS holds some of it.
    pub(super) fn taken(&self) -> u64 {
        if self.unflushed { 0 } else { self.passed }
    }

    /// Drops what waits: the side is gone.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}
