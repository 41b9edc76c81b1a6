//! One request on its way to the app: a WebSocket opening whose 101 is checked, or an ordinary request that passes.

use std::rc::Rc;

use bytes::Bytes;
use http::header::TRANSFER_ENCODING;
use http::{HeaderValue, Request as HttpRequest, Response, StatusCode, Version};
use http_body_util::Empty;
use hyper::body::{Body as HttpBody, Incoming};
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

use super::ask::{Passing, Upstream, ask};
use super::headers::{self, Purpose};
use super::http::{Body, BoxError, Busy, Connection, full, plain};
use super::{Attempt, Opened, Request, identity};
use crate::config::IdentityRule;
use crate::listener::{Pair, Permit};
use crate::net::leg::Leg;
use crate::net::upstream::Dialed;
use crate::proto::cause::Rejection;
use crate::proto::upgrade::{self, Agreed};

/// The app's side of an opening that got its 101.
pub(super) struct Switched {
    id: Uuid,
    upstream: Dialed,
    ahead: Bytes,
    agreed: Agreed,
    request: Request,
    permit: Permit,
    _busy: Busy,
}

impl Switched {
    /// Both sides together; `ahead` is what the client sent behind its request.
    pub(super) fn opened(self, client: Leg, ahead: Bytes) -> Opened {
        let Self {
            id,
            upstream,
            ahead: upstream_ahead,
            agreed,
            request,
            permit,
            _busy,
        } = self;
        Opened {
            id,
            client,
            upstream,
            ahead: [ahead, upstream_ahead],
            agreed,
            request,
            permit,
        }
    }
}

/// Asks the app for a WebSocket. Not one byte of the client passes before a valid 101.
pub(super) async fn websocket(
    connection: &Connection<'_>,
    request: HttpRequest<Incoming>,
    accept: &str,
    permit: Permit,
    id: Uuid,
) -> Response<Body> {
    let attempt = connection.attempt;
    let busy = Busy::new(&attempt.seat);
    let (mut head, _) = request.into_parts();
    let mut facts = attempt.facts(&head.uri, &head.headers);
    if attempt.reads_messages() {
        let offers = upgrade::without_deflate(&head.headers);
        headers::set_offers(&mut head.headers, offers);
    }
    let uri = std::mem::take(&mut head.uri);
    let original = head.headers.clone();
    attempt.rewrite(&mut head, &uri, Purpose::WebSocket, Some(id));
    let dialed = match attempt.dial(id).await {
        Ok(dialed) => dialed,
        Err(rejection) => {
            return failed(
                attempt,
                rejection,
                StatusCode::BAD_GATEWAY,
                "the app cannot be reached",
            );
        }
    };
    let Dialed {
        leg,
        address,
        local_address,
    } = dialed;
    let request = HttpRequest::from_parts(head, Empty::<Bytes>::new());
    let limit = attempt.config.answer_timeout;
    let (mut answer, upstream) = match timeout(limit, ask(leg, request)).await {
        Ok(Ok(answered)) => answered,
        Ok(Err(error)) => {
            tracing::debug!(listener = &*attempt.config.name, %error, "no valid answer of the app");
            return failed(
                attempt,
                Rejection::UpstreamProtocolError,
                StatusCode::BAD_GATEWAY,
                "the app did not answer in HTTP",
            );
        }
        Err(_) => {
            return failed(
                attempt,
                Rejection::UpstreamTimeout,
                StatusCode::GATEWAY_TIMEOUT,
                "the app did not answer in time",
            );
        }
    };
    if answer.status() != StatusCode::SWITCHING_PROTOCOLS {
        attempt.reject(Rejection::UpstreamRefused);
        return pass_answer(attempt, answer, upstream, (permit, busy));
    }
    let agreed = match upgrade::response(answer.version(), answer.headers(), &original, accept) {
        Ok(agreed) => agreed,
        Err(why) => {
            tracing::debug!(
                listener = &*attempt.config.name,
                why,
                "the app's 101 is not valid"
            );
            return failed(
                attempt,
                Rejection::UpstreamProtocolError,
                StatusCode::BAD_GATEWAY,
                "the app's 101 is not valid",
            );
        }
    };
    facts.identity = identity::of(&attempt.config.identity, &uri, &original, answer.headers());
    headers::answer(answer.headers_mut(), Purpose::WebSocket);
    let parts = upstream.into_parts();
    let upstream = Dialed {
        leg: parts.io.into_inner(),
        address,
        local_address,
    };
    let switched = Switched {
        id,
        upstream,
        ahead: parts.read_buf,
        agreed,
        request: facts,
        permit,
        _busy: busy,
    };
    connection.switched.replace(Some(switched));
    answer.map(|_| full(Bytes::new()))
}

/// Passes an ordinary request and its answer, bodies streaming; `pair` is for its two connections.
pub(super) async fn ordinary(
    connection: &Connection<'_>,
    request: HttpRequest<Incoming>,
    pair: Pair,
) -> Response<Body> {
    let attempt = connection.attempt;
    let busy = Busy::new(&attempt.seat);
    let limit = attempt.config.http_timeout;
    let (mut head, body) = request.into_parts();
    let uri = std::mem::take(&mut head.uri);
    attempt.rewrite(&mut head, &uri, Purpose::Http, None);
    let dialed = match attempt.dial(Uuid::now_v7()).await {
        Ok(dialed) => dialed,
        Err(rejection) => {
            let why = "the app cannot be reached";
            return failed(attempt, rejection, StatusCode::BAD_GATEWAY, why);
        }
    };
    if body.size_hint().exact().is_none() {
        // hyper takes a GET without a length for one without a body.
        let chunked = HeaderValue::from_static("chunked");
        head.headers.insert(TRANSFER_ENCODING, chunked);
    }
    let body = Passing::new(body, limit, ());
    let progress = Rc::clone(&body.progress);
    let request = HttpRequest::from_parts(head, body);
    // An upload that moves on may take as long as it likes; the app's time to answer begins with its last piece.
    let left = || (progress.get() + limit).saturating_duration_since(Instant::now());
    let late = async {
        while !left().is_zero() {
            sleep(left()).await;
        }
    };
    let answered = tokio::select! {
        answered = ask(dialed.leg, request) => Some(answered),
        () = late => None,
    };
    match answered {
        Some(Ok((answer, _))) if answer.status() == StatusCode::SWITCHING_PROTOCOLS => {
            let why = "the app switched protocols without being asked";
            unusable(attempt, &why)
        }
        Some(Ok((answer, upstream))) => pass_answer(attempt, answer, upstream, (pair, busy)),
        Some(Err(error)) if !left().is_zero() => match connection.fault() {
            // It did not answer since its request was not to be trusted to the end.
            Some(fault) => connection.refuse(fault.status, fault.why),
            None => unusable(attempt, &error),
        },
        Some(Err(_)) | None => {
            let (status, why) = (
                StatusCode::GATEWAY_TIMEOUT,
                "the app did not answer in time",
            );
            failed(attempt, Rejection::UpstreamTimeout, status, why)
        }
    }
}

fn unusable(attempt: &Attempt, error: &dyn std::fmt::Display) -> Response<Body> {
    tracing::debug!(listener = &*attempt.config.name, %error, "no valid answer of the app");
    let why = "the app did not answer in HTTP";
    failed(
        attempt,
        Rejection::UpstreamProtocolError,
        StatusCode::BAD_GATEWAY,
        why,
    )
}

/// An answer other than our own 101 goes on as it is, while the app's connection is driven beside it. `keeps` lives as
/// long as the answer does.
fn pass_answer<B>(
    attempt: &Attempt,
    answer: Response<Incoming>,
    upstream: Upstream<B>,
    keeps: impl Unpin + 'static,
) -> Response<Body>
where
    B: HttpBody<Data = Bytes> + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    tokio::task::spawn_local(async move {
        if let Err(error) = upstream.await {
            tracing::debug!(%error, "the app's HTTP connection ended");
        }
    });
    let limit = attempt.config.http_timeout;
    let mut answer = answer.map(|body| -> Body { Box::pin(Passing::new(body, limit, keeps)) });
    headers::answer(answer.headers_mut(), Purpose::Http);
    *answer.version_mut() = Version::HTTP_11;
    answer
}

fn failed(
    attempt: &Attempt,
    rejection: Rejection,
    status: StatusCode,
    why: &'static str,
) -> Response<Body> {
    attempt.reject(rejection);
    plain(status, why)
}

impl Attempt {
    /// Whether messages of this listener must be readable, so that compression is not offered to the app.
    fn reads_messages(&self) -> bool {
        self.config.ping_reply.is_some()
            || self.config.identity.contains(&IdentityRule::FirstMessage)
    }
}
