//! The two HTTP planes: telemetry, which anybody may read, and the admin API, which changes things and asks who calls.

mod access;
mod answer;
mod bulk;
pub mod client;
mod connections;
pub mod control;
mod events;
mod fields;
#[cfg(test)]
pub(crate) mod fixture;
mod listener;
mod page;
mod problem;
mod process;
mod routes;
#[cfg(test)]
mod stream_tests;
mod streams;
pub mod telemetry;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, LengthLimitError, Limited};

use crate::registry::Registry;
use crate::worker::Post;
pub use access::{Peer, Token, TokenError};
use access::{Rules, Secrecy};
use connections::{Connections, WhenFull};
use control::Control;
pub use listener::{AdminListener, SocketFile};
use page::StatusPage;
pub use problem::Problem;
use routes::Asked;

/// The body of every answer of the API.
pub type Body = UnsyncBoxBody<Bytes, Infallible>;

/// For the head of a request, and again for its body; also how long a connection may idle.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// The admin API of this process.
pub struct Api {
    control: Control,
    registry: Arc<Registry>,
    post: Post,
    guards: ArcSwap<Guards>,
    page: StatusPage,
}

/// What a reload can change about who may call.
#[derive(Debug, Clone, Default)]
pub struct Guards {
    /// The content of `admin.token_file`.
    pub token: Option<Token>,
    /// `admin.hosts`.
    pub hosts: Vec<String>,
}

impl Api {
    /// An API about the streams of `registry`, which it reaches by `post`; what concerns the process goes to `control`.
    pub fn new(control: Control, registry: Arc<Registry>, post: Post, guards: Guards) -> Self {
        Self {
            control,
            registry,
            post,
            guards: ArcSwap::from_pointee(guards),
            page: StatusPage::new(),
        }
    }

    /// Replaces token and hosts; requests that come after it are judged by the new ones.
    pub fn set_guards(&self, guards: Guards) {
        self.guards.store(Arc::new(guards));
    }

    /// Answers one request of `peer`. Every request that could change something leaves a log line, refused or not.
    pub async fn answer<B>(&self, peer: Peer, request: Request<B>) -> Response<Body>
    where
        B: hyper::body::Body<Data = Bytes>,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let mut audit = Audit::begin(peer, &request);
        let mut response = match self.call(peer, request).await {
            Ok(response) => response,
            Err(problem) => problem.into_response(),
        };
        audit.status = Some(response.status());
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        response
    }

    async fn call<B>(&self, peer: Peer, request: Request<B>) -> Result<Response<Body>, Problem>
    where
        B: hyper::body::Body<Data = Bytes>,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (head, body) = request.into_parts();
        let (method, path) = (&head.method, head.uri.path());
        let secrecy = match routes::is_public(method, path) {
            true => Secrecy::Public,
            false => Secrecy::Guarded,
        };
        let guards = self.guards.load_full();
        Rules {
            token: guards.token.as_ref(),
            hosts: &guards.hosts,
        }
        .admit(peer, &head, secrecy)?;
        let (route, id) = routes::find(method, path)?;
        let asked = Asked {
            id,
            parameters: route.read_parameters(head.uri.query())?,
            body: read(body, route.body).await?,
            headers: &head.headers,
        };
        route.call.answer(self, asked).await
    }
}

/// Serves the API until it is dropped, which closes its connections.
pub async fn serve(listener: AdminListener, api: Arc<Api>) {
    let mut connections = Connections::new(connections::MOST, WhenFull::Wait);
    loop {
        let (io, peer) = listener.accept().await;
        let api = Arc::clone(&api);
        connections
            .admit(async move {
                let answer = |request| api.answer(peer, request);
                connections::speak(io, REQUEST_TIMEOUT, answer).await;
            })
            .await;
    }
}

/// Reads a body of at most `most` bytes; a declared length beyond it is refused before a byte is read.
async fn read<B>(body: B, most: usize) -> Result<Bytes, Problem>
where
    B: hyper::body::Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let too_large = || {
        Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("the body may have at most {most} bytes"),
        )
    };
    if body.size_hint().lower() > most as u64 {
        return Err(too_large());
    }
    match tokio::time::timeout(REQUEST_TIMEOUT, Limited::new(body, most).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(error)) => Err(Problem::new(
            StatusCode::BAD_REQUEST,
            format!("the body cannot be read: {error}"),
        )),
        Err(_) => Err(Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            format!(
                "the body did not come within {} s",
                REQUEST_TIMEOUT.as_secs()
            ),
        )),
    }
}

/// Writes its line when it is dropped, so that a caller who hangs up during a call does not escape it.
struct Audit {
    peer: Peer,
    /// Method and target; `None` for a request that only reads.
    call: Option<String>,
    status: Option<StatusCode>,
}

impl Audit {
    fn begin<B>(peer: Peer, request: &Request<B>) -> Self {
        let target = request.uri().path_and_query().map_or("", |t| t.as_str());
        Self {
            peer,
            call: (!request.method().is_safe()).then(|| format!("{} {target}", request.method())),
            status: None,
        }
    }
}

impl Drop for Audit {
    fn drop(&mut self) {
        if let Some(call) = &self.call {
            // 499 as in other proxies' logs: the caller left before there was an answer.
            let status = self.status.map_or(499, |status| status.as_u16());
            tracing::info!(peer = %self.peer, call, status, "admin call");
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpStream, UnixStream};

    use super::fixture::{Asked, Plane, Script, tcp};
    use super::*;
    use crate::config::AdminAddress;
    use crate::log::capture::{Style, logged};

    pub(super) struct Answer {
        pub(super) status: u16,
        pub(super) head: String,
        pub(super) body: String,
    }

    impl Answer {
        pub(super) fn json(&self) -> Value {
            serde_json::from_str(&self.body).unwrap()
        }

        /// The culprit of a 400, after checking that it is a well-formed problem.
        pub(super) fn problem(&self) -> Option<String> {
            assert!(self.head.contains("content-type: application/problem+json"));
            let problem = self.json();
            assert_eq!(problem["type"], "about:blank");
            assert_eq!(problem["status"], self.status);
            assert!(!problem["detail"].as_str().unwrap().is_empty());
            assert!(!problem["title"].as_str().unwrap().is_empty());
            problem
                .get("parameter")
                .map(|name| name.as_str().unwrap().to_owned())
        }
    }

    /// Sends bytes and reads until the plane closes.
    pub(super) async fn exchange(plane: &Plane, request: &str) -> Answer {
        let mut client = TcpStream::connect(plane.address()).await.unwrap();
        client.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        Answer {
            status: head.split(' ').nth(1).unwrap().parse().unwrap(),
            head: head.to_ascii_lowercase(),
            body: body.to_owned(),
        }
    }

    pub(super) async fn ask(plane: &Plane, call: &str, headers: &str, body: &str) -> Answer {
        let length = body.len();
        let request = format!(
            "{call} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\
             Content-Length: {length}\r\n{headers}\r\n{body}"
        );
        exchange(plane, &request).await
    }

    #[tokio::test]
    async fn status_is_what_the_server_says() {
        let plane = Plane::open();
        let answer = ask(&plane, "GET /v1/status", "", "").await;
        assert_eq!(answer.status, 200);
        assert!(answer.head.contains("content-type: application/json"));
        assert!(answer.head.contains("cache-control: no-store"));
        let status = answer.json();
        assert_eq!(status["state"], "running");
        assert_eq!(status["listeners"]["chat"]["streams"], 3);
        assert_eq!(status["configuration"]["last_error"], Value::Null);
        let answer = ask(&plane, "HEAD /v1/status", "", "").await;
        assert_eq!((answer.status, answer.body.as_str()), (200, ""));
    }

    #[tokio::test]
    async fn a_drain_takes_spread_and_delay_and_nothing_else() {
        let plane = Plane::open();
        let answer = ask(&plane, "POST /v1/drain", "", "").await;
        assert_eq!(answer.status, 202);
        let body = r#"{"spread":"20s","delay":"off"}"#;
        let answer = ask(&plane, "POST /v1/drain", "", body).await;
        assert_eq!(
            answer.json(),
            json!({"streams": 3, "delay_ms": 0, "spread_ms": 20_000})
        );
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        let drains = [
            Asked::Drain(None, None),
            Asked::Drain(seconds(20), seconds(0)),
        ];
        assert_eq!(plane.asked(), drains);
        for (call, body, culprit) in [
            ("POST /v1/drain", r#"{"spread":"20s","speed":1}"#, "speed"),
            ("POST /v1/drain", r#"{"spread":20}"#, "spread"),
            ("POST /v1/drain", r#"{"delay":"soon"}"#, "delay"),
            ("POST /v1/drain?spread=20s", "", "spread"),
            ("POST /v1/reload", r#"{"force":true}"#, "force"),
            ("GET /v1/status?verbose", "", "verbose"),
        ] {
            let answer = ask(&plane, call, "", body).await;
            assert_eq!(answer.status, 400, "{call} {body}");
            assert_eq!(answer.problem().as_deref(), Some(culprit), "{call} {body}");
        }
        assert_eq!(plane.asked(), [], "what is refused changes nothing");
    }

    #[tokio::test]
    async fn a_reload_reports_or_says_why_nothing_changed() {
        let plane = Plane::open();
        let answer = ask(&plane, "POST /v1/reload", "", "").await;
        assert_eq!(answer.status, 200);
        let report = json!({"generation": 2, "restart_required": ["workers"]});
        assert_eq!(answer.json(), report);
        let script = Script {
            reload: Err("sidebeat.yaml:3:5: unknown key".to_owned()),
            ..Script::default()
        };
        let plane = Plane::start(&tcp(), Guards::default(), script);
        let answer = ask(&plane, "POST /v1/reload", "", "{}").await;
        assert_eq!(answer.status, 422);
        assert_eq!(answer.problem(), None);
        assert!(answer.body.contains("sidebeat.yaml:3:5"), "{}", answer.body);
    }

    #[tokio::test]
    async fn reading_methods_change_nothing() {
        let plane = Plane::open();
        for path in ["/v1/drain", "/v1/reload"] {
            for method in ["GET", "HEAD", "OPTIONS", "PUT"] {
                let answer = ask(&plane, &format!("{method} {path}"), "", "").await;
                assert_eq!(answer.status, 405, "{method} {path}");
                assert!(answer.head.contains("allow: post"), "{}", answer.head);
            }
        }
        let answer = ask(&plane, "POST /v1/status", "", "").await;
        assert_eq!(answer.status, 405);
        assert!(answer.head.contains("allow: get, head"), "{}", answer.head);
        assert_eq!(ask(&plane, "GET /v2/status", "", "").await.status, 404);
        assert_eq!(plane.asked(), []);
    }

    #[tokio::test]
    async fn tokens_hosts_and_origins_are_judged_before_the_call() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        std::fs::write(&path, "s3cret\n").unwrap();
        let guards = || Guards {
            token: Some(Token::read(&path).unwrap()),
            hosts: Vec::new(),
        };
        let plane = Plane::start(&tcp(), guards(), Script::default());
        let answer = ask(&plane, "POST /v1/reload", "", "").await;
        assert_eq!(answer.status, 401);
        assert!(
            answer.head.contains("www-authenticate: bearer"),
            "{}",
            answer.head
        );
        let right = "Authorization: Bearer s3cret\r\n";
        let evil = format!("{right}Origin: http://evil.example\r\n");
        assert_eq!(ask(&plane, "POST /v1/reload", &evil, "").await.status, 403);
        assert_eq!(ask(&plane, "GET /nowhere", "", "").await.status, 401);
        assert_eq!(plane.asked(), []);
        assert_eq!(ask(&plane, "POST /v1/reload", right, "").await.status, 200);

        std::fs::write(&path, "n3w\n").unwrap();
        plane.api.set_guards(guards());
        assert_eq!(ask(&plane, "GET /v1/status", right, "").await.status, 401);
        let new = "Authorization: Bearer n3w\r\n";
        assert_eq!(ask(&plane, "GET /v1/status", new, "").await.status, 200);

        let plane = Plane::open();
        let rebound = "POST /v1/reload HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n";
        assert_eq!(exchange(&plane, rebound).await.status, 403);
        assert_eq!(plane.asked(), []);
    }

    #[tokio::test]
    async fn bodies_are_bounded_declared_or_not() {
        let plane = Plane::open();
        let limit = 64 * 1024;
        let fits = format!("{{}}{}", " ".repeat(limit - 2));
        assert_eq!(ask(&plane, "POST /v1/reload", "", &fits).await.status, 200);
        plane.asked();
        let head = "POST /v1/reload HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n";
        let declared = format!("{head}Content-Length: {}\r\n\r\n", limit + 1);
        assert_eq!(exchange(&plane, &declared).await.status, 413);
        let chunk = " ".repeat(limit + 1);
        let chunked = format!(
            "{head}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{chunk}\r\n0\r\n\r\n",
            chunk.len()
        );
        assert_eq!(exchange(&plane, &chunked).await.status, 413);
        assert_eq!(plane.asked(), []);
    }

    #[tokio::test]
    async fn a_server_that_is_gone_is_told() {
        let (control, commands) = tokio::sync::mpsc::channel(1);
        drop(commands);
        let api = Api::new(
            control,
            Arc::default(),
            fixture::post().0,
            Guards::default(),
        );
        let request = request("GET", "/v1/status");
        let answer = api.answer(Peer::Unix(None), request).await;
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    }

    #[tokio::test]
    async fn the_unix_socket_is_served_whatever_the_host() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("admin.sock");
        let address = AdminAddress::Unix(path.clone());
        let plane = Plane::start(&address, Guards::default(), Script::default());
        let mut client = UnixStream::connect(&path).await.unwrap();
        let request = "POST /v1/reload HTTP/1.1\r\nHost: any.name\r\nConnection: close\r\n\r\n";
        client.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert_eq!(plane.asked(), [Asked::Reload]);
    }

    fn request(method: &str, path: &str) -> Request<http_body_util::Empty<Bytes>> {
        let request = Request::builder().method(method).uri(path);
        let request = request.header("host", "localhost");
        request.body(http_body_util::Empty::new()).unwrap()
    }

    #[test]
    fn every_call_that_could_change_something_is_logged() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        let (control, _commands) = tokio::sync::mpsc::channel(1);
        let api = Api::new(
            control,
            Arc::default(),
            fixture::post().0,
            Guards::default(),
        );
        let peer = Peer::Tcp("10.0.0.7:4000".parse().unwrap());
        let ask = |method, path| {
            runtime.block_on(api.answer(peer, request(method, path)));
        };
        let warm_up = || ask("POST", "/v1/drain");
        let lines = logged(Style::Text, tracing::Level::INFO, Some(&warm_up), |_| {
            ask("GET", "/v1/status");
            ask("POST", "/v1/drain?x=1");
            let _inside = runtime.enter();
            let caller = Peer::Unix(Some(7));
            let mut hangs_up = Box::pin(api.answer(caller, request("POST", "/v1/reload")));
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            assert!(hangs_up.as_mut().poll(&mut context).is_pending());
        });
        let lines: Vec<_> = lines.lines().collect();
        assert_eq!(lines.len(), 2, "{lines:?}");
        let drain = "admin call peer=10.0.0.7:4000 call=\"POST /v1/drain?x=1\" status=403";
        assert!(lines[0].ends_with(drain), "{}", lines[0]);
        let reload = "admin call peer=\"unix uid 7\" call=\"POST /v1/reload\" status=499";
        assert!(lines[1].ends_with(reload), "{}", lines[1]);
    }
}
