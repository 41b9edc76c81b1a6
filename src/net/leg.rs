//! One side of a stream, whatever carries it.

use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::client;

use super::sensor::Sensor;
use super::sockopt::canonical;
use super::splice::Socket;
use super::tls::Session;

/// What the relay asks of a side beyond reading and writing.
pub trait Io: AsyncRead + AsyncWrite + Unpin {
    /// Bytes read below TLS since the connection began, the handshake's included. Sides without TLS answer 0: what is
    /// read from them is all there is to count.
    fn raw_bytes_read(&self) -> u64;

    /// Bytes that the socket below TLS has taken: the only sign that a slow peer takes what TLS has buffered. Sides
    /// without TLS answer 0: what they take is what `poll_write` says.
    fn raw_bytes_written(&self) -> u64;

    /// Whether bytes, an end or an error wait in the socket at this very instant. This asks the kernel: the runtime's
    /// readiness may be older than our own pause. Bytes that a TLS session has decrypted already are not seen.
    fn has_input(&self) -> bool;

    /// The socket itself where bytes pass through it as they are.
    fn socket(&self) -> Option<&dyn Socket> {
        None
    }

    /// From here on dropping resets the peer instead of ending politely. A unix socket has no reset.
    fn reset(&self);
}

/// The connection of one side.
#[derive(Debug)]
pub enum Leg {
    /// Plain TCP, either side.
    Tcp(TcpStream),
    /// An upstream on a unix socket.
    Unix(UnixStream),
    /// TLS with a client: we are the server.
    Accepted(Box<Session>),
    /// TLS with an upstream: we are the client.
    Dialed(Box<client::TlsStream<Sensor>>),
}

// Each idle stream holds two of these: a TLS session must stay behind its box.
const _: () = assert!(size_of::<Leg>() <= 48);

/// The same expression for whichever stream the leg holds.
macro_rules! on_each {
    ($leg:expr, $io:ident => $do:expr) => {
        match $leg {
            Leg::Tcp($io) => $do,
            Leg::Unix($io) => $do,
            Leg::Accepted($io) => $do,
            Leg::Dialed($io) => $do,
        }
    };
}

impl Leg {
    /// Our end, with IPv4 as such on a dual-stack socket; `None` on a unix socket, whose dialing end has no name, and on a
    /// socket that is already gone.
    pub fn local_address(&self) -> Option<SocketAddr> {
        Some(canonical(self.tcp()?.local_addr().ok()?))
    }

    fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Self::Tcp(tcp) => Some(tcp),
            Self::Unix(_) => None,
            Self::Accepted(tls) => Some(tls.tcp()),
            Self::Dialed(tls) => Some(tls.get_ref().0.tcp()),
        }
    }
}

impl Io for Leg {
    fn raw_bytes_read(&self) -> u64 {
        match self {
            Self::Tcp(_) | Self::Unix(_) => 0,
            Self::Accepted(tls) => tls.bytes_read(),
            Self::Dialed(tls) => tls.get_ref().0.bytes_read(),
        }
    }

    fn raw_bytes_written(&self) -> u64 {
        match self {
            Self::Tcp(_) | Self::Unix(_) => 0,
            Self::Accepted(tls) => tls.bytes_written(),
            Self::Dialed(tls) => tls.get_ref().0.bytes_written(),
        }
    }

    fn has_input(&self) -> bool {
        match self {
            Self::Tcp(tcp) => waits_in(SockRef::from(tcp)),
            Self::Unix(unix) => waits_in(SockRef::from(unix)),
            Self::Accepted(tls) => waits_in(SockRef::from(tls.tcp())),
            Self::Dialed(tls) => waits_in(SockRef::from(tls.get_ref().0.tcp())),
        }
    }

    fn socket(&self) -> Option<&dyn Socket> {
        match self {
            Self::Tcp(tcp) => Some(tcp),
            Self::Unix(_) | Self::Accepted(_) | Self::Dialed(_) => None,
        }
    }

    fn reset(&self) {
        if let Some(tcp) = self.tcp() {
            // It fails only on a socket that is already gone, and that one resets by itself.
            let _ = tcp.set_zero_linger();
        }
    }
}

fn waits_in(socket: SockRef<'_>) -> bool {
    let mut byte = [MaybeUninit::uninit()];
    !matches!(socket.peek(&mut byte), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
}

impl AsyncRead for Leg {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        on_each!(self.get_mut(), io => Pin::new(io).poll_read(cx, buf))
    }
}

impl AsyncWrite for Leg {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        on_each!(self.get_mut(), io => Pin::new(io).poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        on_each!(self.get_mut(), io => Pin::new(io).poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        on_each!(self, io => io.is_write_vectored())
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_each!(self.get_mut(), io => Pin::new(io).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_each!(self.get_mut(), io => Pin::new(io).poll_shutdown(cx))
    }
}

/// In-memory pipes let the relay be tested in virtual time.
impl Io for DuplexStream {
    fn raw_bytes_read(&self) -> u64 {
        0
    }

    fn raw_bytes_written(&self) -> u64 {
        0
    }

    fn has_input(&self) -> bool {
        false
    }

    fn reset(&self) {}
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, UnixListener};

    use super::*;

    async fn tcp_pair() -> (Leg, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let dialed = TcpStream::connect(listener.local_addr().unwrap());
        let (dialed, accepted) = tokio::join!(dialed, listener.accept());
        (Leg::Tcp(accepted.unwrap().0), dialed.unwrap())
    }

    #[tokio::test]
    async fn input_is_seen_before_the_runtime_polled_for_it() {
        let (leg, peer) = tcp_pair().await;
        assert!(!leg.has_input());
        // Neither call yields to the runtime, so its readiness is still what it was.
        SockRef::from(&peer).send(b"x").unwrap();
        assert!(leg.has_input());
        assert!(leg.has_input(), "a look takes nothing out");
    }

    #[tokio::test]
    async fn an_end_and_a_reset_are_input_too() {
        let (leg, peer) = tcp_pair().await;
        SockRef::from(&peer)
            .shutdown(std::net::Shutdown::Write)
            .unwrap();
        assert!(leg.has_input());

        let (leg, peer) = tcp_pair().await;
        peer.set_zero_linger().unwrap();
        drop(peer);
        assert!(leg.has_input());
    }

    #[tokio::test]
    async fn dropping_after_reset_is_seen_as_one() {
        let (leg, mut peer) = tcp_pair().await;
        leg.reset();
        drop(leg);
        let error = peer.read(&mut [0; 8]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }

    #[tokio::test]
    async fn dropping_alone_is_a_plain_end() {
        let (leg, mut peer) = tcp_pair().await;
        drop(leg);
        assert_eq!(peer.read(&mut [0; 8]).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn our_address_is_that_of_the_peers_view() {
        let (leg, peer) = tcp_pair().await;
        assert_eq!(leg.local_address(), Some(peer.peer_addr().unwrap()));
    }

    #[tokio::test]
    async fn a_dual_stack_socket_shows_ipv4_as_ipv4() {
        let listener = super::super::sockopt::bind("[::]:0".parse().unwrap()).unwrap();
        let port = listener.local_addr().unwrap().port();
        let listener = TcpListener::from_std(listener).unwrap();
        let (dialed, accepted) =
            tokio::join!(TcpStream::connect(("127.0.0.1", port)), listener.accept());
        let leg = Leg::Tcp(accepted.unwrap().0);
        assert_eq!(
            leg.local_address(),
            Some(dialed.unwrap().peer_addr().unwrap())
        );
    }

    #[tokio::test]
    async fn a_unix_leg_carries_bytes_and_has_no_address() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("app.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let (dialed, accepted) = tokio::join!(UnixStream::connect(&path), listener.accept());
        let (mut leg, mut app) = (Leg::Unix(dialed.unwrap()), accepted.unwrap().0);
        assert_eq!(leg.local_address(), None);
        assert!(!leg.has_input());
        app.write_all(b"pong").await.unwrap();
        assert!(leg.has_input());
        let mut heard = [0; 4];
        leg.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"pong");
        leg.reset();
        drop(leg);
        assert_eq!(app.read(&mut [0; 8]).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn a_write_of_several_slices_is_one_write() {
        let (mut leg, mut peer) = tcp_pair().await;
        assert!(leg.is_write_vectored());
        let slices = [IoSlice::new(b"head"), IoSlice::new(b"body")];
        assert_eq!(leg.write_vectored(&slices).await.unwrap(), 8);
        let mut heard = [0; 8];
        peer.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"headbody");
    }
}
