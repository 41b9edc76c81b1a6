//! The client's HTTP/1.1 connection before it becomes a stream, or for as long as it asks ordinary requests.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use bytes::Bytes;
use http::header::{ALLOW, CONNECTION, RETRY_AFTER, SEC_WEBSOCKET_VERSION};
use http::{HeaderValue, Method, Request as HttpRequest, Response, StatusCode, Version};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{sleep_until, timeout};
use uuid::Uuid;

use super::opening::{self, Switched};
use super::{Attempt, LINGER, Opened};
use crate::config::HttpPolicy;
use crate::net::leg::Leg;
use crate::proto::cause::Rejection;
use crate::proto::upgrade;

/// Seconds after which a refused client may come again.
const RETRY: &str = "1";

/// The most that is read of a client whose request was refused, so that it can read the answer before the reset.
const LINGER_BYTES: u64 = 256 * 1024;

pub(super) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Any body we pass on or make.
pub(super) type Body = UnsyncBoxBody<Bytes, BoxError>;

/// One client connection while hyper speaks on it.
pub(super) struct Connection<'a> {
    pub(super) attempt: &'a Attempt,
    /// Set by the request that became a WebSocket.
    pub(super) switched: RefCell<Option<Switched>>,
    /// A head has been read completely: `handshake_timeout` is kept.
    asked: Cell<bool>,
}

/// Answers requests until one becomes a WebSocket (`Some`) or the connection ends.
pub(super) async fn serve(attempt: &Attempt, leg: Leg) -> Option<Opened> {
    let connection = Rc::new(Connection {
        attempt,
        switched: RefCell::new(None),
        asked: Cell::new(false),
    });
    let limits = &attempt.config.limits;
    let service = {
        let connection = Rc::clone(&connection);
        service_fn(move |request| {
            let connection = Rc::clone(&connection);
            Box::pin(async move { Ok::<_, Infallible>(connection.answer(request).await) })
        })
    };
    let mut builder = http1::Builder::new();
    builder
        .preserve_header_case(true)
        .title_case_headers(true)
        .auto_date_header(false)
        .half_close(true);
    builder
        .max_buf_size(limits.request_head)
        .timer(TokioTimer::new())
        .header_read_timeout(limits.handshake_timeout);
    let mut serving = builder.serve_connection(TokioIo::new(leg), service);
    let mut deadline = pin!(sleep_until(attempt.deadline));
    let end = poll_fn(|cx| {
        if let Poll::Ready(end) = serving.poll_without_shutdown(cx) {
            return Poll::Ready(Some(end));
        }
        // The deadline covers the TLS handshake too, which hyper's own timer for the head does not know.
        if !connection.asked.get() && deadline.as_mut().poll(cx).is_ready() {
            return Poll::Ready(None);
        }
        Poll::Pending
    })
    .await;
    let parts = serving.into_parts();
    let (leg, ahead) = (parts.io.into_inner(), parts.read_buf);
    if let (Some(Ok(())), Some(switched)) = (&end, connection.switched.take()) {
        return Some(switched.opened(leg, ahead));
    }
    let asked = connection.asked.get();
    connection.finish(leg, &ahead, end, asked).await;
    None
}

impl Connection<'_> {
    async fn answer(&self, request: HttpRequest<Incoming>) -> Response<Body> {
        self.asked.set(true);
        let attempt = self.attempt;
        if let Err((status, why)) = acceptable(&request) {
            return self.refuse(status, why);
        }
        let has_body = !request.body().is_end_stream();
        let kind = upgrade::request(
            request.method(),
            request.version(),
            request.headers(),
            has_body,
        );
        if let upgrade::Request::Refuse { status, why } = kind {
            return self.refuse(status, why);
        }
        if attempt
            .config
            .hidden_paths
            .iter()
            .any(|path| path == request.uri().path())
        {
            return self.counted(plain(StatusCode::NOT_FOUND, "not found"));
        }
        if attempt.draining() {
            attempt.reject(Rejection::Draining);
            return later(StatusCode::SERVICE_UNAVAILABLE, "draining");
        }
        match kind {
            upgrade::Request::WebSocket { accept } => match attempt.local.shared.permit() {
                Ok(permit) => {
                    opening::websocket(self, request, &accept, permit, Uuid::now_v7()).await
                }
                Err(rejection) => {
                    attempt.reject(rejection);
                    later(StatusCode::SERVICE_UNAVAILABLE, "too many streams")
                }
            },
            _ if attempt.config.http == HttpPolicy::Refuse => self.counted(upgrade_required(
                "this port serves WebSocket connections only",
            )),
            _ => self.counted(opening::ordinary(self, request).await),
        }
    }

    fn refuse(&self, status: StatusCode, why: &'static str) -> Response<Body> {
        self.attempt.reject(Rejection::BadRequest);
        match status {
            StatusCode::UPGRADE_REQUIRED => upgrade_required(why),
            StatusCode::METHOD_NOT_ALLOWED => {
                let mut answer = closing(status, why);
                answer.headers_mut().insert(
                    ALLOW,
                    HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"),
                );
                answer
            }
            _ => closing(status, why),
        }
    }

    fn counted(&self, answer: Response<Body>) -> Response<Body> {
        self.attempt
            .local
            .shared
            .metrics
            .http_requests(answer.status())
            .inc();
        answer
    }

    /// Counts how a connection without a stream ended and says goodbye to it.
    async fn finish(
        &self,
        mut leg: Leg,
        ahead: &[u8],
        end: Option<hyper::Result<()>>,
        asked: bool,
    ) {
        match end {
            Some(Ok(())) => {}
            // The same timer ends a connection that was kept alive and asks nothing more: that one is no failure.
            None => self.late(&mut leg).await,
            Some(Err(error)) if error.is_timeout() && !asked => self.late(&mut leg).await,
            Some(Err(error)) if error.is_parse() => {
                self.attempt.reject(Rejection::BadRequest);
                if ahead.starts_with(b"PRI * HTTP/2.0") {
                    write_answer(&mut leg, "505 HTTP Version Not Supported").await;
                }
            }
            Some(Err(error)) if error.is_incomplete_message() && !asked => {
                self.attempt.reject(Rejection::BadRequest)
            }
            Some(Err(error)) => {
                tracing::debug!(client = %self.attempt.client, %error, "HTTP connection ended")
            }
        }
        linger(leg).await;
    }

    async fn late(&self, leg: &mut Leg) {
        self.attempt.reject(Rejection::HandshakeTimeout);
        write_answer(leg, "408 Request Timeout").await;
    }
}

/// What hyper lets through and the specifications do not.
fn acceptable(request: &HttpRequest<Incoming>) -> Result<(), (StatusCode, &'static str)> {
    if request.method() == Method::CONNECT {
        return Err((
            StatusCode::METHOD_NOT_ALLOWED,
            "CONNECT is not for a reverse proxy",
        ));
    }
    let mut hosts = request.headers().get_all(http::header::HOST).iter();
    match (hosts.next(), hosts.next(), request.version()) {
        (Some(_), None, _) | (None, None, Version::HTTP_10) => {}
        (None, _, _) => {
            return Err((
                StatusCode::BAD_REQUEST,
                "no Host header (RFC 9112 section 3.2)",
            ));
        }
        (Some(_), Some(_), _) => {
            return Err((
                StatusCode::BAD_REQUEST,
                "more than one Host header (RFC 9112 section 3.2)",
            ));
        }
    }
    if request.version() == Version::HTTP_10
        && request
            .headers()
            .contains_key(http::header::TRANSFER_ENCODING)
    {
        return Err((
            StatusCode::BAD_REQUEST,
            "Transfer-Encoding in HTTP/1.0 (RFC 9112 section 6.1)",
        ));
    }
    Ok(())
}

/// An answer of ours in a sentence.
pub(super) fn plain(status: StatusCode, why: &'static str) -> Response<Body> {
    let text = Full::from(format!("{why}\n"))
        .map_err(|never| match never {})
        .boxed_unsync();
    let mut answer = Response::new(text);
    *answer.status_mut() = status;
    answer.headers_mut().insert(
        http::header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    answer
}

fn closing(status: StatusCode, why: &'static str) -> Response<Body> {
    let mut answer = plain(status, why);
    answer
        .headers_mut()
        .insert(CONNECTION, HeaderValue::from_static("close"));
    answer
}

fn later(status: StatusCode, why: &'static str) -> Response<Body> {
    let mut answer = closing(status, why);
    answer
        .headers_mut()
        .insert(RETRY_AFTER, HeaderValue::from_static(RETRY));
    answer
}

fn upgrade_required(why: &'static str) -> Response<Body> {
    let mut answer = closing(StatusCode::UPGRADE_REQUIRED, why);
    answer
        .headers_mut()
        .insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    answer
        .headers_mut()
        .insert(http::header::UPGRADE, HeaderValue::from_static("websocket"));
    answer
        .headers_mut()
        .insert(CONNECTION, HeaderValue::from_static("Upgrade, close"));
    answer
}

async fn write_answer(leg: &mut Leg, status: &str) {
    let answer = format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    // A client that does not even take this is dropped with the connection.
    let _ = timeout(LINGER, leg.write_all(answer.as_bytes())).await;
}

/// FIN first, then what the client still sends is read for a moment: closing with unread data resets the connection, and
/// the reset can overtake the answer.
async fn linger(mut leg: Leg) {
    let _ = timeout(LINGER, async {
        leg.shutdown().await?;
        tokio::io::copy(&mut (&mut leg).take(LINGER_BYTES), &mut tokio::io::sink()).await
    })
    .await;
}
