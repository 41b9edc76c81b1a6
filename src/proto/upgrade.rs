//! Is this request a WebSocket opening, and is that answer its 101? (RFC 6455 section 4)

use base64::Engine as _;
use base64::alphabet::STANDARD as ALPHABET;
use base64::engine::{GeneralPurpose, GeneralPurposeConfig};
use http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderMap, HeaderName, Method, StatusCode, Version};
use sha1::{Digest as _, Sha1};

use super::websocket::Extensions;

pub use offers::without_deflate;

#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz;
mod offers;
#[cfg(test)]
mod tests;

/// What a request on a ws listener is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// A valid WebSocket opening; the app must answer with this `Sec-WebSocket-Accept`.
    WebSocket {
        /// The base64 of 20 bytes.
        accept: String,
    },
    /// An ordinary HTTP request.
    Http,
    /// Neither: answer with this status (426 carries `Sec-WebSocket-Version: 13`).
    Refuse {
        /// 400 or 426.
        status: StatusCode,
        /// What is wrong with it.
        why: &'static str,
    },
}

/// Judges a request head. `body`: the head announces a body (Content-Length other than 0, or Transfer-Encoding).
///
/// A request that asks for `websocket` is a valid opening or refused, never passed on as ordinary HTTP: an app that
/// upgrades where we did not would have a tunnel that we take for HTTP. An upgrade to anything else is ordinary; its
/// `Upgrade` header is hop-by-hop and goes no further.
pub fn request(method: &Method, version: Version, headers: &HeaderMap, body: bool) -> Request {
    if !has_token(headers, &UPGRADE, "websocket") {
        return Request::Http;
    }
    match accept_for(method, version, headers, body) {
        Ok(accept) => Request::WebSocket { accept },
        Err((status, why)) => Request::Refuse { status, why },
    }
}

/// The `Sec-WebSocket-Accept` of a valid opening (RFC 6455 section 4.2.1).
fn accept_for(
    method: &Method,
    version: Version,
    headers: &HeaderMap,
    body: bool,
) -> Result<String, (StatusCode, &'static str)> {
    let bad = |why| Err((StatusCode::BAD_REQUEST, why));
    if method != Method::GET {
        return bad("a WebSocket opening must be a GET");
    }
    if version != Version::HTTP_11 {
        return bad("a WebSocket opening must be HTTP/1.1");
    }
    if body {
        return bad("a WebSocket opening must not have a body");
    }
    if !has_token(headers, &CONNECTION, "upgrade") {
        return bad("Upgrade: websocket without Connection: upgrade");
    }
    // Before the key, which another version may well spell in another way.
    if sole(headers, &SEC_WEBSOCKET_VERSION) != Some(b"13") {
        let why = "Sec-WebSocket-Version must be 13";
        return Err((StatusCode::UPGRADE_REQUIRED, why));
    }
    match sole(headers, &SEC_WEBSOCKET_KEY) {
        Some(key) if is_nonce(key) => Ok(accept(key)),
        _ => bad("Sec-WebSocket-Key must be there once, 16 bytes in base64"),
    }
}

/// What the two ends agreed on in a valid 101.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Agreed {
    /// What the frames of both directions may carry.
    pub extensions: Extensions,
    /// The one that the app selected.
    pub subprotocol: Option<String>,
}

/// Judges the app's 101 against the request's headers, as the app got them, and the expected `accept`
/// (RFC 6455 section 4.1). Err: the sentence for `detail`.
pub fn response(
    version: Version,
    answer: &HeaderMap,
    request: &HeaderMap,
    accept: &str,
) -> Result<Agreed, &'static str> {
    if version != Version::HTTP_11 {
        return Err("the app's 101 is not HTTP/1.1");
    }
    if !sole(answer, &UPGRADE).is_some_and(|to| to.eq_ignore_ascii_case(b"websocket")) {
        return Err("the app's 101 does not say Upgrade: websocket");
    }
    if !has_token(answer, &CONNECTION, "upgrade") {
        return Err("the app's 101 does not say Connection: upgrade");
    }
    if sole(answer, &SEC_WEBSOCKET_ACCEPT) != Some(accept.as_bytes()) {
        return Err("the app's 101 does not carry the Sec-WebSocket-Accept of this request");
    }
    Ok(Agreed {
        extensions: offers::agreed_extensions(answer, request)?,
        subprotocol: subprotocol(answer, request)?,
    })
}

fn subprotocol(answer: &HeaderMap, request: &HeaderMap) -> Result<Option<String>, &'static str> {
    if !answer.contains_key(SEC_WEBSOCKET_PROTOCOL) {
        return Ok(None);
    }
    let Some(selected) = sole(answer, &SEC_WEBSOCKET_PROTOCOL) else {
        return Err("the app's 101 selects more than one subprotocol");
    };
    // Unlike the tokens of HTTP, the names of subprotocols are compared as they are (RFC 6455 section 4.1).
    if !tokens(request, &SEC_WEBSOCKET_PROTOCOL).any(|offered| offered == selected) {
        return Err("the app's 101 selects a subprotocol that was not offered");
    }
    Ok(Some(String::from_utf8_lossy(selected).into_owned()))
}

/// The value of a header that must be there exactly once.
fn sole<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h [u8]> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    values
        .next()
        .is_none()
        .then(|| value.as_bytes().trim_ascii())
}

/// The elements of a comma-separated list of tokens, over all headers of that name.
fn tokens<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h [u8]> {
    headers
        .get_all(name)
        .iter()
        .flat_map(|value| value.as_bytes().split(|&byte| byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|token| !token.is_empty())
}

fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    tokens(headers, name).any(|found| found.eq_ignore_ascii_case(token.as_bytes()))
}

/// Sixteen bytes in base64. Clients that draw 22 random characters leave bits behind the sixteenth byte; nobody minds.
fn is_nonce(key: &[u8]) -> bool {
    const LENIENT: GeneralPurpose = GeneralPurpose::new(
        &ALPHABET,
        GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
    );
    let mut nonce = [0; 18];
    matches!(LENIENT.decode_slice(key, &mut nonce), Ok(16))
}

/// RFC 6455 section 4.2.2, step 5.4.
fn accept(key: &[u8]) -> String {
    let digest = Sha1::new()
        .chain_update(key)
        .chain_update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11")
        .finalize();
    base64::engine::general_purpose::STANDARD.encode(digest)
}
