//! The client's HTTP/1.1 connection before it becomes a stream, or for as long as it asks ordinary requests.

mod answer;
mod goodbye;

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use http::header::{ALLOW, RETRY_AFTER};
use http::{HeaderValue, Request as HttpRequest, Response, StatusCode};
use hyper::body::{Body as HttpBody, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::time::sleep_until;
use uuid::Uuid;

use super::opening::{self, Switched};
use super::strict::{Strict, Verdict};
use super::{Attempt, Opened, hidden};
use crate::config::HttpPolicy;
use crate::listener::{Phase, Seat};
use crate::net::leg::Leg;
use crate::proto::cause::Rejection;
use crate::proto::request::Fault;
use crate::proto::upgrade;
pub(super) use answer::{Body, BoxError, full, plain};
use answer::{close, closing, upgrade_required};

/// Seconds after which a refused client may come again.
const RETRY: &str = "1";

/// One client connection while hyper speaks on it.
pub(super) struct Connection<'a> {
    pub(super) attempt: &'a Attempt,
    /// Set by the request that became a WebSocket.
    pub(super) switched: RefCell<Option<Switched>>,
    /// Requests so far; with the first, `handshake_timeout` is kept.
    asked: Cell<u64>,
    verdict: Verdict,
}

/// Keeps a connection out of the lobby for as long as it is busy with the app.
pub(super) struct Busy(Rc<Seat>);

impl Busy {
    pub(super) fn new(seat: &Rc<Seat>) -> Self {
        seat.leave();
        Self(Rc::clone(seat))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.wait(Phase::Idle);
    }
}

/// Answers requests until one becomes a WebSocket (`Some`) or the connection ends.
pub(super) async fn serve(attempt: &Attempt, leg: Leg) -> Option<Opened> {
    let connection = Rc::new(Connection {
        attempt,
        switched: RefCell::new(None),
        asked: Cell::new(0),
        verdict: Verdict::default(),
    });
    let limits = &attempt.config.limits;
    let verdict = Rc::clone(&connection.verdict);
    let strict = Strict::new(
        leg,
        limits.request_head,
        attempt.config.http_timeout,
        verdict,
    );
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
        // Longer heads do not come through, but what came behind one may be read with it.
        .max_buf_size(2 * limits.request_head)
        .timer(TokioTimer::new())
        .header_read_timeout(limits.handshake_timeout);
    let mut serving = builder.serve_connection(TokioIo::new(strict), service);
    let mut deadline = pin!(sleep_until(attempt.deadline));
    let end = poll_fn(|cx| {
        if let Poll::Ready(end) = serving.poll_without_shutdown(cx) {
            return Poll::Ready(Some(end));
        }
        // The deadline covers the TLS handshake too, which hyper's own timer for the head does not know.
        if connection.asked.get() == 0 && deadline.as_mut().poll(cx).is_ready() {
            return Poll::Ready(None);
        }
        Poll::Pending
    })
    .await;
    let parts = serving.into_parts();
    let (strict, ahead) = (parts.io.into_inner(), parts.read_buf);
    let in_head = strict.in_head();
    let (leg, unread) = strict.into_parts();
    if let (Some(Ok(())), Some(switched)) = (&end, connection.switched.take()) {
        let ahead = if unread.is_empty() {
            ahead
        } else {
            [ahead, unread].concat().into()
        };
        return Some(switched.opened(leg, ahead));
    }
    connection.finish(leg, end, in_head).await;
    None
}

impl Connection<'_> {
    async fn answer(&self, request: HttpRequest<Incoming>) -> Response<Body> {
        self.asked.set(self.asked.get() + 1);
        self.attempt.seat.wait(Phase::Idle);
        if let Some(fault) = self.fault() {
            return self.refuse(fault.status, fault.why);
        }
        let has_body = !request.body().is_end_stream();
        let kind = upgrade::request(
            request.method(),
            request.version(),
            request.headers(),
            has_body,
        );
        let ordinary = kind == upgrade::Request::Http;
        let mut answer = self.answer_to(kind, request).await;
        if !ordinary && answer.status() != StatusCode::SWITCHING_PROTOCOLS {
            // What came behind the request may be frames: it must not be read as another request.
            close(&mut answer);
        }
        answer
    }

    async fn answer_to(
        &self,
        kind: upgrade::Request,
        request: HttpRequest<Incoming>,
    ) -> Response<Body> {
        let attempt = self.attempt;
        if let upgrade::Request::Refuse { status, why } = kind {
            return self.refuse(status.as_u16(), why);
        }
        if hidden::is_hidden(
            &attempt.config.hidden_paths,
            request.uri(),
            request.headers(),
        ) {
            return self.counted(plain(StatusCode::NOT_FOUND, "not found"));
        }
        if attempt.draining() {
            return self.turned_away(Rejection::Draining);
        }
        match kind {
            upgrade::Request::WebSocket { accept } => {
                let client = attempt.forwarded_client(request.headers());
                let client = client.unwrap_or(attempt.client).ip();
                let listener = &attempt.local.shared;
                match listener
                    .admit(client)
                    .and_then(|()| listener.permit(client))
                {
                    Ok(permit) => {
                        opening::websocket(self, request, &accept, permit, Uuid::now_v7()).await
                    }
                    Err(rejection) => self.turned_away(rejection),
                }
            }
            _ if attempt.config.http == HttpPolicy::Refuse => self.counted(upgrade_required(
                "this port serves WebSocket connections only",
            )),
            _ => match attempt.local.shared.request() {
                Some(pair) => self.counted(opening::ordinary(self, request, pair).await),
                None => self.counted(self.turned_away(Rejection::TooManyStreams)),
            },
        }
    }

    /// What the reader found wrong with the request that is being answered; told once.
    pub(super) fn fault(&self) -> Option<Fault> {
        let refused = self.verdict.get()?;
        if refused.request != self.asked.get() {
            return None;
        }
        self.verdict.take();
        Some(refused.fault)
    }

    /// A valid request that comes at the wrong time.
    fn turned_away(&self, rejection: Rejection) -> Response<Body> {
        self.attempt.reject(rejection);
        let (status, why) = if rejection == Rejection::TooManyStreamsPerIp {
            (429, "too many streams of this address")
        } else if rejection == Rejection::RateLimited {
            (429, "too many openings a second")
        } else if rejection == Rejection::Draining {
            (503, "draining")
        } else {
            (503, "too many streams")
        };
        let mut answer = closing(status, why);
        answer
            .headers_mut()
            .insert(RETRY_AFTER, HeaderValue::from_static(RETRY));
        answer
    }

    pub(super) fn refuse(&self, status: u16, why: &'static str) -> Response<Body> {
        self.attempt.reject(Rejection::BadRequest);
        match status {
            426 => upgrade_required(why),
            405 => {
                let mut answer = closing(status, why);
                let allowed = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";
                answer
                    .headers_mut()
                    .insert(ALLOW, HeaderValue::from_static(allowed));
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
}
