//! Bytes that were read ahead, given back before the rest.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::leg::Io;

/// A stream whose first bytes somebody already holds.
#[derive(Debug)]
pub struct Prefixed<T> {
    prefix: Bytes,
    io: T,
}

impl<T> Prefixed<T> {
    /// Reading yields `prefix`, then what `io` has.
    pub fn new(prefix: Bytes, io: T) -> Self {
        Self { prefix, io }
    }

    /// What of the prefix is not read yet, and the stream.
    pub fn into_parts(self) -> (Bytes, T) {
        (self.prefix, self.io)
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Prefixed<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.prefix.is_empty() {
            return Pin::new(&mut self.io).poll_read(cx, buf);
        }
        let count = self.prefix.len().min(buf.remaining());
        buf.put_slice(&self.prefix[..count]);
        self.prefix.advance(count);
        if self.prefix.is_empty() {
            // An empty `Bytes` still holds the buffer it was cut from, for as long as the stream lives.
            self.prefix = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Prefixed<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

impl<T: Io> Io for Prefixed<T> {
    fn raw_bytes_read(&self) -> u64 {
        self.io.raw_bytes_read()
    }

    fn raw_bytes_written(&self) -> u64 {
        self.io.raw_bytes_written()
    }

    fn has_input(&self) -> bool {
        !self.prefix.is_empty() || self.io.has_input()
    }

    fn reset(&self) {
        self.io.reset();
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn the_prefix_comes_first_in_reads_of_any_size() {
        for size in 1..=12 {
            let (near, mut far) = tokio::io::duplex(64);
            far.write_all(b" world").await.unwrap();
            drop(far);
            let mut io = Prefixed::new(Bytes::from_static(b"hello"), near);
            let (mut all, mut chunk) = (Vec::new(), vec![0; size]);
            loop {
                let count = io.read(&mut chunk).await.unwrap();
                if count == 0 {
                    break;
                }
                all.extend_from_slice(&chunk[..count]);
            }
            assert_eq!(all, b"hello world", "reads of {size}");
        }
    }

    #[tokio::test]
    async fn an_unread_prefix_is_input_and_is_given_back() {
        let (near, _far) = tokio::io::duplex(64);
        let mut io = Prefixed::new(Bytes::from_static(b"ab"), near);
        assert!(io.has_input());
        assert_eq!(io.read_u8().await.unwrap(), b'a');
        assert!(io.has_input());
        let (rest, near) = io.into_parts();
        assert_eq!(rest, "b");
        assert!(!Prefixed::new(Bytes::new(), near).has_input());
    }

    #[tokio::test]
    async fn writes_pass() {
        let (near, mut far) = tokio::io::duplex(64);
        let mut io = Prefixed::new(Bytes::from_static(b"ab"), near);
        io.write_all(b"out").await.unwrap();
        io.shutdown().await.unwrap();
        let mut heard = Vec::new();
        far.read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard, b"out");
    }
}
