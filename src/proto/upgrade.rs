//! Is this request a WebSocket opening, and is that answer its 101? (RFC 6455 section 4)

use http::{HeaderMap, Method, StatusCode, Version};

use super::websocket::Extensions;

/// What a request on a ws listener is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// A valid WebSocket opening; the app must answer with this `Sec-WebSocket-Accept`.
    WebSocket { accept: String },
    /// An ordinary HTTP request.
    Http,
    /// Neither: answer with this status (426 carries `Sec-WebSocket-Version: 13`).
    Refuse {
        status: StatusCode,
        why: &'static str,
    },
}

/// Judges a request head. `body`: the head announces a body (Content-Length other than 0, or Transfer-Encoding).
pub fn request(_method: &Method, _version: Version, _headers: &HeaderMap, _body: bool) -> Request {
    unimplemented!()
}

/// What the two ends agreed on in a valid 101.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Agreed {
    pub extensions: Extensions,
    pub subprotocol: Option<String>,
}

/// Judges the app's 101 against the request's headers and the expected `accept`. Err: the sentence for `detail`.
pub fn response(
    _version: Version,
    _answer: &HeaderMap,
    _request: &HeaderMap,
    _accept: &str,
) -> Result<Agreed, &'static str> {
    unimplemented!()
}
