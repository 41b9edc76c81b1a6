//! One request on its way to the app: a WebSocket opening whose 101 is checked, or an ordinary request that passes.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::TRANSFER_ENCODING;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Request as HttpRequest, Response, StatusCode, Uri, Version};
use http_body_util::Empty;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, Sleep, sleep, timeout};
use uuid::Uuid;

use super::headers::{self, Forwarded, Purpose};
use super::http::{Body, BoxError, Busy, Connection, full, plain};
use super::{Attempt, Opened, Request, identity};
use crate::config::{IdentityRule, Protocol};
use crate::listener::{Pair, Permit};
use crate::net::leg::Leg;
use crate::net::sockopt;
use crate::net::upstream::Dialed;
use crate::proto::cause::Rejection;
use crate::proto::upgrade::{self, Agreed};

/// An app's answer head beyond this is no answer.
const ANSWER_HEAD: usize = 64 * 1024;

/// Longest text of a client that a record holds, in bytes.
const TEXT_MAX: usize = 512;

/// Why an app's answer cannot be passed on.
#[derive(Debug, thiserror::Error)]
enum AnswerError {
    #[error("{0}")]
    Http(#[from] hyper::Error),
    #[error("its head is over 64 KiB")]
    Head,
}

type Upstream<B> = http1::Connection<TokioIo<Leg>, B>;

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

/// Sends a request and waits for the head of its answer; the connection is still to be driven, or taken apart.
async fn ask<B>(
    leg: Leg,
    request: HttpRequest<B>,
) -> Result<(Response<Incoming>, Upstream<B>), AnswerError>
where
    B: HttpBody<Data = Bytes> + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    let mut builder = http1::Builder::new();
    builder
        .preserve_header_case(true)
        .title_case_headers(true)
        .max_buf_size(ANSWER_HEAD);
    let (mut sender, mut upstream) = builder.handshake(TokioIo::new(leg)).await?;
    let mut answer = pin!(sender.send_request(request));
    let mut ended = None;
    poll_fn(|cx| {
        if ended.is_none()
            && let Poll::Ready(end) = upstream.poll_without_shutdown(cx)
        {
            ended = Some(end.err());
        }
        match answer.as_mut().poll(cx) {
            Poll::Ready(answer) => Poll::Ready(answer),
            // An app that answers early may close while its request is still being written: the answer counts.
            Poll::Pending => match ended.take() {
                Some(Some(error)) => Poll::Ready(Err(error)),
                Some(None) => {
                    ended = Some(None);
                    Poll::Pending
                }
                None => Poll::Pending,
            },
        }
    })
    .await
    .map_err(AnswerError::from)
    .and_then(|answer| {
        if head_size(&answer) > ANSWER_HEAD {
            return Err(AnswerError::Head);
        }
        Ok((answer, upstream))
    })
}

/// hyper bounds what it buffers, but a head that comes in one read may be longer.
fn head_size(answer: &Response<Incoming>) -> usize {
    let line = "HTTP/1.1 200 \r\n\r\n".len();
    let headers = answer.headers().iter();
    let headers = headers.map(|(name, value)| name.as_str().len() + value.len() + ": \r\n".len());
    line + headers.sum::<usize>()
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
    /// Makes a request head ours: origin form, HTTP/1.1, hop-by-hop headers gone, our own set.
    fn rewrite(
        &self,
        head: &mut http::request::Parts,
        uri: &Uri,
        purpose: Purpose,
        id: Option<Uuid>,
    ) {
        if let Some(authority) = uri.authority() {
            headers::set_host(&mut head.headers, authority);
        }
        let target = uri
            .path_and_query()
            .cloned()
            .unwrap_or_else(|| PathAndQuery::from_static("/"));
        head.uri = Uri::from(target);
        head.version = Version::HTTP_11;
        let trusted = self.trusts(self.client.ip());
        let kept = |name: &str| {
            let value = head.headers.get(name).filter(|_| trusted)?;
            value.to_str().ok().map(str::to_owned)
        };
        let peer = self.client.ip().to_string();
        let forwarded = Forwarded {
            chain: match kept("x-forwarded-for") {
                Some(_) => format!("{}, {peer}", chain(&head.headers)),
                None => peer,
            },
            client: self
                .forwarded_client(&head.headers)
                .unwrap_or(self.client)
                .ip()
                .to_string(),
            proto: kept("x-forwarded-proto").unwrap_or_else(|| match self.config.protocol {
                Protocol::Wss | Protocol::Tls => "https".into(),
                Protocol::Ws | Protocol::Tcp => "http".into(),
            }),
            host: head
                .headers
                .get("x-forwarded-host")
                .filter(|_| trusted)
                .or(head.headers.get(http::header::HOST))
                .cloned(),
            stream_id: id.map(|id| id.to_string()),
            certificate_subject: self.certificate_subject.as_deref(),
        };
        headers::request(&mut head.headers, purpose, &forwarded);
    }

    fn facts(&self, uri: &Uri, headers: &HeaderMap) -> Request {
        let header = |name| {
            headers
                .get(name)
                .map(|value: &http::HeaderValue| shown(value.as_bytes()))
        };
        Request {
            client: self.forwarded_client(headers),
            host: uri
                .authority()
                .map(|authority| shown(authority.as_str().as_bytes()))
                .or_else(|| header(http::header::HOST)),
            path: Some(shown(uri.path().as_bytes())),
            user_agent: header(http::header::USER_AGENT),
            identity: Default::default(),
        }
    }

    /// Behind trusted proxies the client is the rightmost address of the chain that is not itself trusted.
    pub(super) fn forwarded_client(&self, headers: &HeaderMap) -> Option<SocketAddr> {
        if !self.trusts(self.client.ip()) {
            return None;
        }
        let chain = chain(headers);
        let mut nearest = None;
        for hop in chain.rsplit(',') {
            // An entry that is no address ends the part of the chain that can be believed.
            let Some(hop) = address(hop.trim()) else {
                break;
            };
            nearest = Some(hop);
            if !self.trusts(hop.ip()) {
                break;
            }
        }
        nearest
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.config
            .trusted_proxies
            .iter()
            .any(|network| network.contains(&address))
    }

    /// Whether messages of this listener must be readable, so that compression is not offered to the app.
    fn reads_messages(&self) -> bool {
        self.config.ping_reply.is_some()
            || self.config.identity.contains(&IdentityRule::FirstMessage)
    }
}

fn chain(headers: &HeaderMap) -> String {
    let lines = headers
        .get_all("x-forwarded-for")
        .iter()
        .filter_map(|line| line.to_str().ok());
    lines.collect::<Vec<_>>().join(", ")
}

fn address(hop: &str) -> Option<SocketAddr> {
    let bare = hop.trim_start_matches('[').trim_end_matches(']');
    hop.parse()
        .ok()
        .or_else(|| bare.parse().ok().map(|ip| SocketAddr::new(ip, 0)))
        .map(sockopt::canonical)
}

/// Client text as records and logs may hold it: cut, control bytes escaped.
fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut shown = String::with_capacity(text.len().min(TEXT_MAX));
    for character in text.chars() {
        let piece = if character.is_control() {
            character.escape_default().to_string()
        } else {
            character.to_string()
        };
        if shown.len() + piece.len() > TEXT_MAX {
            break;
        }
        shown.push_str(&piece);
    }
    shown
}

/// A body on its way, whose sender may not stall longer than `limit` between two pieces.
struct Passing<G> {
    body: Incoming,
    limit: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    /// When the last piece was taken.
    progress: Rc<Cell<Instant>>,
    /// Lives as long as the body.
    _keeps: G,
}

impl<G> Passing<G> {
    fn new(body: Incoming, limit: Duration, keeps: G) -> Self {
        Self {
            body,
            limit,
            timer: None,
            progress: Rc::new(Cell::new(Instant::now())),
            _keeps: keeps,
        }
    }
}

impl<G: Unpin> HttpBody for Passing<G> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            self.timer = None;
            self.progress.set(Instant::now());
            return Poll::Ready(match frame {
                // Trailers are dropped: they could set what the head must say (RFC 9110 section 6.5.1).
                Some(Ok(frame)) if frame.is_trailers() => None,
                other => other.map(|frame| frame.map_err(Into::into)),
            });
        }
        let limit = self.limit;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(limit)));
        timer
            .as_mut()
            .poll(cx)
            .map(|()| Some(Err("the body stalled for http_timeout".into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
