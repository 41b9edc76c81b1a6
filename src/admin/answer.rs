//! How answers are written.

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use serde::Serialize;

use super::Body;
use super::problem::Problem;

/// One JSON document a line.
pub(super) const NDJSON: &str = "application/x-ndjson";

/// 200 with a JSON document.
pub(super) fn json(value: &impl Serialize) -> Result<Response<Body>, Problem> {
    json_with(StatusCode::OK, value)
}

/// A JSON document.
pub(super) fn json_with(
    status: StatusCode,
    value: &impl Serialize,
) -> Result<Response<Body>, Problem> {
    let text = serde_json::to_vec(value).map_err(|error| {
        let detail = format!("cannot write the answer as JSON: {error}");
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, detail)
    })?;
    let mut response = content("application/json", text);
    *response.status_mut() = status;
    Ok(response)
}

/// 200 with a body of this type.
pub(super) fn content(kind: &'static str, body: impl Into<Bytes>) -> Response<Body> {
    typed(kind, Full::new(body.into()).boxed_unsync())
}

/// 200 with a body that is written as it comes.
pub(super) fn typed(kind: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    let kind = HeaderValue::from_static(kind);
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

/// Appends a document and a line feed; one that cannot be written is left out.
pub(super) fn line(out: &mut Vec<u8>, value: &impl Serialize) {
    let before = out.len();
    match serde_json::to_writer(&mut *out, value) {
        Ok(()) => out.push(b'\n'),
        Err(_) => out.truncate(before),
    }
}

/// Whether the caller asks for one document a line. It has to say so: `*/*` does not.
pub(super) fn wants_lines(headers: &HeaderMap) -> bool {
    let values = headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok());
    let mut ranges = values.flat_map(|value| value.split(','));
    ranges.any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let named = parts
            .next()
            .is_some_and(|name| name.eq_ignore_ascii_case(NDJSON));
        // RFC 9110 section 12.4.2: a weight of zero means "not this".
        let refused = |part: &str| {
            let weight = part.strip_prefix("q=").or_else(|| part.strip_prefix("Q="));
            weight.and_then(|weight| weight.parse::<f32>().ok()) == Some(0.0)
        };
        named && !parts.any(refused)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_for_those_who_ask_for_them() {
        let asked = |value: &'static str| {
            wants_lines(&HeaderMap::from_iter([(
                ACCEPT,
                HeaderValue::from_static(value),
            )]))
        };
        for yes in [
            NDJSON,
            "Application/X-NDJSON;q=0.5",
            "application/json, application/x-ndjson",
        ] {
            assert!(asked(yes), "{yes}");
        }
        for no in [
            "*/*",
            "application/json",
            "application/x-ndjson;q=0",
            "application/x-ndjson; q=0.0",
            "",
        ] {
            assert!(!asked(no), "{no}");
        }
        assert!(!wants_lines(&HeaderMap::new()));
    }
}
