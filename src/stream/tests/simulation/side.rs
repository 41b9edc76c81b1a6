//! The proxy's end of a pipe, as a socket or a TLS session over one.

use std::cell::RefCell;
use std::io;
use std::os::fd::BorrowedFd;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use rand::RngExt;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::pipe::{Ending, Pipe};
use super::trace::What;
use crate::net::leg::Io;
use crate::net::splice::Socket;

impl Pipe {
    fn note_waiting(&mut self, what: usize, waits: bool) {
        let before = self.is_blocked();
        self.waits[what] = waits;
        let to = self.end;
        match (before, self.is_blocked()) {
            (false, true) => self.trace.note(What::Blocked { to }),
            (true, false) => self.trace.note(What::Free { to }),
            (false, false) | (true, true) => {}
        }
    }

    /// How many of so many bytes the socket would take now.
    fn would_take(&mut self, bytes: usize) -> usize {
        let most = self.random.random_range(1..=self.nature.chunk);
        bytes.min(self.free()).min(most)
    }

    /// Hands bytes to the socket; returns how many it took.
    fn socket_takes(&mut self, bytes: &[u8]) -> usize {
        let count = self.would_take(bytes.len());
        self.send(&bytes[..count]);
        count
    }

    fn send(&mut self, bytes: &[u8]) {
        let count = bytes.len();
        if count == 0 {
            return;
        }
        let at = self.arrival(self.outward.last);
        self.outward.last = at;
        self.outward.bytes += count;
        self.outward.segments.push_back((at, bytes.to_vec()));
        self.to_peer.extend(bytes);
        self.raw_written += count as u64;
        let to = self.end;
        if self.is_blocked() {
            self.trace.note(What::Progressed { to });
        }
        self.trace.note(What::Took { to, bytes: count });
        self.trace.news.notify_one();
    }

    /// Moves what TLS holds to the socket.
    fn drain_session(&mut self) {
        loop {
            let bytes = std::mem::take(&mut self.session);
            let (front, _) = bytes.as_slices();
            let count = self.socket_takes(front);
            self.session = bytes;
            self.session.drain(..count);
            if count == 0 {
                return;
            }
        }
    }

    fn write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.still_there()?;
        assert!(!self.shut, "{:?}: written behind the end", self.end);
        let count = match self.nature.tls {
            None => self.socket_takes(bytes),
            Some(room) => {
                self.drain_session();
                let count = bytes.len().min(room.saturating_sub(self.session.len()));
                self.session.extend(&bytes[..count]);
                self.drain_session();
                count
            }
        };
        self.took(cx, count)
    }

    /// What the socket says to someone of whom it took so many bytes.
    fn took(&mut self, cx: &mut Context<'_>, count: usize) -> Poll<io::Result<usize>> {
        self.note_waiting(0, count == 0);
        if count == 0 {
            self.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(Ok(count))
    }

    fn flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.still_there()?;
        self.drain_session();
        self.note_waiting(1, !self.session.is_empty());
        if !self.session.is_empty() {
            self.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    fn still_there(&self) -> io::Result<()> {
        if self.ended == Some(Ending::Reset) {
            self.trace.note(What::WriteFailed { to: self.end });
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        Ok(())
    }

    /// At most so many bytes; none are the end.
    fn read(&mut self, cx: &mut Context<'_>, most: usize) -> Poll<io::Result<Vec<u8>>> {
        if std::mem::take(&mut self.stale) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let most = self.random.random_range(1..=self.nature.chunk).min(most);
        let (raw, plain) = match self.nature.tls {
            None => {
                let count = most.min(self.kernel.len());
                (count, self.kernel.drain(..count).collect::<Vec<_>>())
            }
            Some(_) => {
                let raw = self.kernel.len();
                self.sealed.extend(self.kernel.drain(..));
                self.raw_read += raw as u64;
                (raw, self.open_records(most))
            }
        };
        let from = self.end;
        if raw > 0 || !plain.is_empty() {
            let plain = plain.len();
            self.trace.note(What::Read { from, raw, plain });
            self.trace.news.notify_one();
        }
        if !plain.is_empty() {
            self.from_peer.extend(&plain);
            return Poll::Ready(Ok(plain));
        }
        match self.ended.filter(|_| self.kernel.is_empty()) {
            Some(ending) => {
                self.end_read = true;
                let reset = ending == Ending::Reset;
                self.trace.note(What::ReadEnd { from, reset });
                match ending {
                    Ending::Fin => Poll::Ready(Ok(plain)),
                    Ending::Reset => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
                }
            }
            None => {
                self.reader = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// The plain bytes of whole records.
    fn open_records(&mut self, most: usize) -> Vec<u8> {
        let Some(record) = self.records.front_mut() else {
            return Vec::new();
        };
        // What is left of a record whose first part was given out is whole as well: it was cut off the front of both.
        if self.sealed.len() < *record {
            return Vec::new();
        }
        let count = most.min(*record);
        *record -= count;
        if *record == 0 {
            self.records.pop_front();
        }
        self.sealed.drain(..count).collect()
    }
}

/// The proxy's end of a pipe.
pub(super) struct Side(pub(super) Rc<RefCell<Pipe>>);

impl Drop for Side {
    fn drop(&mut self) {
        let pipe = &mut *self.0.borrow_mut();
        let ending = if pipe.reset {
            Ending::Reset
        } else {
            Ending::Fin
        };
        let at = pipe.arrival(pipe.outward.last);
        pipe.outward.end.get_or_insert((at, ending));
        let (end, reset) = (pipe.end, pipe.reset);
        pipe.trace.note(What::Dropped { end, reset });
        pipe.trace.news.notify_one();
    }
}

impl Io for Side {
    fn raw_bytes_read(&self) -> u64 {
        self.0.borrow().raw_read
    }

    fn raw_bytes_written(&self) -> u64 {
        let pipe = self.0.borrow();
        pipe.nature.tls.map_or(0, |_| pipe.raw_written)
    }

    fn has_input(&self) -> bool {
        let pipe = self.0.borrow();
        !pipe.kernel.is_empty() || pipe.ended.is_some()
    }

    fn socket(&self) -> Option<&dyn Socket> {
        self.0.borrow().nature.tls.is_none().then_some(self)
    }

    fn reset(&self) {
        self.0.borrow_mut().reset = true;
    }
}

/// Splicing moves the bytes through the worker's own pipe, which is a real one.
impl Socket for Side {
    fn poll_into(
        &self,
        cx: &mut Context<'_>,
        pipe: BorrowedFd<'_>,
        most: usize,
    ) -> Poll<io::Result<usize>> {
        let bytes = ready!(self.0.borrow_mut().read(cx, most))?;
        if !bytes.is_empty() {
            assert_eq!(rustix::io::write(pipe, &bytes), Ok(bytes.len()));
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_out_of(
        &self,
        cx: &mut Context<'_>,
        pipe: BorrowedFd<'_>,
        most: usize,
    ) -> Poll<io::Result<usize>> {
        let side = &mut *self.0.borrow_mut();
        side.still_there()?;
        assert!(!side.shut, "{:?}: written behind the end", side.end);
        let mut bytes = vec![0; side.would_take(most)];
        if !bytes.is_empty() {
            assert_eq!(rustix::io::read(pipe, &mut bytes), Ok(bytes.len()));
        }
        side.send(&bytes);
        side.took(cx, bytes.len())
    }
}

impl AsyncRead for Side {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let bytes = ready!(self.0.borrow_mut().read(cx, into.remaining()))?;
        into.put_slice(&bytes);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Side {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.borrow_mut().flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let pipe = &mut *self.0.borrow_mut();
        ready!(pipe.flush(cx))?;
        let at = pipe.arrival(pipe.outward.last);
        pipe.outward.end.get_or_insert((at, Ending::Fin));
        let to = pipe.end;
        pipe.shut = true;
        pipe.trace.note(What::Fin { to });
        pipe.trace.news.notify_one();
        Poll::Ready(Ok(()))
    }
}
