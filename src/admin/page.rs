//! The status page and the description of the API.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{CONTENT_SECURITY_POLICY, REFERRER_POLICY};
use http::{HeaderValue, Response};
use sha2::{Digest, Sha256};

use super::Body;
use super::answer::content;

/// OpenAPI 3.1, written by hand.
pub(super) const OPENAPI: &str = include_str!("openapi.json");

/// One page without anything from elsewhere.
const PAGE: &str = include_str!("status.html");

/// The status page, ready to be served.
pub(super) struct StatusPage {
    policy: HeaderValue,
}

impl StatusPage {
    /// Works out what the page may do: its own script and style, known by their hashes, and calls to this API.
    pub(super) fn new() -> Self {
        let policy = format!(
            "default-src 'self'; script-src 'self' '{}'; style-src 'self' '{}'; img-src 'self' data:; \
             base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'",
            hash(inner(PAGE, "script")),
            hash(inner(PAGE, "style")),
        );
        // Base64 and the words above are ASCII.
        let strict = HeaderValue::from_static("default-src 'self'");
        let policy = HeaderValue::try_from(policy).unwrap_or(strict);
        Self { policy }
    }

    pub(super) fn answer(&self) -> Response<Body> {
        let mut response = content("text/html; charset=utf-8", PAGE);
        let headers = response.headers_mut();
        headers.insert(CONTENT_SECURITY_POLICY, self.policy.clone());
        headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        response
    }
}

/// What is between the first pair of these tags.
fn inner<'p>(page: &'p str, tag: &str) -> &'p str {
    let behind = page
        .split_once(&format!("<{tag}>"))
        .map_or("", |(_, behind)| behind);
    behind
        .split_once(&format!("</{tag}>"))
        .map_or("", |(inner, _)| inner)
}

fn hash(text: &str) -> String {
    format!("sha256-{}", STANDARD.encode(Sha256::digest(text)))
}
