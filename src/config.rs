//! Configuration, validated and ready: nothing later can fail on it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use indexmap::IndexMap;
use ipnet::IpNet;

use crate::proto::framing::{Framing, Payload};
use crate::proto::heart::Policy;

/// Everything that `run` needs.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    pub listeners: IndexMap<String, Arc<Listener>>,
    pub hooks: IndexMap<String, Hook>,
    pub state_dir: Option<PathBuf>,
    pub admin: Option<Admin>,
    pub telemetry: Option<SocketAddr>,
    pub drain: Drain,
    /// Worker threads; `auto` is resolved when the server starts.
    pub workers: Option<usize>,
    pub log: Log,
}

/// What a listener or upstream speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Ws,
    Wss,
    Tcp,
    Tls,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Listener {
    pub name: Arc<str>,
    pub protocol: Protocol,
    pub listen: SocketAddr,
    pub upstream: Upstream,
    /// `Some` for wss and tls.
    pub tls: Option<Tls>,
    pub connect_timeout: Duration,
    pub answer_timeout: Duration,
    pub http: HttpPolicy,
    pub http_timeout: Duration,
    /// `Raw` on ws and wss, where it is not used.
    pub framing: Framing,
    pub heartbeat: Policy,
    /// `ping.data`.
    pub ping_data: Option<Payload>,
    /// `ping.reply`.
    pub ping_reply: Option<Payload>,
    pub identity: Vec<IdentityRule>,
    /// Paths of hooks that point at this listener's own upstream: 404 to clients.
    pub hidden_paths: Vec<String>,
    pub limits: Limits,
    pub accept_proxy: Vec<IpNet>,
    pub send_proxy: Option<ProxyVersion>,
    pub trusted_proxies: Vec<IpNet>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Upstream {
    /// As written, for logs and the API.
    pub url: String,
    pub address: UpstreamAddress,
    /// `Some` for wss and tls upstreams.
    pub tls: Option<UpstreamTls>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UpstreamAddress {
    Host { host: String, port: u16 },
    Unix(PathBuf),
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UpstreamTls {
    pub ca: Option<PathBuf>,
    /// Given or the upstream's host.
    pub server_name: String,
    pub identity: Option<CertificateFiles>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    pub certificates: Vec<CertificateFiles>,
    pub client_ca: Option<PathBuf>,
    pub client_auth: ClientAuth,
    pub min_version: TlsVersion,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    pub cert: PathBuf,
    pub key: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAuth {
    Required,
    Optional,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsVersion {
    V1_2,
    V1_3,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HttpPolicy {
    Pass,
    Refuse,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyVersion {
    V1,
    V2,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IdentityRule {
    ResponseHeader(http::HeaderName),
    Query(String),
    Header(http::HeaderName),
    Cookie(String),
    FirstMessage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    pub streams: usize,
    pub streams_per_ip: Option<usize>,
    pub opens_per_second: Option<u32>,
    pub opens_per_second_per_ip: Option<u32>,
    pub handshake_timeout: Duration,
    /// At least 8 KiB: hyper panics below.
    pub request_head: usize,
    pub message: Option<u64>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Hook {
    pub url: http::Uri,
    pub events: Vec<EventKind>,
    /// `None`: all.
    pub listeners: Option<Vec<String>>,
    pub secret_file: Option<PathBuf>,
    pub ca: Option<PathBuf>,
    pub bearer_token_file: Option<PathBuf>,
    pub timeout: Duration,
    pub rate: u32,
    pub give_up_after: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    Opened,
    Closed,
    Overdue,
    Started,
    Draining,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    pub listen: AdminAddress,
    pub token_file: Option<PathBuf>,
    pub hosts: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AdminAddress {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// `off` is zero for delay and spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drain {
    pub delay: Duration,
    pub spread: Duration,
    pub close_code: u16,
    pub hook_flush: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Log {
    pub format: LogFormat,
    pub level: tracing::Level,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    Auto,
    Json,
    Text,
}
