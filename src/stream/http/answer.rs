//! Answers of ours.

use std::pin::Pin;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, SEC_WEBSOCKET_VERSION, UPGRADE};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Body as HttpBody;

pub(in crate::stream) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Any body we pass on or make.
pub(in crate::stream) type Body = Pin<Box<dyn HttpBody<Data = Bytes, Error = BoxError>>>;

/// A body that is there at once.
pub(in crate::stream) fn full(text: impl Into<Bytes>) -> Body {
    Box::pin(Full::new(text.into()).map_err(|never| match never {}))
}

/// An answer of ours in a sentence.
pub(in crate::stream) fn plain(status: StatusCode, why: &'static str) -> Response<Body> {
    let mut answer = Response::new(full(format!("{why}\n")));
    *answer.status_mut() = status;
    answer.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    answer
}

/// An answer of ours, the last on its connection.
pub(super) fn closing(status: u16, why: &'static str) -> Response<Body> {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
    let mut answer = plain(status, why);
    close(&mut answer);
    answer
}

/// Asks for WebSocket.
pub(super) fn upgrade_required(why: &'static str) -> Response<Body> {
    let mut answer = plain(StatusCode::UPGRADE_REQUIRED, why);
    let headers = answer.headers_mut();
    headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    close(&mut answer);
    answer
}

/// Makes an answer the last on its connection.
pub(super) fn close(answer: &mut Response<Body>) {
    let upgrade = answer.headers().contains_key(UPGRADE);
    let options = if upgrade { "Upgrade, close" } else { "close" };
    answer
        .headers_mut()
        .insert(CONNECTION, HeaderValue::from_static(options));
}
