//! A TCP socket that counts what passes through it.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// The socket under a TLS session: traffic is any byte of the peer, also one that completes no record, and above TLS
/// such bytes cannot be seen.
#[derive(Debug)]
pub struct Sensor {
    tcp: TcpStream,
    read: u64,
    written: u64,
}

impl Sensor {
    /// Counts from here on.
    pub fn new(tcp: TcpStream) -> Self {
        Self {
            tcp,
            read: 0,
            written: 0,
        }
    }

    /// The socket itself, for its options and addresses.
    pub fn tcp(&self) -> &TcpStream {
        &self.tcp
    }

    /// Bytes read so far, the handshake's included.
    pub fn bytes_read(&self) -> u64 {
        self.read
    }

    /// Bytes that the socket has taken so far, the handshake's included.
    pub fn bytes_written(&self) -> u64 {
        self.written
    }
}

impl AsyncRead for Sensor {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.tcp).poll_read(cx, buf))?;
        self.read += (buf.filled().len() - before) as u64;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Sensor {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.tcp).poll_write(cx, buf))?;
        self.written += written as u64;
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.tcp).poll_write_vectored(cx, bufs))?;
        self.written += written as u64;
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}
