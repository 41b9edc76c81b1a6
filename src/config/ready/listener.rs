//! A listener, ready.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use crate::proto::framing::{Framing, Payload};
use crate::proto::heart::Policy;

/// One listening socket and the app behind it.
#[derive(Debug, Clone, PartialEq)]
pub struct Listener {
    /// Its key in the file.
    pub name: Arc<str>,
    /// What clients speak.
    pub protocol: Protocol,
    /// `[::]` is dual stack.
    pub listen: SocketAddr,
    /// The app.
    pub upstream: Upstream,
    /// `Some` for wss and tls.
    pub tls: Option<Tls>,
    /// To reach the app.
    pub connect_timeout: Duration,
    /// For the app's answer to a WebSocket opening.
    pub answer_timeout: Duration,
    /// What happens to ordinary HTTP requests.
    pub http: HttpPolicy,
    /// Head of an ordinary answer, and stalls in bodies.
    pub http_timeout: Duration,
    /// `Raw` on ws and wss, where it is not used.
    pub framing: Framing,
    /// The rules of the heart.
    pub heartbeat: Policy,
    /// `ping.data`.
    pub ping_data: Option<Payload>,
    /// `ping.reply`.
    pub ping_reply: Option<Payload>,
    /// The first that yields wins.
    pub identity: Vec<IdentityRule>,
    /// Paths of hooks that point at this listener's own upstream: 404 to clients.
    pub hidden_paths: Vec<String>,
    /// How much clients may ask for.
    pub limits: Limits,
    /// Networks from which a PROXY header is required; empty: off.
    pub accept_proxy: Vec<IpNet>,
    /// The PROXY header sent to the app.
    pub send_proxy: Option<ProxyVersion>,
    /// Networks whose X-Forwarded-* headers are believed.
    pub trusted_proxies: Vec<IpNet>,
}

/// What a listener or upstream speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// WebSocket over TCP.
    Ws,
    /// WebSocket over TLS.
    Wss,
    /// Bytes over TCP.
    Tcp,
    /// Bytes over TLS.
    Tls,
}

impl Protocol {
    /// Whether streams carry WebSocket frames.
    pub fn is_websocket(self) -> bool {
        match self {
            Self::Ws | Self::Wss => true,
            Self::Tcp | Self::Tls => false,
        }
    }

    /// Whether TLS is below.
    pub fn is_tls(self) -> bool {
        match self {
            Self::Wss | Self::Tls => true,
            Self::Ws | Self::Tcp => false,
        }
    }

    /// The scheme of its addresses, and the word in records and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ws => "ws",
            Self::Wss => "wss",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
        }
    }
}

/// The app behind a listener.
#[derive(Debug, Clone, PartialEq)]
pub struct Upstream {
    /// As written, for logs and the API.
    pub url: String,
    /// Where to dial.
    pub address: UpstreamAddress,
    /// `Some` for wss and tls upstreams.
    pub tls: Option<UpstreamTls>,
}

/// Where to dial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UpstreamAddress {
    /// A name, resolved at each dial, or an IP address without brackets.
    Host {
        /// The name or address.
        host: String,
        /// The port, never 0.
        port: u16,
    },
    /// A socket in the file system.
    Unix(PathBuf),
}

/// TLS towards the app.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UpstreamTls {
    /// PEM file of the authorities to trust; `None`: the system's.
    pub ca: Option<PathBuf>,
    /// Given or the upstream's host; a valid rustls `ServerName`.
    pub server_name: String,
    /// Our own certificate.
    pub identity: Option<CertificateFiles>,
}

/// TLS towards clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// Chosen by SNI; the first is the default. At least one.
    pub certificates: Vec<CertificateFiles>,
    /// PEM file of the authorities of client certificates; `None`: clients are not asked.
    pub client_ca: Option<PathBuf>,
    /// Whether a client must present a certificate; without `client_ca` of no meaning.
    pub client_auth: ClientAuth,
    /// The oldest version accepted.
    pub min_version: TlsVersion,
}

/// The PEM files of a certificate chain and its key; readable when the configuration was loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The chain.
    pub cert: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// Whether a client must present a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAuth {
    /// No certificate, no connection.
    Required,
    /// Verified if presented.
    Optional,
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsVersion {
    /// RFC 5246.
    V1_2,
    /// RFC 8446.
    V1_3,
}

/// What happens to ordinary HTTP requests on a ws or wss listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpPolicy {
    /// They reach the app.
    Pass,
    /// They are answered with 426.
    Refuse,
}

/// A version of the PROXY protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyVersion {
    /// Text.
    V1,
    /// Binary, with the stream id as PP2_TYPE_UNIQUE_ID.
    V2,
}

/// Where a uid comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IdentityRule {
    /// A header of the app's 101 answer.
    ResponseHeader(http::HeaderName),
    /// A parameter of the request's query.
    Query(String),
    /// A header of the request.
    Header(http::HeaderName),
    /// A cookie of the request.
    Cookie(String),
    /// The client's whole first message.
    FirstMessage,
}

/// How much clients may ask for; every `None` is `off`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Open streams.
    pub streams: usize,
    /// Open streams of one client address.
    pub streams_per_ip: Option<usize>,
    /// New connections a second.
    pub opens_per_second: Option<u32>,
    /// New connections a second of one client address.
    pub opens_per_second_per_ip: Option<u32>,
    /// From accept to the end of the head, PROXY header and TLS included.
    pub handshake_timeout: Duration,
    /// In bytes, at least 8 KiB: hyper panics below.
    pub request_head: usize,
    /// In bytes.
    pub message: Option<u64>,
}
