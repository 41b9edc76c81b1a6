//! Errors of the API as RFC 9457 problems.

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use serde::Serialize;

use super::Body;

/// Why a call was not answered as asked; its type is `about:blank`, so that title and status say the same (RFC 9457 section 4.2.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The HTTP status.
    pub status: StatusCode,
    /// A sentence for people that says what to do about it.
    pub detail: String,
    /// The query parameter or body field that is to blame.
    pub parameter: Option<String>,
    header: Option<(HeaderName, HeaderValue)>,
}

#[derive(Serialize)]
struct Document<'a> {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameter: Option<&'a str>,
}

impl Problem {
    /// A problem without a culprit.
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            status,
            detail: detail.into(),
            parameter: None,
            header: None,
        }
    }

    /// 400: `name` is unknown, malformed or out of range.
    pub fn parameter(name: &str, detail: impl Into<String>) -> Self {
        Self {
            parameter: Some(name.to_owned()),
            ..Self::new(StatusCode::BAD_REQUEST, detail)
        }
    }

    /// 401, with the challenge that RFC 9110 section 15.5.2 asks for.
    pub fn unauthorized(detail: impl Into<String>) -> Self {
        let challenge = HeaderValue::from_static("Bearer realm=\"sidebeat\"");
        Self {
            header: Some((WWW_AUTHENTICATE, challenge)),
            ..Self::new(StatusCode::UNAUTHORIZED, detail)
        }
    }

    /// 405; `allow` lists the methods of the path, separated by commas.
    pub fn method_not_allowed(allow: &str) -> Self {
        Self {
            header: HeaderValue::from_str(allow)
                .ok()
                .map(|allow| (ALLOW, allow)),
            ..Self::new(
                StatusCode::METHOD_NOT_ALLOWED,
                format!("this path takes {allow}"),
            )
        }
    }

    /// The problem as an HTTP answer.
    pub fn into_response(self) -> Response<Body> {
        let document = Document {
            r#type: "about:blank",
            title: self.status.canonical_reason().unwrap_or("Error"),
            status: self.status.as_u16(),
            detail: &self.detail,
            parameter: self.parameter.as_deref(),
        };
        // Strings and a number: there is nothing that serde_json could refuse.
        let text = serde_json::to_vec(&document).unwrap_or_default();
        let mut response = Response::new(Full::new(Bytes::from(text)).boxed_unsync());
        *response.status_mut() = self.status;
        let problem = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(CONTENT_TYPE, problem);
        response.headers_mut().extend(self.header);
        response
    }
}
