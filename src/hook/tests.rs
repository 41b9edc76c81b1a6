//! Delivery against real receivers on the loopback: the receivers and the proxy's side.

use std::convert::Infallible;
use std::io::Write;
use std::net::SocketAddr;
use std::time::UNIX_EPOCH;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use prometheus::{Registry, TextEncoder};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use crate::proto::cause::{Cause, Reason};
use crate::registry::record::{
    Both, ClientRecord, ClosedRecord, OverdueRecord, PingRecord, StreamRecord, UpstreamRecord,
};

use super::*;

mod answers;
mod life;
mod restart;
mod tap;

pub(crate) use tap::{Tap, tapped};

pub(crate) use super::log::by_hand::{ByHand, Told};

/// Longer than anything here takes; a test that needs it has failed.
const PATIENCE: Duration = Duration::from_secs(60);
const KEY: &[u8] = b"a raw key";

pub(super) fn opened(stream: u128, uid: Option<&str>) -> StreamRecord {
    let figures = Both {
        client: Some(12),
        upstream: Some(34),
    };
    StreamRecord {
        id: Uuid::from_u128(stream),
        listener: Arc::from("chat"),
        protocol: "wss",
        state: "open",
        uid: uid.map(str::to_owned),
        uid_source: uid.map(|_| "response_header"),
        tags: vec!["room:7".to_owned()],
        client: ClientRecord {
            address: "203.0.113.9:50122".parse().unwrap(),
            source: "socket",
        },
        upstream: UpstreamRecord {
            address: "127.0.0.1:8080".to_owned(),
            local_address: Some(([127, 0, 0, 1], 40_000).into()),
        },
        host: Some("chat.example.com".to_owned()),
        path: Some("/ws".to_owned()),
        subprotocol: None,
        user_agent: None,
        opened_at: "2026-11-21T09:12:00.120Z".to_owned(),
        last_client_at: Some("2026-11-21T09:12:00.120Z".to_owned()),
        last_upstream_at: None,
        idle_ms: Some(0),
        deadline_at: None,
        deadline_reason: None,
        bytes: figures,
        messages: figures,
        pings: PingRecord {
            sent: Some(1),
            answered: Some(1),
            rtt_ms: Some(0.5),
        },
    }
}

pub(super) fn closed(stream: u128, uid: Option<&str>) -> ClosedRecord {
    let cause = Cause::new(Reason::ClientIdle);
    ClosedRecord {
        stream: opened(stream, uid),
        closed_at: "2026-11-21T09:30:55.003Z".to_owned(),
        duration_ms: 1_134_883,
        reason: cause.reason.as_str(),
        by: cause.by.as_str(),
        close_code: cause.code,
        close_reason: None,
        detail: None,
        idle_limit_ms: Some(55_000),
        lateness_ms: Some(0.8),
        uid_streams_left: uid.map(|_| 0),
        cause,
    }
}

pub(super) fn overdue(stream: u128, uid: Option<&str>) -> OverdueRecord {
    OverdueRecord {
        stream: opened(stream, uid),
        reason: Reason::ClientIdle,
        idle_limit_ms: Some(55_000),
    }
}

/// One request as a receiver saw it.
#[derive(Debug, Clone)]
struct Received {
    path: String,
    headers: HeaderMap,
    body: Bytes,
    at: Instant,
}

impl Received {
    fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }

    fn event(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn subject(&self) -> u128 {
        let event = self.event();
        event["subject"]
            .as_str()
            .unwrap()
            .parse::<Uuid>()
            .unwrap()
            .as_u128()
    }
}

/// What a receiver does with its nth request, counted from 0.
enum Answer {
    Status(u16),
    Header(u16, &'static str, String),
    Never,
}

/// A receiver of the test's own; it ends with the runtime.
#[derive(Clone)]
struct Receiver {
    address: SocketAddr,
    received: watch::Sender<Vec<Received>>,
    connections: watch::Sender<usize>,
}

impl Receiver {
    async fn start(answer: impl Fn(usize, &Received) -> Answer + Send + Sync + 'static) -> Self {
        Self::start_with(None, answer).await
    }

    async fn start_with(
        tls: Option<TlsAcceptor>,
        answer: impl Fn(usize, &Received) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let receiver = Self {
            address: listener.local_addr().unwrap(),
            received: watch::Sender::new(Vec::new()),
            connections: watch::Sender::new(0),
        };
        let (serving, answer) = (receiver.clone(), Arc::new(answer));
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                serving
                    .connections
                    .send_modify(|connections| *connections += 1);
                let (serving, answer, tls) = (serving.clone(), answer.clone(), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => serving.serve(stream, answer).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                serving.serve(stream, answer).await;
                            }
                        }
                    }
                });
            }
        });
        receiver
    }

    async fn serve<S>(
        &self,
        stream: S,
        answer: Arc<impl Fn(usize, &Received) -> Answer + Send + Sync + 'static>,
    ) where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    {
        let service = service_fn(|request: Request<Incoming>| {
            let answer = answer.clone();
            async move {
                assert_eq!(request.method(), http::Method::POST);
                let (head, body) = request.into_parts();
                let received = Received {
                    path: head.uri.to_string(),
                    headers: head.headers,
                    body: body.collect().await.unwrap().to_bytes(),
                    at: Instant::now(),
                };
                let mut answered = None;
                self.received.send_modify(|all| {
                    answered = Some(answer(all.len(), &received));
                    all.push(received);
                });
                let response = Response::builder();
                let response = match answered.unwrap() {
                    Answer::Status(status) => response.status(status),
                    Answer::Header(status, name, value) => {
                        response.status(status).header(name, value)
                    }
                    Answer::Never => std::future::pending().await,
                };
                Ok::<_, Infallible>(response.body(Full::<Bytes>::default()).unwrap())
            }
        });
        let _ = hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(stream), service)
            .await;
    }

    fn hook(&self) -> config::Hook {
        hook(&format!("http://{}/_sidebeat?x=1", self.address))
    }

    fn all(&self) -> Vec<Received> {
        self.received.borrow().clone()
    }

    async fn wait_for(&self, requests: usize) {
        let mut received = self.received.subscribe();
        let enough = received.wait_for(|all| all.len() >= requests);
        tokio::time::timeout(PATIENCE, enough)
            .await
            .unwrap()
            .unwrap();
    }
}

fn hook(url: &str) -> config::Hook {
    config::Hook {
        url: url.parse().unwrap(),
        events: vec![EventKind::Opened, EventKind::Closed],
        listeners: None,
        secret_file: None,
        ca: None,
        bearer_token_file: None,
        timeout: Duration::from_secs(10),
        rate: 100_000,
        give_up_after: Duration::from_secs(900),
    }
}

struct Proxy {
    hooks: Hooks,
    registry: Registry,
}

impl Proxy {
    fn start(hooks: &[(&str, &config::Hook)]) -> Self {
        Self::start_on(&Handle::current(), hooks)
    }

    fn start_on(runtime: &Handle, hooks: &[(&str, &config::Hook)]) -> Self {
        Self::start_in(None, runtime, hooks)
    }

    fn start_in(
        state_dir: Option<&Path>,
        runtime: &Handle,
        hooks: &[(&str, &config::Hook)],
    ) -> Self {
        let registry = Registry::new();
        let metrics = HookMetrics::register(&registry);
        let hooks = Hooks::start_with(&named(hooks), state_dir, metrics, runtime).unwrap();
        Self { hooks, registry }
    }

    fn closed(&self, stream: u128, uid: Option<&str>) {
        let event = Event::Closed(Arc::new(closed(stream, uid)));
        self.hooks.emit(event, SystemTime::now(), Instant::now());
    }

    fn opened(&self, stream: u128, uid: Option<&str>) {
        let event = Event::Opened(Arc::new(opened(stream, uid)));
        self.hooks.emit(event, SystemTime::now(), Instant::now());
    }

    async fn settled(&self) {
        assert_eq!(self.hooks.flush(PATIENCE).await, 0, "events are left");
    }

    /// Waits until the hook looks as it should.
    async fn until(&self, wanted: impl Fn(&[HookStatus]) -> bool) {
        let look = async {
            while !wanted(&self.hooks.status()) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, look).await.unwrap();
    }

    /// The value of a series as it is scraped.
    fn metric(&self, series: &str) -> Option<f64> {
        let text = TextEncoder::new()
            .encode_to_string(&self.registry.gather())
            .unwrap();
        let mut lines = text.lines();
        let value = lines.find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
        Some(value.parse().unwrap())
    }

    fn result(&self, result: &str) -> f64 {
        let series = format!(
            "sidebeat_hook_events_total{{hook=\"app\",result=\"{result}\",type=\"sidebeat.stream.closed\"}}"
        );
        self.metric(&series).unwrap()
    }
}

fn named(hooks: &[(&str, &config::Hook)]) -> IndexMap<String, config::Hook> {
    let owned = |(name, hook): &(&str, &config::Hook)| ((*name).to_owned(), (*hook).clone());
    hooks.iter().map(owned).collect()
}

fn file(content: &[u8]) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(content).unwrap();
    file
}
