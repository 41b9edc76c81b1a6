//! ONE STREAM FROM TOP TO BOTTOM.
//!
//! ```text
//! accepted ─▶ PROXY header ─▶ TLS ─┬─ ws, wss: HTTP opening, dial, 101 ─┐
//!                                  └─ tcp, tls: dial ───────────────────┤
//!                                                                       ▼
//!                          enter the registry ─▶ relay ─▶ Cause ─▶ closing ─▶ gone
//! ```
//!
//! What fails before the relay is a [`Rejection`], counted and answered; what ends after it is a
//! [`Cause`](crate::proto::cause::Cause), recorded exactly once by the guard in `live`.

mod ask;
mod closing;
mod first_message;
mod forwarded;
mod headers;
mod hidden;
mod http;
mod identity;
mod live;
mod mailbox;
mod opening;
mod outbox;
mod pump;
mod relay;
mod strict;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

use crate::config::{self, Protocol, ProxyVersion};
use crate::listener::{Local, Permit, Seat};
use crate::metrics::Outcomes;
use crate::net::leg::Leg;
use crate::net::upstream::{DialError, Dialed};
use crate::net::{proxy_protocol, sockopt, tls};
use crate::proto::cause::{End, Rejection};
use crate::proto::framing::{Framing, Scanner};
use crate::proto::heart::{Kind, Mode, Policy};
use crate::proto::upgrade::Agreed;
use crate::registry::{ClientSource, Entry, Identity, Opening};
use crate::worker::{Command, Worker};

pub use relay::Terms;

/// How long a refused client may take to read its answer.
const LINGER: Duration = Duration::from_secs(1);

/// An accepted connection on its way to become a stream.
struct Attempt {
    worker: Rc<Worker>,
    local: Rc<Local>,
    /// Its place among the connections that are no streams.
    seat: Rc<Seat>,
    config: Arc<config::Listener>,
    /// The other end of the socket.
    peer: SocketAddr,
    /// The client, as the socket or the PROXY header says.
    client: SocketAddr,
    client_source: ClientSource,
    /// RFC 4514, of a verified client certificate.
    certificate_subject: Option<String>,
    /// `handshake_timeout` as one total from accept.
    deadline: Instant,
}

/// Both sides, ready to be relayed.
struct Opened {
    id: Uuid,
    client: Leg,
    upstream: Dialed,
    /// What was read beyond the opening: of the client, of the app.
    ahead: relay::Ahead,
    agreed: Agreed,
    request: Request,
    permit: Permit,
}

/// What the registry wants to know of an opening request; empty on raw TCP.
#[derive(Default)]
struct Request {
    client: Option<SocketAddr>,
    host: Option<String>,
    path: Option<String>,
    user_agent: Option<String>,
    identity: Identity,
}

/// Serves one accepted connection to its end.
pub async fn serve(
    worker: Rc<Worker>,
    local: Rc<Local>,
    seat: Seat,
    tcp: TcpStream,
    peer: SocketAddr,
) {
    let config = local.shared.config.load_full();
    let peer = sockopt::canonical(peer);
    let mut attempt = Attempt {
        worker,
        local,
        seat: Rc::new(seat),
        peer,
        client: peer,
        client_source: ClientSource::Socket,
        certificate_subject: None,
        deadline: Instant::now() + config.limits.handshake_timeout,
        config,
    };
    // The opening is boxed and done with before the relay begins: an idle stream carries nothing of it.
    if let Some(opened) = Box::pin(attempt.open(tcp)).await {
        attempt.relay(opened);
    }
}

impl Attempt {
    /// `None`: it was refused, which is counted, or served ordinary HTTP requests only.
    async fn open(&mut self, mut tcp: TcpStream) -> Option<Opened> {
        sockopt::tune_client(&tcp, user_timeout(&self.config.heartbeat));
        if self
            .config
            .accept_proxy
            .iter()
            .any(|network| network.contains(&self.peer.ip()))
        {
            let read = self.read_proxy_header(&mut tcp).await;
            self.counted(read)?;
        }
        let websocket = self.config.protocol.is_websocket();
        if !websocket {
            self.counted(self.admit_connection())?;
        }
        let leg = match &self.local.shared.tls {
            Some(tls) => {
                let shaken = self.handshake(tls.acceptor(), tcp).await;
                self.counted(shaken)?
            }
            None => Leg::Tcp(tcp),
        };
        if websocket {
            http::serve(self, leg).await
        } else {
            let (id, upstream, permit) = self.counted(self.open_tcp().await)?;
            Some(Opened {
                id,
                client: leg,
                upstream,
                ahead: [Bytes::new(), Bytes::new()],
                agreed: Agreed::default(),
                request: Request::default(),
                permit,
            })
        }
    }

    /// Counts a refusal while its connection is open: whoever sees the end finds it counted.
    fn counted<T>(&self, result: Result<T, Rejection>) -> Option<T> {
        result.inspect_err(|rejection| self.reject(*rejection)).ok()
    }

    /// What is refused anyway is refused before its TLS handshake, which would cost more than all the rest.
    fn admit_connection(&self) -> Result<(), Rejection> {
        if self.draining() {
            return Err(Rejection::Draining);
        }
        let client = self.client.ip();
        self.local.shared.admit(client)?;
        self.local.shared.permit(client).map(drop)
    }

    async fn read_proxy_header(&mut self, tcp: &mut TcpStream) -> Result<(), Rejection> {
        match timeout_at(self.deadline, proxy_protocol::read(tcp)).await {
            Ok(Ok(addresses)) => {
                if let Some(addresses) = addresses {
                    self.client = sockopt::canonical(addresses.source);
                    self.client_source = ClientSource::ProxyProtocol;
                }
                Ok(())
            }
            Ok(Err(error)) => {
                tracing::debug!(listener = &*self.config.name, peer = %self.peer, %error, "no PROXY header");
                Err(Rejection::ProxyProtocolError)
            }
            Err(_) => Err(Rejection::HandshakeTimeout),
        }
    }

    async fn handshake(
        &mut self,
        acceptor: Arc<rustls::ServerConfig>,
        tcp: TcpStream,
    ) -> Result<Leg, Rejection> {
        let began = Instant::now();
        let outcomes = &self.local.shared.metrics.tls_handshake;
        let scratch = Rc::clone(&self.worker.tls);
        match timeout_at(self.deadline, tls::accept(acceptor, tcp, scratch)).await {
            Ok(Ok(leg)) => {
                observe(&outcomes.ok, began);
                self.certificate_subject = leg.client_subject();
                Ok(leg)
            }
            Ok(Err(error)) => {
                observe(&outcomes.error, began);
                tracing::debug!(listener = &*self.config.name, client = %self.client, %error, "TLS handshake failed");
                Err(Rejection::TlsError)
            }
            Err(_) => {
                observe(&outcomes.timeout, began);
                Err(Rejection::HandshakeTimeout)
            }
        }
    }

    async fn open_tcp(&self) -> Result<(Uuid, Dialed, Permit), Rejection> {
        if self.draining() {
            return Err(Rejection::Draining);
        }
        let permit = self.local.shared.permit(self.client.ip())?;
        self.seat.leave();
        let id = Uuid::now_v7();
        let upstream = self.dial(id).await?;
        Ok((id, upstream, permit))
    }

    /// A connection to the app, of its own for this stream or request.
    async fn dial(&self, id: Uuid) -> Result<Dialed, Rejection> {
        let began = Instant::now();
        let outcomes = &self.local.shared.metrics.upstream_connect;
        let dialer = self.local.shared.dialer.load_full();
        match dialer.dial(&self.proxy_header(id)).await {
            Ok(dialed) => {
                observe(&outcomes.ok, began);
                Ok(dialed)
            }
            Err(error) => {
                let Outcomes {
                    error: failed,
                    timeout,
                    ..
                } = outcomes;
                observe(
                    if matches!(error, DialError::Timeout { .. }) {
                        timeout
                    } else {
                        failed
                    },
                    began,
                );
                if self.local.shared.dial_complaints.due() {
                    tracing::warn!(listener = &*self.config.name, %error, "cannot reach the app");
                }
                Err(Rejection::UpstreamUnreachable)
            }
        }
    }

    fn proxy_header(&self, id: Uuid) -> Vec<u8> {
        let destination = self.config.listen;
        match self.config.send_proxy {
            None => Vec::new(),
            Some(ProxyVersion::V1) => proxy_protocol::encode_v1(self.client, destination),
            Some(ProxyVersion::V2) => proxy_protocol::encode_v2(self.client, destination, id),
        }
    }

    /// Whether openings are refused: the process drains, or a reload took the listener out of its place.
    fn draining(&self) -> bool {
        self.worker.shared.refuses() || self.local.shared.closed()
    }

    fn reject(&self, rejection: Rejection) {
        self.local.shared.metrics.rejected(rejection).inc();
        tracing::debug!(
            listener = &*self.config.name,
            client = %self.client,
            reason = rejection.as_str(),
            "connection refused"
        );
    }

    /// Enters the stream into the registry and leaves it to a task of its own.
    fn relay(self, opened: Opened) {
        let Self {
            worker,
            local,
            config,
            client,
            client_source,
            ..
        } = self;
        let Opened {
            id,
            client: leg,
            upstream,
            ahead,
            agreed,
            request,
            permit,
        } = opened;
        let websocket = matches!(config.protocol, Protocol::Ws | Protocol::Wss);
        let (kind, scanners) = scanners(&config, &agreed);
        let home = worker.settle(id);
        let opening = Opening {
            listener: Arc::clone(&config.name),
            protocol: config.protocol,
            client: request.client.unwrap_or(client),
            client_source: if request.client.is_some() {
                ClientSource::Forwarded
            } else {
                client_source
            },
            upstream: upstream.address,
            upstream_local: upstream.local_address,
            host: request.host.map(Into::into),
            path: request.path.map(Into::into),
            subprotocol: agreed.subprotocol.filter(|_| websocket).map(Into::into),
            user_agent: request.user_agent.map(Into::into),
            at: SystemTime::now(),
            instant: Instant::now(),
        };
        let awaits = identity::awaits_first_message(&config.identity, &request.identity);
        let entry = Entry::new(id, home, opening, request.identity);
        let (listener, mail) = (Arc::clone(&local.shared), Rc::clone(&worker));
        let live = live::Live::enter(entry, local, worker, permit);
        // A reload that took the listener out after our opening passed its check did not find us among its streams.
        if listener.removed() {
            let cause = mail.shared.drain_cause();
            mail.command(home.slot, id, Command::Close(cause));
        }
        let mut relay = relay::Relay::new(leg, upstream.leg, scanners, kind, live);
        if awaits {
            relay = relay.awaiting_first_message();
        }
        tokio::task::spawn_local(relay.run(ahead));
    }
}

fn scanners(config: &config::Listener, agreed: &Agreed) -> (Kind, [Scanner; 2]) {
    let reply = config.ping_reply.as_ref();
    match (config.protocol, config.framing) {
        (Protocol::Ws | Protocol::Wss, _) => {
            let scanner = |from, reply| {
                Scanner::websocket(from, agreed.extensions, config.limits.message, reply)
            };
            (
                Kind::WebSocket,
                [scanner(End::Client, reply), scanner(End::Upstream, None)],
            )
        }
        (Protocol::Tcp | Protocol::Tls, Framing::Raw) => {
            (Kind::Raw, [Scanner::raw(), Scanner::raw()])
        }
        (Protocol::Tcp | Protocol::Tls, framing) => (
            Kind::Records,
            [
                Scanner::from_framing(framing, reply),
                Scanner::from_framing(framing, None),
            ],
        ),
    }
}

/// Rule 8: TCP_USER_TIMEOUT is a backstop behind every limit of ours. It also kills a live peer that does not read, so
/// it is not set where nobody wants such a verdict.
pub fn user_timeout(policy: &Policy) -> Option<Duration> {
    let stall = policy
        .stall_limit
        .filter(|_| policy.mode == Mode::Enforce)?;
    let idle = policy.idle_limit.unwrap_or(Duration::from_secs(55));
    Some(idle.max(stall) + policy.close_timeout)
}

fn observe(histogram: &prometheus::Histogram, began: Instant) {
    histogram.observe(began.elapsed().as_secs_f64());
}
