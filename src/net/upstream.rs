//! Dialing the app.

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
    /// Where it leads: `ip:port` or `unix:/path`.
    pub address: String,
    /// What the app sees as its client: `ip:port`; `None` on a unix socket.
    pub local_address: Option<String>,
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
        let connected = connect_any(interleave(addresses)).await;
        let mut tcp = connected.map_err(|failure| DialError::Connect {
            address: failure
                .address
                .map_or_else(|| self.display_address(), |address| address.to_string()),
            source: failure.source,
        })?;
        tune_upstream(&tcp, self.user_timeout);
        let peer = tcp.peer_addr().map(canonical);
        let address = peer.map_or_else(|_| self.display_address(), |peer| peer.to_string());
        write_preamble(&mut tcp, preamble, &address).await?;
        let leg = match &self.tls {
            None => Leg::Tcp(tcp),
            Some(tls) => {
                let connected = tls.connect(tcp).await;
                connected.map_err(|source| DialError::Tls {
                    address: address.clone(),
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
        let address = self.display_address();
        let mut unix = loop {
            match UnixStream::connect(path).await {
                Ok(unix) => break unix,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    tokio::time::sleep(UNIX_RETRY).await;
                }
                Err(source) => return Err(DialError::Connect { address, source }),
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
    address: &str,
) -> Result<(), DialError> {
    let written = io.write_all(preamble).await;
    written.map_err(|source| DialError::Preamble {
        address: address.to_owned(),
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

#[derive(Debug)]
struct Failure {
    /// `None` if there was no address to try.
    address: Option<SocketAddr>,
    source: io::Error,
}

/// RFC 8305 5: the first connection wins; the next address begins when one fails or after `ATTEMPT_DELAY`.
async fn connect_any(addresses: Vec<SocketAddr>) -> Result<TcpStream, Failure> {
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
                Ok(tcp) => return Ok(tcp),
                Err(error) => failure = error,
            },
            () = tokio::time::sleep(ATTEMPT_DELAY), if waiting.len() > 0 => {}
        }
    }
}

async fn attempt(address: SocketAddr) -> Result<TcpStream, Failure> {
    let connected = TcpStream::connect(address).await;
    connected.map_err(|source| Failure {
        address: Some(address),
        source,
    })
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
