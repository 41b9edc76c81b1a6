//! `/metrics` and the probes, read-only and for anybody who reaches the address.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use tokio::net::TcpListener;

use super::connections::{self, Connections, WhenFull};
use super::listener::{accept_tcp, bind_tcp};
use crate::health::{Check, Health};
use crate::metrics::Metrics;

/// Longer than a scrape interval of a minute: Prometheus keeps its connection between scrapes.
const IDLE_TIMEOUT: Duration = Duration::from_secs(75);

/// What the telemetry plane tells.
pub struct Telemetry {
    metrics: Arc<Metrics>,
    health: Arc<Health>,
}

/// Binds the telemetry address; `[::]` takes IPv4 too. Must be called inside a runtime.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    bind_tcp(address)
}

/// Serves telemetry until it is dropped, which closes its connections.
pub async fn serve(listener: TcpListener, telemetry: Arc<Telemetry>) {
    let mut connections = Connections::new(connections::MOST, WhenFull::CloseOldest);
    loop {
        let io = accept_tcp(&listener).await;
        let telemetry = Arc::clone(&telemetry);
        connections
            .admit(async move {
                let answer = |request| std::future::ready(telemetry.answer(&request));
                connections::speak(io, IDLE_TIMEOUT, answer).await;
            })
            .await;
    }
}

impl Telemetry {
    /// Telemetry of these two.
    pub fn new(metrics: Arc<Metrics>, health: Arc<Health>) -> Self {
        Self { metrics, health }
    }

    /// Answers one request; its body is not looked at.
    pub fn answer<B>(&self, request: &Request<B>) -> Response<Full<Bytes>> {
        let probe = |name, checks| probe(name, checks, is_verbose(request));
        let page: &dyn Fn() -> Response<Full<Bytes>> = match request.uri().path() {
            "/metrics" => &|| self.metrics(),
            "/livez" => &|| probe("livez", self.health.live()),
            "/readyz" => &|| probe("readyz", self.health.ready()),
            "/startupz" => &|| probe("startupz", self.health.startup()),
            _ => {
                return text(
                    StatusCode::NOT_FOUND,
                    "there are /metrics, /livez, /readyz and /startupz\n".to_owned(),
                );
            }
        };
        match *request.method() {
            Method::GET | Method::HEAD => page(),
            _ => {
                let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "GET or HEAD\n".to_owned());
                let allow = HeaderValue::from_static("GET, HEAD");
                response.headers_mut().insert(ALLOW, allow);
                response
            }
        }
    }

    fn metrics(&self) -> Response<Full<Bytes>> {
        match self.metrics.text() {
            Ok(scrape) => {
                let mut response = text(StatusCode::OK, scrape);
                let format = HeaderValue::from_static(prometheus::TEXT_FORMAT);
                response.headers_mut().insert(CONTENT_TYPE, format);
                response
            }
            Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
        }
    }
}

/// In the form of the Kubernetes API server's own probes: `ok`, or every check with the ones that failed.
fn probe(name: &str, checks: Vec<Check>, verbose: bool) -> Response<Full<Bytes>> {
    let passed = checks.iter().all(|check| check.result.is_ok());
    if passed && !verbose {
        return text(StatusCode::OK, "ok\n".to_owned());
    }
    let mut list = String::new();
    for check in checks {
        list += &match check.result {
            Ok(()) => format!("[+]{} ok\n", check.name),
            Err(why) => format!("[-]{} failed: {why}\n", check.name),
        };
    }
    let (status, verdict) = match passed {
        true => (StatusCode::OK, "passed"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "failed"),
    };
    text(status, format!("{list}{name} check {verdict}\n"))
}

fn is_verbose<B>(request: &Request<B>) -> bool {
    let mut names = request
        .uri()
        .query()
        .unwrap_or_default()
        .split('&')
        .map(|pair| pair.split('=').next());
    names.any(|name| name == Some("verbose"))
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    headers.insert(CONTENT_TYPE, plain);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;

    struct Plane {
        health: Arc<Health>,
        address: SocketAddr,
        server: tokio::task::JoinHandle<()>,
    }

    impl Plane {
        fn start() -> Self {
            let health = Arc::new(Health::new(1));
            let metrics = Arc::new(Metrics::new());
            metrics.listener("chat");
            let listener = bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
            let address = listener.local_addr().unwrap();
            let telemetry = Arc::new(Telemetry::new(metrics, Arc::clone(&health)));
            Self {
                health,
                address,
                server: tokio::spawn(serve(listener, telemetry)),
            }
        }

        /// Status line and headers, body.
        async fn exchange(&self, request: &str) -> (String, String) {
            let mut client = TcpStream::connect(self.address).await.unwrap();
            client.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            client.read_to_string(&mut answer).await.unwrap();
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            (head.to_owned(), body.to_owned())
        }

        async fn ask(&self, method: &str, target: &str) -> (String, String) {
            let request =
                format!("{method} {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
            self.exchange(&request).await
        }
    }

    impl Drop for Plane {
        fn drop(&mut self) {
            self.server.abort();
        }
    }

    #[tokio::test]
    async fn metrics_are_served_in_the_text_format() {
        let plane = Plane::start();
        let (head, body) = plane.ask("GET", "/metrics").await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        assert!(
            head.contains("content-type: text/plain; version=0.0.4"),
            "{head}"
        );
        assert!(body.contains("sidebeat_streams_active{listener=\"chat\"} 0\n"));
        let (head, body) = plane.ask("HEAD", "/metrics").await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        assert_eq!(body, "");
    }

    #[tokio::test]
    async fn probes_follow_the_health() {
        let plane = Plane::start();
        let (head, body) = plane.ask("GET", "/startupz").await;
        assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
        assert_eq!(
            body,
            "[-]listeners failed: not bound yet\nstartupz check failed\n"
        );
        plane.health.listeners_bound();
        for probe in ["/startupz", "/readyz", "/livez"] {
            let (head, body) = plane.ask("GET", probe).await;
            assert!(head.starts_with("HTTP/1.1 200 "), "{probe} {head}");
            assert_eq!(body, "ok\n", "{probe}");
        }
        plane.health.start_draining();
        let (head, body) = plane.ask("GET", "/readyz").await;
        assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
        assert_eq!(
            body,
            "[+]listeners ok\n[-]drain failed: draining\nreadyz check failed\n"
        );
        for probe in ["/startupz", "/livez"] {
            let (head, _) = plane.ask("GET", probe).await;
            assert!(head.starts_with("HTTP/1.1 200 "), "{probe} {head}");
        }
        let (_, body) = plane.ask("GET", "/livez?x=1&verbose").await;
        assert_eq!(body, "[+]worker-0 ok\nlivez check passed\n");
    }

    #[tokio::test]
    async fn everything_else_is_refused() {
        let plane = Plane::start();
        for (method, target, status) in [
            ("GET", "/", 404),
            ("GET", "/metrics/", 404),
            ("POST", "/v1/drain", 404),
            ("POST", "/metrics", 405),
            ("DELETE", "/livez", 405),
        ] {
            let (head, _) = plane.ask(method, target).await;
            let expected = format!("HTTP/1.1 {status} ");
            assert!(head.starts_with(&expected), "{method} {target}: {head}");
        }
        let (head, _) = plane.ask("PUT", "/readyz").await;
        assert!(head.contains("allow: GET, HEAD"), "{head}");
    }

    #[tokio::test]
    async fn a_body_does_no_harm() {
        let plane = Plane::start();
        plane.health.listeners_bound();
        let head = "GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n";
        let request = format!("{head}Content-Length: 5\r\n\r\nhello");
        let (head, body) = plane.exchange(&request).await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        assert_eq!(body, "ok\n");
    }

    #[tokio::test]
    async fn a_probe_gets_through_a_flood_of_idle_connections() {
        let plane = Plane::start();
        plane.health.listeners_bound();
        let mut flood = Vec::new();
        for _ in 0..connections::MOST {
            flood.push(TcpStream::connect(plane.address).await.unwrap());
        }
        let (head, _) = plane.ask("GET", "/livez").await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        let mut oldest = flood.remove(0);
        assert_eq!(oldest.read(&mut [0]).await.unwrap(), 0, "it made room");
    }
}
