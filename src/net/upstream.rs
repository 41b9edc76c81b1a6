//! Dialing the app.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, UnixStream};

use super::leg::Leg;
use super::sockopt::{canonical, tune_upstream};
use super::tls::{Alpn, ClientTls, TlsError};
use crate::config::{self, UpstreamAddress};

/// How long one address may try alone before the next begins too (RFC 8305 5).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// An app that is slow to accept fills the queue of its unix socket, and then the kernel refuses at once instead of
/// letting us wait as it does for TCP.
const UNIX_RETRY: Duration = Duration::from_millis(10);

/// Makes connections to one upstream, each of them anew.
#[derive(Debug)]
pub struct Dialer {
    address: UpstreamAddress,
    tls: Option<ClientTls>,
    connect_timeout: Duration,
    user_timeout: Option<Duration>,
}

/// A connection to the upstream, ready to be used.
#[derive(Debug)]
pub struct Dialed {
    /// The connection; over TLS the handshake is done.
    pub leg: Leg,
    /// Where it leads.
    pub address: Address,
    /// What the app sees as its client; `None` on a unix socket.
    pub local_address: Option<SocketAddr>,
}

/// Whom a connection reached; shown as `ip:port` or `unix:/path`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// One of the addresses of its name, IPv4 as such.
    Ip(SocketAddr),
    /// A unix socket.
    Unix(Box<Path>),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Why there is no connection to the upstream.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each message names its fields")]
pub enum DialError {
    /// `connect_timeout` ran out, wherever the attempt was.
    #[error(
        "no connection to {address} within connect_timeout ({limit:?}): is it overloaded, or do packets vanish on the way?"
    )]
    Timeout { address: String, limit: Duration },
    /// The name did not resolve.
    #[error("cannot resolve {host}: {source}")]
    Resolve { host: String, source: io::Error },
    /// No address accepted; the error is that of the last one that failed.
    #[error("cannot connect to {address}: {source}")]
    Connect { address: String, source: io::Error },
    /// It accepted and was gone before it had the PROXY header.
    #[error("{address} closed the connection before its PROXY header was sent: {source}")]
    Preamble { address: String, source: io::Error },
    /// The handshake failed.
    #[error("TLS with {address} failed, check upstream_tls: {source}")]
    Tls { address: String, source: io::Error },
}

impl Dialer {
    /// Reads the upstream's CA and our certificate. `connect_timeout` covers a whole dial: resolving, connecting and
    /// TLS. `user_timeout` becomes TCP_USER_TIMEOUT of the connections.
    pub fn new(
        upstream: &config::Upstream,
        alpn: Alpn,
        connect_timeout: Duration,
        user_timeout: Option<Duration>,
    ) -> Result<Self, TlsError> {
        let tls = upstream.tls.as_ref();
        Ok(Self {
            address: upstream.address.clone(),
            tls: tls.map(|tls| ClientTls::load(tls, alpn)).transpose()?,
            connect_timeout,
            user_timeout,
        })
    }

    /// Connects. The name is resolved each time, since an app that moved has new addresses. `preamble` is written
    /// before anything else, TLS included: the place of a PROXY header; empty for none.
    pub async fn dial(&self, preamble: &[u8]) -> Result<Dialed, DialError> {
        let dialed = tokio::time::timeout(self.connect_timeout, self.connect(preamble));
        dialed.await.unwrap_or_else(|_| {
            Err(DialError::Timeout {
                address: self.display_address(),
                limit: self.connect_timeout,
            })
        })
    }

    async fn connect(&self, preamble: &[u8]) -> Result<Dialed, DialError> {
        match &self.address {
            UpstreamAddress::Host { host, port } => self.connect_host(host, *port, preamble).await,
            UpstreamAddress::Unix(path) => self.connect_path(path, preamble).await,
        }
    }

    async fn connect_host(
        &self,
        host: &str,
        port: u16,
        preamble: &[u8],
    ) -> Result<Dialed, DialError> {
        let found = tokio::net::lookup_host((host, port)).await;
        let addresses = found.map_err(|source| DialError::Resolve {
            host: host.to_owned(),
            source,
        })?;
        let connected = connect_any(interleave(addresses), ATTEMPT_DELAY).await;
        let (mut tcp, peer) = connected.map_err(|failure| DialError::Connect {
            address: failure
                .address
                .map_or_else(|| self.display_address(), |address| address.to_string()),
            source: failure.source,
        })?;
        tune_upstream(&tcp, self.user_timeout);
        let address = Address::Ip(canonical(peer));
        write_preamble(&mut tcp, preamble, &address).await?;
        let leg = match &self.tls {
            None => Leg::Tcp(tcp),
            Some(tls) => {
                let connected = tls.connect(tcp).await;
                connected.map_err(|source| DialError::Tls {
                    address: address.to_string(),
                    source,
                })?
            }
        };
        Ok(Dialed {
            local_address: leg.local_address(),
            address,
            leg,
        })
    }

    async fn connect_path(&self, path: &Path, preamble: &[u8]) -> Result<Dialed, DialError> {
        let address = Address::Unix(path.into());
        let mut unix = loop {
            match UnixStream::connect(path).await {
                Ok(unix) => break unix,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    tokio::time::sleep(UNIX_RETRY).await;
                }
                Err(source) => {
                    let address = address.to_string();
                    return Err(DialError::Connect { address, source });
                }
            }
        };
        write_preamble(&mut unix, preamble, &address).await?;
        Ok(Dialed {
            leg: Leg::Unix(unix),
            address,
            local_address: None,
        })
    }

    fn display_address(&self) -> String {
        match &self.address {
            UpstreamAddress::Host { host, port } => format!("{host}:{port}"),
            UpstreamAddress::Unix(path) => format!("unix:{}", path.display()),
        }
    }
}

async fn write_preamble(
    io: &mut (impl AsyncWriteExt + Unpin),
    preamble: &[u8],
    address: &Address,
) -> Result<(), DialError> {
    let written = io.write_all(preamble).await;
    written.map_err(|source| DialError::Preamble {
        address: address.to_string(),
        source,
    })
}

/// RFC 8305 4: the families take turns, the resolver's favourite first; within a family its order stands.
fn interleave(addresses: impl Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let mut addresses = addresses.peekable();
    let v6_first = addresses.peek().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) =
        addresses.partition(|address| address.is_ipv6() == v6_first);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut ordered = Vec::new();
    loop {
        match (first.next(), second.next()) {
            (None, None) => return ordered,
            (one, other) => ordered.extend(one.into_iter().chain(other)),
        }
    }
}

/// A connection and whom it reached.
type Connected = (TcpStream, SocketAddr);

#[derive(Debug)]
struct Failure {
    /// `None` if there was no address to try.
    address: Option<SocketAddr>,
    source: io::Error,
}

/// RFC 8305 5: the first connection wins; the next address begins when one fails or after `delay`.
async fn connect_any(addresses: Vec<SocketAddr>, delay: Duration) -> Result<Connected, Failure> {
    let mut failure = Failure {
        address: None,
        source: io::Error::new(io::ErrorKind::NotFound, "the name has no address"),
    };
    let mut waiting = addresses.into_iter();
    let mut running = Vec::new();
    loop {
        match waiting.next() {
            Some(address) => running.push(Box::pin(attempt(address))),
            None if running.is_empty() => return Err(failure),
            None => {}
        }
        tokio::select! {
            ended = first_of(&mut running) => match ended {
                Ok(connected) => return Ok(connected),
                Err(error) => failure = error,
            },
            () = tokio::time::sleep(delay), if waiting.len() > 0 => {}
        }
    }
}

async fn attempt(address: SocketAddr) -> Result<Connected, Failure> {
    match TcpStream::connect(address).await {
        Ok(tcp) => Ok((tcp, address)),
        Err(source) => Err(Failure {
            address: Some(address),
            source,
        }),
    }
}

/// What the first of `running` to end yields; it is taken out. Pending for ever on none.
async fn first_of<F: Future + Unpin>(running: &mut Vec<F>) -> F::Output {
    poll_fn(|cx| {
        for place in 0..running.len() {
            if let Poll::Ready(output) = Pin::new(&mut running[place]).poll(cx) {
                running.swap_remove(place);
                return Poll::Ready(output);
            }
        }
        Poll::Pending
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use socket2::{Domain, SockAddr, SockRef, Socket, Type};
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;

    use super::*;

    /// Long enough that no test on a busy machine runs into it.
    const AMPLE: Duration = Duration::from_secs(30);

    fn dialer(address: UpstreamAddress, connect_timeout: Duration) -> Dialer {
        let upstream = config::Upstream {
            url: String::new(),
            address,
            tls: None,
        };
        Dialer::new(&upstream, Alpn::None, connect_timeout, None).unwrap()
    }

    fn host(host: &str, port: u16) -> UpstreamAddress {
        UpstreamAddress::Host {
            host: host.to_owned(),
            port,
        }
    }

    async fn app() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    /// An address that nobody listens on: the port stays ours, so that no other test can take it.
    fn refusing() -> (Socket, SocketAddr) {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        socket.bind(&any.into()).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        (socket, address)
    }

    /// An address that answers nothing: with a backlog of 0 the one connection that fills the queue makes the kernel
    /// drop every further SYN.
    fn blackhole() -> ((Socket, std::net::TcpStream), SocketAddr) {
        let (socket, address) = refusing();
        socket.listen(0).unwrap();
        let filling = std::net::TcpStream::connect(address).unwrap();
        ((socket, filling), address)
    }

    #[tokio::test]
    async fn a_dialed_connection_names_both_ends_and_has_its_options() {
        let (listener, address) = app().await;
        let dialer = Dialer {
            user_timeout: Some(Duration::from_secs(65)),
            ..dialer(host("127.0.0.1", address.port()), AMPLE)
        };
        let (dialed, accepted) = tokio::join!(dialer.dial(b""), listener.accept());
        let (dialed, (_, client)) = (dialed.unwrap(), accepted.unwrap());
        assert_eq!(dialed.address, Address::Ip(address));
        assert_eq!(dialed.local_address, Some(client));
        let Leg::Tcp(tcp) = &dialed.leg else {
            panic!("{:?}", dialed.leg);
        };
        assert!(tcp.nodelay().unwrap());
        let user_timeout = SockRef::from(tcp).tcp_user_timeout().unwrap();
        assert_eq!(user_timeout, Some(Duration::from_secs(65)));
    }

    #[tokio::test]
    async fn the_preamble_is_the_first_that_the_app_reads() {
        let (listener, address) = app().await;
        let dialer = dialer(host("127.0.0.1", address.port()), AMPLE);
        let (dialed, accepted) = tokio::join!(dialer.dial(b"PROXY UNKNOWN\r\n"), listener.accept());
        let mut leg = dialed.unwrap().leg;
        leg.write_all(b"hello").await.unwrap();
        drop(leg);
        let mut heard = Vec::new();
        accepted.unwrap().0.read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard, b"PROXY UNKNOWN\r\nhello");
    }

    #[tokio::test]
    async fn a_name_is_tried_in_both_families() {
        let (listener, address) = app().await;
        // Where localhost is ::1 too, that address comes first and refuses.
        let dialer = dialer(host("localhost", address.port()), AMPLE);
        let (dialed, accepted) = tokio::join!(dialer.dial(b""), listener.accept());
        accepted.unwrap();
        assert_eq!(dialed.unwrap().address, Address::Ip(address));
    }

    #[tokio::test]
    async fn a_refused_address_makes_way_for_the_next_at_once() {
        let (_listener, address) = app().await;
        let (_socket, dead) = refusing();
        // Waiting for this delay would outlast the test run.
        let tcp = connect_any(vec![dead, address], Duration::MAX).await;
        assert_eq!(tcp.unwrap().0.peer_addr().unwrap(), address);
    }

    #[tokio::test]
    async fn a_silent_address_holds_the_next_back_for_the_delay_only() {
        let (_listener, address) = app().await;
        let (_queue, silent) = blackhole();
        let delay = Duration::from_millis(20);
        let started = tokio::time::Instant::now();
        let tcp = connect_any(vec![silent, address], delay).await;
        assert_eq!(tcp.unwrap().0.peer_addr().unwrap(), address);
        assert!(started.elapsed() >= delay);
    }

    #[tokio::test]
    async fn a_slow_address_still_wins_after_a_later_one_failed() {
        let (queue, slow) = blackhole();
        let (_socket, dead) = refusing();
        let connecting = connect_any(vec![slow, dead], Duration::from_millis(1));
        // The first SYN is dropped within `connect`; the kernel sends it again after a second (RFC 6298 2.1), when there
        // is room in the queue.
        let emptied = async { queue.0.accept().unwrap() };
        let (connected, _) = tokio::join!(connecting, emptied);
        assert_eq!(connected.unwrap().0.peer_addr().unwrap(), slow);
    }

    #[tokio::test]
    async fn refusal_everywhere_tells_of_the_last_address() {
        let ((_one, first), (_two, second)) = (refusing(), refusing());
        let failure = connect_any(vec![first, second], ATTEMPT_DELAY)
            .await
            .unwrap_err();
        assert_eq!(failure.address, Some(second));
        assert_eq!(failure.source.kind(), io::ErrorKind::ConnectionRefused);
        let failure = connect_any(Vec::new(), ATTEMPT_DELAY).await.unwrap_err();
        assert_eq!(failure.source.kind(), io::ErrorKind::NotFound);
    }

    #[tokio::test]
    async fn a_refusal_reads_as_a_sentence() {
        let (_socket, address) = refusing();
        let dialer = dialer(host("127.0.0.1", address.port()), AMPLE);
        let error = dialer.dial(b"").await.unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("cannot connect to {address}: Connection refused (os error 111)")
        );
    }

    #[tokio::test]
    async fn connect_timeout_ends_a_dial_that_nobody_answers() {
        let (_queue, address) = blackhole();
        let limit = Duration::from_millis(100);
        let started = tokio::time::Instant::now();
        let dialer = dialer(host("127.0.0.1", address.port()), limit);
        let error = dialer.dial(b"").await.unwrap_err();
        assert!(matches!(error, DialError::Timeout { .. }), "{error}");
        assert!(started.elapsed() >= limit);
    }

    #[tokio::test]
    async fn connect_timeout_covers_the_tls_handshake() {
        let (listener, address) = app().await;
        let dir = tempfile::tempdir().unwrap();
        let ca = dir.path().join("ca.pem");
        let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(&ca, own.cert.pem()).unwrap();
        let upstream = config::Upstream {
            url: String::new(),
            address: host("127.0.0.1", address.port()),
            tls: Some(config::UpstreamTls {
                ca: Some(ca),
                server_name: "localhost".to_owned(),
                identity: None,
            }),
        };
        let limit = Duration::from_millis(100);
        let dialer = Dialer::new(&upstream, Alpn::None, limit, None).unwrap();
        let (dialed, accepted) = tokio::join!(dialer.dial(b""), listener.accept());
        let error = dialed.unwrap_err();
        assert!(matches!(error, DialError::Timeout { .. }), "{error}");
        drop(accepted);
    }

    #[tokio::test]
    async fn an_unknown_name_is_a_resolve_error() {
        // A label is at most 63 bytes long (RFC 1035 2.3.4): no resolver is even asked.
        let name = "x".repeat(64);
        let dialer = dialer(host(&name, 80), AMPLE);
        let error = dialer.dial(b"").await.unwrap_err();
        assert!(matches!(error, DialError::Resolve { .. }), "{error}");
    }

    #[test]
    fn families_take_turns_beginning_with_the_resolvers_favourite() {
        let sorted = |addresses: &[&str]| {
            let addresses = addresses
                .iter()
                .map(|ip| SocketAddr::new(ip.parse().unwrap(), 80));
            let ips = interleave(addresses)
                .into_iter()
                .map(|address| address.ip().to_string());
            ips.collect::<Vec<_>>()
        };
        assert_eq!(
            sorted(&["::1", "::2", "::3", "10.0.0.1", "10.0.0.2"]),
            ["::1", "10.0.0.1", "::2", "10.0.0.2", "::3"]
        );
        assert_eq!(
            sorted(&["10.0.0.1", "::1", "::2"]),
            ["10.0.0.1", "::1", "::2"]
        );
        assert_eq!(sorted(&["10.0.0.1", "10.0.0.2"]), ["10.0.0.1", "10.0.0.2"]);
        assert!(sorted(&[]).is_empty());
    }

    fn unix_app(backlog: i32) -> (tempfile::TempDir, PathBuf, Socket) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("app.sock");
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        socket.bind(&SockAddr::unix(&path).unwrap()).unwrap();
        socket.listen(backlog).unwrap();
        (dir, path, socket)
    }

    #[tokio::test]
    async fn a_unix_socket_is_dialed_by_its_path() {
        let (_dir, path, listener) = unix_app(8);
        let dialer = dialer(UpstreamAddress::Unix(path.clone()), AMPLE);
        let dialed = dialer.dial(b"PROXY UNKNOWN\r\n").await.unwrap();
        assert_eq!(
            dialed.address.to_string(),
            format!("unix:{}", path.display())
        );
        assert_eq!(dialed.local_address, None);
        drop(dialed);
        let mut heard = String::new();
        let mut accepted = listener.accept().unwrap().0;
        io::Read::read_to_string(&mut accepted, &mut heard).unwrap();
        assert_eq!(heard, "PROXY UNKNOWN\r\n");
    }

    #[tokio::test]
    async fn a_full_queue_of_a_unix_socket_is_waited_for() {
        let (_dir, path, listener) = unix_app(0);
        let _filling = std::os::unix::net::UnixStream::connect(&path).unwrap();
        let dialer = dialer(UpstreamAddress::Unix(path), AMPLE);
        let mut dialing = std::pin::pin!(dialer.dial(b""));
        tokio::select! {
            biased;
            early = &mut dialing => panic!("{early:?}"),
            () = tokio::task::yield_now() => {}
        }
        listener.accept().unwrap();
        dialing.await.unwrap();
    }

    #[tokio::test]
    async fn a_missing_unix_socket_is_an_error_that_names_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("nobody.sock");
        let dialer = dialer(UpstreamAddress::Unix(path.clone()), AMPLE);
        let error = dialer.dial(b"").await.unwrap_err().to_string();
        assert!(error.starts_with(&format!("cannot connect to unix:{}", path.display())));
    }
}
