//! What waits for one side: nothing while the side takes everything at once.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::net::leg::Io;
use crate::worker::Lent;

/// Bytes that a side has not taken yet.
///
/// ```text
/// taken by the socket │ one write (inside TLS) or in a pipe │ pending[at..] (here)
/// ```
#[derive(Debug, Default)]
pub(super) struct Outbox {
    /// Behind a box, which an idle stream does not have.
    waiting: Option<Box<Waiting>>,
    blocked: bool,
    /// Bytes that left `pending` or never had to wait there: positions count from the first byte ever sent.
    passed: u64,
    /// Those of them that the socket has taken: TLS takes bytes before its socket does. This belongs to the direction and not
    /// to one turn: a relay that forgets it between two turns stalls for good on a peer that reads late.
    flushed: u64,
}

#[derive(Debug, Default)]
struct Waiting {
    /// Bytes that went past us from socket to socket, as far as they are not there yet.
    pipe: Option<Lent>,
    pending: Vec<u8>,
    at: usize,
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

impl Waiting {
    /// Bytes in the pipe and behind it.
    fn len(&self) -> usize {
        let piped = self.pipe.as_ref().map_or(0, |pipe| pipe.held());
        piped + self.pending.len() - self.at
    }
}

impl Outbox {
    /// Whether bytes wait; such a direction is not read.
    pub(super) fn waits(&self) -> bool {
        self.flushed < self.passed || self.keeps()
    }

    /// Whether bytes wait here or in the pipe.
    fn keeps(&self) -> bool {
        self.waiting
            .as_ref()
            .is_some_and(|waiting| waiting.len() > 0)
    }

    /// Hands `bytes` to the side and keeps what it does not take.
    pub(super) fn send<T: Io>(
        &mut self,
        to: &mut T,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> io::Result<()> {
        let mut rest = bytes;
        while !self.keeps() && !rest.is_empty() {
            match self.poll_write(to, cx, rest)? {
                Poll::Ready(count) => rest = &rest[count..],
                Poll::Pending => break,
            }
        }
        if !rest.is_empty() {
            let waiting = self.waiting.get_or_insert_default();
            waiting.pending.extend_from_slice(rest);
        }
        Ok(())
    }

    /// Writes once the socket has taken all that was written before, so that TLS holds one write at most and it is known of
    /// everything before that it has left.
    fn poll_write<T: Io>(
        &mut self,
        to: &mut T,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> io::Result<Poll<usize>> {
        self.settle(to, cx)?;
        if self.flushed < self.passed {
            return Ok(Poll::Pending);
        }
        match Pin::new(to).poll_write(cx, bytes)? {
            Poll::Ready(0) => Err(io::ErrorKind::WriteZero.into()),
            Poll::Ready(count) => {
                self.passed += count as u64;
                Ok(Poll::Ready(count))
            }
            Poll::Pending => Ok(Poll::Pending),
        }
    }

    fn settle<T: Io>(&mut self, to: &mut T, cx: &mut Context<'_>) -> io::Result<()> {
        if self.flushed < self.passed && Pin::new(to).poll_flush(cx)?.is_ready() {
            self.flushed = self.passed;
        }
        Ok(())
    }

    /// Takes over what lies in `pipe`; nothing may wait before it. `flush` moves it.
    pub(super) fn carry(&mut self, pipe: Lent) {
        self.waiting.get_or_insert_default().pipe = Some(pipe);
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
        self.waiting.get_or_insert_default().heartbeat = Some(Heartbeat { end, token });
        Ok(())
    }

    /// Moves what waits. The buffer is given back as soon as it is empty.
    pub(super) fn flush<T: Io>(
        &mut self,
        to: &mut T,
        cx: &mut Context<'_>,
    ) -> io::Result<Appetite> {
        let before = (self.passed, to.raw_bytes_written());
        if let Some(mut waiting) = self.waiting.take() {
            let moved = self.move_on(&mut waiting, to, cx);
            self.waiting = Some(waiting).filter(|left| left.len() > 0 || left.heartbeat.is_some());
            moved?;
        }
        self.settle(to, cx)?;
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

    fn move_on<T: Io>(
        &mut self,
        waiting: &mut Waiting,
        to: &mut T,
        cx: &mut Context<'_>,
    ) -> io::Result<()> {
        if let Some(pipe) = &mut waiting.pipe {
            let Some(socket) = to.socket() else {
                return Ok(());
            };
            while pipe.held() > 0 {
                match pipe.poll_drain(cx, socket)? {
                    Poll::Ready(drained) => {
                        self.passed += drained as u64;
                        self.flushed = self.passed;
                    }
                    Poll::Pending => return Ok(()),
                }
            }
            waiting.pipe = None;
        }
        while waiting.at < waiting.pending.len() {
            // A heartbeat ends its write, so that it is known when it has left.
            let heartbeat = waiting.heartbeat.map_or(0, |heartbeat| heartbeat.end);
            let until = match heartbeat.checked_sub(self.passed) {
                Some(ahead @ 1..) => waiting.at + ahead as usize,
                Some(0) | None => waiting.pending.len(),
            };
            match self.poll_write(to, cx, &waiting.pending[waiting.at..until])? {
                Poll::Ready(count) => waiting.at += count,
                Poll::Pending => return Ok(()),
            }
        }
        (waiting.pending, waiting.at) = (Vec::new(), 0);
        Ok(())
    }

    /// The token of the heartbeat whose last byte the socket has taken since the last call.
    pub(super) fn heartbeat_sent(&mut self) -> Option<Option<[u8; 8]>> {
        let waiting = self.waiting.as_mut()?;
        let heartbeat = waiting
            .heartbeat
            .take_if(|heartbeat| heartbeat.end <= self.flushed)?;
        if waiting.len() == 0 {
            self.waiting = None;
        }
        Some(heartbeat.token)
    }

    /// Whether a heartbeat is on its way out.
    pub(super) fn has_heartbeat(&self) -> bool {
        let waiting = self.waiting.as_ref();
        waiting.is_some_and(|waiting| waiting.heartbeat.is_some())
    }

    /// The position behind everything that was sent.
    pub(super) fn end(&self) -> u64 {
        let waiting = self.waiting.as_ref().map_or(0, |waiting| waiting.len());
        self.passed + waiting as u64
    }

    /// The position up to which the socket has certainly taken everything.
    pub(super) fn taken(&self) -> u64 {
        self.flushed
    }

    /// Drops what waits: the side is gone.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

    use super::*;

    /// A session that takes all it is given, over a socket that takes what there is room for.
    #[derive(Default)]
    struct Session {
        held: usize,
        room: usize,
        written: usize,
    }

    impl Session {
        fn send(&mut self) -> bool {
            let count = self.held.min(self.room);
            (self.held, self.room) = (self.held - count, self.room - count);
            self.written += count;
            self.held == 0
        }
    }

    impl AsyncRead for Session {
        fn poll_read(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    impl AsyncWrite for Session {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            plain: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.held += plain.len();
            self.send();
            Poll::Ready(Ok(plain.len()))
        }

        fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            if self.send() {
                Poll::Ready(Ok(()))
            } else {
                Poll::Pending
            }
        }

        fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.poll_flush(cx)
        }
    }

    impl Io for Session {
        fn raw_bytes_read(&self) -> u64 {
            0
        }

        fn raw_bytes_written(&self) -> u64 {
            self.written as u64
        }

        fn has_input(&self) -> bool {
            false
        }

        fn reset(&self) {}
    }

    #[test]
    fn a_heartbeat_is_sent_when_it_has_left_and_not_when_all_behind_it_has() {
        let mut cx = Context::from_waker(Waker::noop());
        for before in [0, 5] {
            let mut side = Session::default();
            let mut outbox = Outbox::default();
            let token = Some([7; 8]);
            outbox
                .send(&mut side, &mut cx, &[b'a'; 5][..before])
                .unwrap();
            outbox
                .send_heartbeat(&mut side, &mut cx, b"ping", token)
                .unwrap();
            outbox.send(&mut side, &mut cx, b"behind it").unwrap();
            side.room = before + 3;
            assert_ne!(
                outbox.flush(&mut side, &mut cx).unwrap(),
                Appetite::Unblocked
            );
            assert_eq!(outbox.heartbeat_sent(), None);
            side.room = 2;
            assert_ne!(
                outbox.flush(&mut side, &mut cx).unwrap(),
                Appetite::Unblocked
            );
            assert_eq!(outbox.taken(), before as u64 + 4);
            assert_eq!(outbox.heartbeat_sent(), Some(token));
            assert!(outbox.waits());
            side.room = 100;
            assert_eq!(
                outbox.flush(&mut side, &mut cx).unwrap(),
                Appetite::Unblocked
            );
            assert_eq!(outbox.heartbeat_sent(), None);
            assert_eq!(side.written, before + 13);
        }
    }
}
