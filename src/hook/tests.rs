//! Delivery against real receivers on the loopback.

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
            local_address: Some("127.0.0.1:40000".to_owned()),
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
        let registry = Registry::new();
        let metrics = HookMetrics::register(&registry);
        let hooks = Hooks::start(&named(hooks), metrics, runtime).unwrap();
        Self { hooks, registry }
    }

    fn closed(&self, stream: u128, uid: Option<&str>) {
        let event = Event::Closed(Arc::new(closed(stream, uid)));
        self.hooks.emit(event, SystemTime::now());
    }

    fn opened(&self, stream: u128, uid: Option<&str>) {
        let event = Event::Opened(Arc::new(opened(stream, uid)));
        self.hooks.emit(event, SystemTime::now());
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

/// HMAC-SHA256 as RFC 2104 defines it, for keys shorter than a block.
fn hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
    let padded = |pad: u8| {
        let mut block = [pad; 64];
        block
            .iter_mut()
            .zip(key)
            .for_each(|(byte, key)| *byte ^= key);
        block
    };
    let inner = Sha256::new()
        .chain_update(padded(0x36))
        .chain_update(message);
    let outer = Sha256::new()
        .chain_update(padded(0x5c))
        .chain_update(inner.finalize());
    outer.finalize().to_vec()
}

#[tokio::test]
async fn a_closed_event_comes_signed_and_as_it_was_promised() {
    let receiver = Receiver::start(|_, _| Answer::Status(204)).await;
    let (secret, token) = (file(b"a raw key\nanother\n"), file(b"t0ken\n"));
    let app = config::Hook {
        secret_file: Some(secret.path().to_owned()),
        bearer_token_file: Some(token.path().to_owned()),
        ..receiver.hook()
    };
    let proxy = Proxy::start(&[("app", &app)]);
    assert_eq!(
        proxy.result("delivered"),
        0.0,
        "series are there from the start"
    );
    proxy.closed(7, Some("42"));
    proxy.settled().await;

    let all = receiver.all();
    let [request] = &all[..] else {
        panic!("{all:?}")
    };
    assert_eq!(request.path, "/_sidebeat?x=1");
    assert_eq!(
        request.header("content-type"),
        "application/cloudevents+json"
    );
    assert_eq!(request.header("authorization"), "Bearer t0ken");
    assert_eq!(request.header("host"), receiver.address.to_string());
    let agent = request.header("user-agent");
    assert_eq!(agent, format!("sidebeat/{}", env!("CARGO_PKG_VERSION")));
    let event = request.event();
    assert_eq!(request.header("webhook-id"), event["id"]);
    let timestamp = request.header("webhook-timestamp");
    let sent = UNIX_EPOCH + Duration::from_secs(timestamp.parse().unwrap());
    assert!(sent <= SystemTime::now());
    let signed = format!("{}.{timestamp}.", request.header("webhook-id"));
    let signed = [signed.as_bytes(), &request.body].concat();
    let expected: Vec<String> = [KEY, b"another"]
        .map(|key| format!("v1,{}", STANDARD.encode(hmac(key, &signed))))
        .to_vec();
    assert_eq!(request.header("webhook-signature"), expected.join(" "));
    assert_eq!(event["data"]["uid"], "42");

    assert_eq!(proxy.result("delivered"), 1.0);
    let hook = "{hook=\"app\"}";
    let queued = "sidebeat_hook_events_queued_total{hook=\"app\",type=\"sidebeat.stream.closed\"}";
    assert_eq!(proxy.metric(queued), Some(1.0));
    let of = |name: &str| proxy.metric(&format!("sidebeat_hook_{name}{hook}"));
    assert_eq!(of("request_duration_seconds_count"), Some(1.0));
    assert_eq!(of("retries_total"), Some(0.0));
    assert_eq!(of("queue_events"), Some(0.0));
    assert_eq!(of("oldest_event_timestamp_seconds"), Some(0.0));
    assert_eq!(of("disabled"), Some(0.0));
}

#[tokio::test]
async fn a_failed_event_comes_again_the_same_and_only_its_relatives_wait() {
    let failed_once = std::sync::atomic::AtomicBool::new(false);
    let receiver = Receiver::start(move |_, request| {
        if request.subject() == 1 && !failed_once.swap(true, Ordering::AcqRel) {
            return Answer::Status(500);
        }
        Answer::Status(200)
    })
    .await;
    let proxy = Proxy::start(&[("app", &receiver.hook())]);
    proxy.opened(1, Some("42"));
    proxy.closed(1, None);
    proxy.closed(2, Some("42"));
    proxy.closed(3, Some("43"));
    proxy.settled().await;

    let all = receiver.all();
    let seen: Vec<(u128, String)> = all
        .iter()
        .map(|request| (request.subject(), request.event()["type"].to_string()))
        .collect();
    let place = |stream, kind: &str| {
        let kind = format!("\"sidebeat.stream.{kind}\"");
        seen.iter()
            .rposition(|seen| *seen == (stream, kind.clone()))
            .unwrap()
    };
    assert_eq!(seen.len(), 5, "{seen:?}");
    let again = place(1, "opened");
    assert!(place(1, "closed") > again, "{seen:?}");
    assert!(place(2, "closed") > again, "{seen:?}");
    assert!(place(3, "closed") < again, "{seen:?}");
    let first = seen.iter().position(|(stream, _)| *stream == 1).unwrap();
    assert_eq!(all[first].body, all[again].body);
    let wait = all[again].at - all[first].at;
    assert!(wait >= Duration::from_millis(500), "{wait:?}");
    assert_eq!(
        proxy.metric("sidebeat_hook_retries_total{hook=\"app\"}"),
        Some(1.0)
    );
    let status = &proxy.hooks.status()[0];
    assert_eq!(
        status.last_error.as_deref(),
        Some("answer 500 Internal Server Error")
    );
}

#[tokio::test]
async fn gone_disables_the_hook_until_a_reload() {
    let receiver = Receiver::start(|nth, _| Answer::Status([410, 200][nth.min(1)])).await;
    let app = receiver.hook();
    let proxy = Proxy::start(&[("app", &app)]);
    proxy.closed(1, None);
    proxy.until(|status| status[0].disabled).await;
    proxy.closed(2, None);
    let started = Instant::now();
    let left = proxy.hooks.flush(PATIENCE).await;
    assert_eq!(left, 2);
    assert!(
        started.elapsed() < PATIENCE / 2,
        "waited for what cannot come"
    );
    let status = &proxy.hooks.status()[0];
    assert_eq!((status.queued, status.disabled), (2, true));
    assert!(status.oldest_event_at.is_some());
    assert_eq!(status.url, format!("http://{}/_sidebeat", receiver.address));
    let disabled = "sidebeat_hook_disabled{hook=\"app\"}";
    assert_eq!(proxy.metric(disabled), Some(1.0));
    assert_eq!(receiver.all().len(), 1);

    proxy.hooks.reload(&named(&[("app", &app)])).unwrap();
    proxy.settled().await;
    assert_eq!(receiver.all().len(), 3);
    assert_eq!(proxy.result("delivered"), 2.0);
    assert_eq!(proxy.metric(disabled), Some(0.0));
}

#[tokio::test]
async fn too_large_and_wrong_type_reject_the_event_and_free_the_next() {
    let receiver = Receiver::start(|nth, _| Answer::Status([413, 415, 200][nth])).await;
    let proxy = Proxy::start(&[("app", &receiver.hook())]);
    for _ in 0..3 {
        proxy.closed(1, None);
    }
    proxy.settled().await;
    assert_eq!(receiver.all().len(), 3);
    assert_eq!(proxy.result("rejected"), 2.0);
    assert_eq!(proxy.result("delivered"), 1.0);
}

#[tokio::test]
async fn a_redirect_is_a_failure_and_not_followed() {
    let receiver = Receiver::start(|nth, _| match nth {
        0 => Answer::Header(307, "location", "/elsewhere".to_owned()),
        _ => Answer::Status(200),
    })
    .await;
    let proxy = Proxy::start(&[("app", &receiver.hook())]);
    proxy.closed(1, None);
    proxy.settled().await;
    let paths: Vec<String> = receiver
        .all()
        .into_iter()
        .map(|request| request.path)
        .collect();
    assert_eq!(paths, ["/_sidebeat?x=1", "/_sidebeat?x=1"]);
    let error = proxy.hooks.status()[0].last_error.clone().unwrap();
    assert!(error.contains("redirects are not followed"), "{error}");
}

#[tokio::test]
async fn retry_after_makes_the_wait_longer() {
    let receiver = Receiver::start(|nth, _| match nth {
        0 => Answer::Header(429, "retry-after", "2".to_owned()),
        _ => Answer::Status(200),
    })
    .await;
    let proxy = Proxy::start(&[("app", &receiver.hook())]);
    proxy.closed(1, None);
    proxy.settled().await;
    let all = receiver.all();
    // The first retry alone would come within a second.
    assert!(all[1].at - all[0].at >= Duration::from_secs(2));
}

#[tokio::test]
async fn a_request_without_an_answer_is_given_up_and_tried_again() {
    let receiver = Receiver::start(|nth, _| match nth {
        0 => Answer::Never,
        _ => Answer::Status(200),
    })
    .await;
    let app = config::Hook {
        timeout: Duration::from_millis(200),
        ..receiver.hook()
    };
    let proxy = Proxy::start(&[("app", &app)]);
    proxy.closed(1, None);
    proxy.settled().await;
    assert!(receiver.all().len() >= 2);
    assert_eq!(proxy.result("delivered"), 1.0);
    let error = proxy.hooks.status()[0].last_error.clone();
    assert_eq!(error.as_deref(), Some("no answer within 200ms"));
}

#[tokio::test]
async fn nobody_listening_is_a_failure_with_its_cause() {
    let free = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let proxy = Proxy::start(&[("app", &hook(&format!("http://{free}/")))]);
    proxy.closed(1, None);
    proxy.until(|status| status[0].last_error.is_some()).await;
    let error = proxy.hooks.status()[0].last_error.clone().unwrap();
    assert!(error.contains("refused"), "{error}");
    assert_eq!(proxy.hooks.flush(Duration::from_millis(1)).await, 1);
}

/// Reads a request and answers with a head and then `after`.
async fn raw_receiver<F>(after: impl Fn(TcpStream) -> F + Send + 'static) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut seen = Vec::new();
            while !seen.ends_with(b"}}") {
                assert_ne!(stream.read_buf(&mut seen).await.unwrap(), 0);
            }
            let head = b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000000\r\n\r\n";
            stream.write_all(head).await.unwrap();
            tokio::spawn(after(stream));
        }
    });
    address
}

#[tokio::test]
async fn an_endless_answer_is_not_read_to_its_end() {
    let (ended, mut endings) = watch::channel(0);
    let address = raw_receiver(move |mut stream| {
        let ended = ended.clone();
        async move {
            let kilobytes = [b'x'; 16 * 1024];
            while stream.write_all(&kilobytes).await.is_ok() {}
            ended.send_modify(|endings| *endings += 1);
        }
    })
    .await;
    let proxy = Proxy::start(&[("app", &hook(&format!("http://{address}/")))]);
    proxy.closed(1, None);
    proxy.settled().await;
    assert_eq!(proxy.result("delivered"), 1.0);
    let hung_up = endings.wait_for(|endings| *endings == 1);
    tokio::time::timeout(PATIENCE, hung_up)
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn a_stalled_body_after_2xx_still_is_a_delivery() {
    let address = raw_receiver(|stream| async move {
        std::future::pending::<()>().await;
        drop(stream);
    })
    .await;
    let app = config::Hook {
        timeout: Duration::from_millis(200),
        ..hook(&format!("http://{address}/"))
    };
    let proxy = Proxy::start(&[("app", &app)]);
    proxy.closed(1, None);
    proxy.settled().await;
    assert_eq!(proxy.result("delivered"), 1.0);
}

fn tls_server() -> (TlsAcceptor, NamedTempFile) {
    let ca_key = rcgen::KeyPair::generate().unwrap();
    let mut ca = rcgen::CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca_pem = ca.self_signed(&ca_key).unwrap().pem();
    let issuer = rcgen::Issuer::new(ca, ca_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let leaf = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let leaf = leaf.signed_by(&key, &issuer).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], key)
        .unwrap();
    (TlsAcceptor::from(Arc::new(config)), file(ca_pem.as_bytes()))
}

#[tokio::test]
async fn a_tls_receiver_is_trusted_by_its_own_ca_only() {
    let (acceptor, ca) = tls_server();
    let (_, stranger) = tls_server();
    let receiver = Receiver::start_with(Some(acceptor), |_, _| Answer::Status(200)).await;
    let with = |ca: &NamedTempFile| config::Hook {
        ca: Some(ca.path().to_owned()),
        ..hook(&format!("https://localhost:{}/", receiver.address.port()))
    };
    let proxy = Proxy::start(&[("app", &with(&stranger))]);
    proxy.closed(1, None);
    proxy.until(|status| status[0].last_error.is_some()).await;
    let error = proxy.hooks.status()[0].last_error.clone().unwrap();
    assert!(error.contains("invalid peer certificate"), "{error}");
    assert_eq!(receiver.all().len(), 0);
    proxy.hooks.reload(&named(&[("app", &with(&ca))])).unwrap();
    proxy.settled().await;
    assert_eq!(receiver.all().len(), 1);
    assert_eq!(proxy.result("delivered"), 1.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_closes_at_once_are_all_delivered_over_few_connections() {
    let receiver = Receiver::start(|_, _| Answer::Status(200)).await;
    let proxy = Proxy::start(&[("app", &receiver.hook())]);
    let emitting = proxy.hooks.clone();
    let workers = [0u128, 1].map(|worker| {
        let hooks = emitting.clone();
        std::thread::spawn(move || {
            for stream in 0..5_000 {
                // A thousand users of ten streams each.
                let uid = (stream % 500).to_string();
                let record = closed(worker * 5_000 + stream, Some(&uid));
                hooks.emit(Event::Closed(Arc::new(record)), SystemTime::now());
            }
        })
    });
    for worker in workers {
        worker.join().unwrap();
    }
    proxy.settled().await;
    let all = receiver.all();
    assert_eq!(all.len(), 10_000);
    assert_eq!(proxy.result("delivered"), 10_000.0);
    let mut of_uid: std::collections::HashMap<String, Vec<String>> = Default::default();
    let mut sequences = std::collections::HashSet::new();
    for request in &all {
        let event = request.event();
        let text = |name: &str| event[name].as_str().unwrap().to_owned();
        of_uid
            .entry(text("partitionkey"))
            .or_default()
            .push(text("sequence"));
        sequences.insert(text("sequence"));
    }
    assert_eq!((of_uid.len(), sequences.len()), (500, 10_000));
    assert!(of_uid.values().all(|sequences| sequences.is_sorted()));
    let connections = *receiver.connections.borrow();
    eprintln!("{connections} connections");
    assert!(connections < 200, "{connections} connections");
}

#[tokio::test]
async fn an_event_that_is_too_old_expires_without_a_try() {
    let receiver = Receiver::start(|_, _| Answer::Status(200)).await;
    let proxy = Proxy::start(&[("app", &receiver.hook())]);
    let long_ago = SystemTime::now() - Duration::from_secs(901);
    let event = Event::Closed(Arc::new(closed(1, None)));
    proxy.hooks.emit(event, long_ago);
    proxy.settled().await;
    assert_eq!(proxy.result("expired"), 1.0);
    assert_eq!(receiver.all().len(), 0);
}

#[tokio::test]
async fn the_oldest_are_dropped_beyond_ten_thousand_and_counted() {
    let receiver = Receiver::start(|_, _| Answer::Never).await;
    let app = config::Hook {
        timeout: 2 * PATIENCE,
        ..receiver.hook()
    };
    let proxy = Proxy::start(&[("app", &app)]);
    for stream in 0..16 {
        proxy.closed(stream, None);
    }
    receiver.wait_for(16).await;
    for stream in 16..10_030 {
        proxy.closed(stream, None);
    }
    // The last one is marked so that the wait is for it and not for time.
    proxy.opened(20_000, None);
    let opened = "sidebeat_hook_events_total{hook=\"app\",result=\"dropped\",type=\"sidebeat.stream.opened\"}";
    proxy.until(|_| proxy.metric(opened) == Some(1.0)).await;
    assert_eq!(proxy.result("dropped"), 30.0);
    assert_eq!(proxy.hooks.status()[0].queued, CAPACITY);
    let flying: std::collections::BTreeSet<u128> =
        receiver.all().iter().map(Received::subject).collect();
    assert_eq!(flying, (0..16).collect());
}

#[test]
fn memory_is_bounded_while_the_control_runtime_stands_still() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let proxy = Proxy::start_on(runtime.handle(), &[("app", &hook("http://127.0.0.1:1/"))]);
    let record = Arc::new(closed(1, None));
    let first = Arc::new(opened(1, None));
    for _ in 0..INTAKE + 5 {
        proxy.hooks.emit(Event::Opened(first.clone()), UNIX_EPOCH);
    }
    for _ in 0..INTAKE + 7 {
        proxy.hooks.emit(Event::Closed(record.clone()), UNIX_EPOCH);
    }
    assert_eq!(Arc::strong_count(&first), 1 + INTAKE);
    assert_eq!(Arc::strong_count(&record), 1 + INTAKE);
    assert_eq!(proxy.result("dropped"), 7.0);
    // Once it moves again, everything that was taken comes to an end: all of it is older than give_up_after.
    assert_eq!(runtime.block_on(proxy.hooks.flush(PATIENCE)), 0);
    assert_eq!(Arc::strong_count(&record), 1);
    assert_eq!(
        proxy.result("expired") + proxy.result("dropped"),
        (INTAKE + 7) as f64
    );
}

#[tokio::test]
async fn events_go_where_they_are_wanted() {
    let receiver = Receiver::start(|_, _| Answer::Status(200)).await;
    let chat = config::Hook {
        listeners: Some(vec!["chat".to_owned()]),
        url: format!("http://{}/chat", receiver.address).parse().unwrap(),
        events: vec![EventKind::Closed, EventKind::Draining],
        ..receiver.hook()
    };
    let other = config::Hook {
        listeners: Some(vec!["other".to_owned()]),
        url: format!("http://{}/other", receiver.address)
            .parse()
            .unwrap(),
        events: vec![EventKind::Opened, EventKind::Closed],
        ..receiver.hook()
    };
    let proxy = Proxy::start(&[("chat", &chat), ("other", &other)]);
    assert!(proxy.hooks.wants(EventKind::Closed, "chat"));
    assert!(!proxy.hooks.wants(EventKind::Opened, "chat"));
    assert!(proxy.hooks.wants(EventKind::Opened, "other"));
    assert!(!proxy.hooks.wants(EventKind::Overdue, "other"));
    assert!(!proxy.hooks.wants(EventKind::Closed, "third"));
    proxy.opened(1, None);
    proxy.closed(1, None);
    let event = Event::Draining {
        streams: 1,
        delay: Duration::ZERO,
        spread: Duration::ZERO,
    };
    proxy.hooks.emit(event, SystemTime::now());
    proxy.settled().await;
    let mut seen: Vec<(String, String)> = receiver
        .all()
        .iter()
        .map(|request| (request.path.clone(), request.event()["type"].to_string()))
        .collect();
    seen.sort();
    assert_eq!(
        seen,
        [
            ("/chat".to_owned(), "\"sidebeat.proxy.draining\"".to_owned()),
            ("/chat".to_owned(), "\"sidebeat.stream.closed\"".to_owned()),
        ]
    );
}

#[tokio::test]
async fn a_reload_is_all_or_nothing_and_a_removed_hook_delivers_what_it_has() {
    let (open, gate) = watch::channel(false);
    let receiver = Receiver::start(move |_, _| match *gate.borrow() {
        true => Answer::Status(200),
        false => Answer::Status(503),
    })
    .await;
    let (app, spare) = (receiver.hook(), receiver.hook());
    let proxy = Proxy::start(&[("app", &app)]);
    proxy.closed(1, None);
    receiver.wait_for(1).await;

    let broken = config::Hook {
        secret_file: Some("/nonexistent/secret".into()),
        ..receiver.hook()
    };
    let refused = proxy
        .hooks
        .reload(&named(&[("spare", &spare), ("broken", &broken)]));
    let refused = refused.unwrap_err().to_string();
    assert!(
        refused.contains("hook broken: cannot read /nonexistent/secret"),
        "{refused}"
    );
    let names = |status: &[HookStatus]| -> Vec<String> {
        status.iter().map(|hook| hook.name.clone()).collect()
    };
    assert_eq!(names(&proxy.hooks.status()), ["app"]);

    proxy.hooks.reload(&named(&[("spare", &spare)])).unwrap();
    assert_eq!(names(&proxy.hooks.status()), ["spare", "app"]);
    open.send(true).unwrap();
    proxy.closed(2, None);
    proxy.until(|status| names(status) == ["spare"]).await;
    proxy.settled().await;
    let delivered: Vec<u128> = receiver.all().iter().map(Received::subject).collect();
    let of = |stream| delivered.iter().filter(|other| **other == stream).count();
    assert!(of(1) >= 2, "not delivered after its hook was removed");
    assert_eq!(of(2), 1, "the removed hook got a new event");
    assert_eq!(proxy.metric("sidebeat_hook_disabled{hook=\"app\"}"), None);
    assert_eq!(
        proxy.metric("sidebeat_hook_disabled{hook=\"spare\"}"),
        Some(0.0)
    );

    proxy.hooks.reload(&named(&[("app", &app)])).unwrap();
    proxy.closed(3, None);
    proxy.settled().await;
    assert_eq!(proxy.result("delivered"), 1.0);
}

#[tokio::test]
async fn unusable_files_are_named() {
    let (empty, binary) = (file(b"\n"), file(b"\xff\xfe"));
    let base = hook("https://localhost/");
    let error = |hook: config::Hook| {
        let metrics = HookMetrics::register(&Registry::new());
        let started = Hooks::start(&named(&[("app", &hook)]), metrics, &Handle::current());
        started.err().unwrap().to_string()
    };
    let path = |file: &NamedTempFile| Some(file.path().to_owned());
    let secret = error(config::Hook {
        secret_file: path(&empty),
        ..base.clone()
    });
    assert!(secret.contains("holds no key"), "{secret}");
    for unusable in [&empty, &binary] {
        let token = error(config::Hook {
            bearer_token_file: path(unusable),
            ..base.clone()
        });
        assert!(token.contains("must hold one token"), "{token}");
    }
    let ca = error(config::Hook {
        ca: path(&empty),
        ..base.clone()
    });
    assert!(ca.contains("no certificate"), "{ca}");
}
