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
    hint: Hint,
}

/// The header that goes with some statuses.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Hint {
    None,
    /// RFC 9110 section 15.5.2.
    Challenge,
    /// The methods of the path, RFC 9110 section 15.5.6.
    Allow(String),
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
            hint: Hint::None,
        }
    }

    /// 400: `name` is unknown, malformed or out of range.
    pub fn parameter(name: &str, detail: impl Into<String>) -> Self {
        Self {
            parameter: Some(name.to_owned()),
            ..Self::new(StatusCode::BAD_REQUEST, detail)
        }
    }

    /// 404.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    /// 401, with a challenge for a bearer token.
    pub fn unauthorized(detail: impl Into<String>) -> Self {
        Self {
            hint: Hint::Challenge,
            ..Self::new(StatusCode::UNAUTHORIZED, detail)
        }
    }

    /// 405; `allow` lists the methods of the path, separated by commas.
    pub fn method_not_allowed(allow: &str) -> Self {
        Self {
            hint: Hint::Allow(allow.to_owned()),
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
        response.headers_mut().extend(self.hint.header());
        response
    }
}

impl Hint {
    fn header(self) -> Option<(HeaderName, HeaderValue)> {
        match self {
            Self::None => None,
            Self::Challenge => {
                let bearer = HeaderValue::from_static("Bearer realm=\"sidebeat\"");
                Some((WWW_AUTHENTICATE, bearer))
            }
            Self::Allow(methods) => {
                let methods = HeaderValue::try_from(methods).ok()?;
                Some((ALLOW, methods))
            }
        }
    }
}
