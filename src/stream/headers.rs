//! What is taken from a head and what is set in it on the way through.

use http::header::{
    CONNECTION, CONTENT_LENGTH, FORWARDED, HOST, HeaderName, HeaderValue, SEC_WEBSOCKET_EXTENSIONS,
    TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, uri::Authority};

/// RFC 9110 section 7.6.1, with the older names that appear in the wild.
const HOP_BY_HOP: [&str; 8] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
];

/// Headers that only sidebeat may set.
const OURS: [&str; 4] = [
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-real-ip",
];

/// Tells the app which stream it is talking on.
pub(super) const STREAM_ID: HeaderName = HeaderName::from_static("sidebeat-stream-id");

const CERTIFICATE_SUBJECT: HeaderName = HeaderName::from_static("sidebeat-client-cert-subject");

/// Whether a head opens (or answers the opening of) a WebSocket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    WebSocket,
    Http,
}

/// What a request is told about its client.
pub(super) struct Forwarded {
    /// The chain as it goes on: of a trusted proxy with its own address appended, else the client alone.
    pub(super) chain: HeaderValue,
    pub(super) client: HeaderValue,
    pub(super) proto: HeaderValue,
    pub(super) host: Option<HeaderValue>,
    pub(super) stream_id: Option<HeaderValue>,
    pub(super) certificate_subject: Option<HeaderValue>,
}

/// Rebuilds a request's headers in their order: removing from a map in place would move the last header forward.
pub(super) fn request(headers: &mut HeaderMap, purpose: Purpose, forwarded: Forwarded) {
    rebuild(headers, purpose, |name| is_ours(name) || *name == FORWARDED);
    let always = [
        ("x-forwarded-for", forwarded.chain),
        ("x-forwarded-proto", forwarded.proto),
        ("x-real-ip", forwarded.client),
    ];
    for (name, value) in always {
        headers.insert(HeaderName::from_static(name), value);
    }
    let perhaps = [
        (STREAM_ID, forwarded.stream_id),
        (CERTIFICATE_SUBJECT, forwarded.certificate_subject),
        (HeaderName::from_static("x-forwarded-host"), forwarded.host),
    ];
    for (name, value) in perhaps {
        if let Some(value) = value {
            headers.insert(name, value);
        }
    }
}

/// The same for an answer of the app.
pub(super) fn answer(headers: &mut HeaderMap, purpose: Purpose) {
    // Both lengths in one answer: the chunks are what was read, so the other must not be believed (RFC 9112 6.3).
    let chunked = headers.contains_key(TRANSFER_ENCODING);
    rebuild(headers, purpose, |name| {
        name.as_str().starts_with("sidebeat-") || (chunked && *name == CONTENT_LENGTH)
    });
}

/// The request target's authority becomes the Host of an origin-form request (RFC 9112 section 3.2.2).
pub(super) fn set_host(headers: &mut HeaderMap, authority: &Authority) {
    if let Ok(value) = HeaderValue::from_str(authority.as_str()) {
        headers.insert(HOST, value);
    }
}

/// Replaces the offers of extensions.
pub(super) fn set_offers(headers: &mut HeaderMap, offers: Vec<HeaderValue>) {
    let mut offers = offers.into_iter();
    match offers.next() {
        None => drop(headers.remove(SEC_WEBSOCKET_EXTENSIONS)),
        Some(first) => drop(headers.insert(SEC_WEBSOCKET_EXTENSIONS, first)),
    }
    for offer in offers {
        headers.append(SEC_WEBSOCKET_EXTENSIONS, offer);
    }
}

fn rebuild(headers: &mut HeaderMap, purpose: Purpose, unwanted: impl Fn(&HeaderName) -> bool) {
    let named = connection_options(headers);
    let room = HeaderMap::with_capacity(headers.len() + OURS.len() + 2);
    let old = std::mem::replace(headers, room);
    let mut current = None;
    for (name, value) in old {
        current = name.or(current);
        let Some(name) = &current else { continue };
        let upgrading = purpose == Purpose::WebSocket && (*name == CONNECTION || *name == UPGRADE);
        let hop = HOP_BY_HOP.contains(&name.as_str())
            || *name == UPGRADE
            || named.iter().any(|option| name.as_str() == option);
        match (upgrading, *name == CONNECTION) {
            (true, true) => {
                headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
            }
            (true, false) => {
                headers.insert(UPGRADE, value);
            }
            (false, _) if hop || unwanted(name) => {}
            (false, _) => {
                headers.append(name, value);
            }
        }
    }
}

fn connection_options(headers: &HeaderMap) -> Vec<String> {
    let values = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok());
    values
        .flat_map(|value| value.split(','))
        .map(|option| option.trim().to_ascii_lowercase())
        .collect()
}

/// PHP and CGI fold `_` and `-` into one: a header that differs from ours only there would be taken for ours.
fn is_ours(name: &HeaderName) -> bool {
    let folded = name.as_str().replace('_', "-");
    folded.starts_with("sidebeat-") || OURS.contains(&folded.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(lines: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_str(value).unwrap(),
            );
        }
        headers
    }

    fn lines(headers: &HeaderMap) -> Vec<String> {
        headers
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect()
    }

    fn forwarded() -> Forwarded {
        Forwarded {
            chain: HeaderValue::from_static("192.0.2.1"),
            client: HeaderValue::from_static("192.0.2.1"),
            proto: HeaderValue::from_static("https"),
            host: Some(HeaderValue::from_static("chat.example")),
            stream_id: Some(HeaderValue::from_static("id")),
            certificate_subject: None,
        }
    }

    #[test]
    fn hop_by_hop_headers_go_and_the_rest_keeps_its_order() {
        let mut headers = map(&[
            ("host", "chat.example"),
            ("connection", "keep-alive, X-Secret"),
            ("a", "1"),
            ("x-secret", "2"),
            ("te", "trailers"),
            ("b", "3"),
            ("upgrade", "h2c"),
            ("c", "4"),
        ]);
        request(&mut headers, Purpose::Http, forwarded());
        assert_eq!(
            lines(&headers)[..4],
            ["host: chat.example", "a: 1", "b: 3", "c: 4"]
        );
    }

    #[test]
    fn a_websocket_head_keeps_its_upgrade_in_place() {
        let mut headers = map(&[
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "websocket"),
            ("a", "1"),
        ]);
        request(&mut headers, Purpose::WebSocket, forwarded());
        assert_eq!(
            lines(&headers)[..3],
            ["connection: Upgrade", "upgrade: websocket", "a: 1"]
        );
    }

    /// Apache CVE-2022-31813: a Connection header that names ours must not take ours away.
    #[test]
    fn connection_cannot_strip_what_we_set() {
        let mut headers = map(&[
            ("connection", "X-Forwarded-For, Sidebeat-Stream-Id"),
            ("x-forwarded-for", "6.6.6.6"),
        ]);
        request(&mut headers, Purpose::Http, forwarded());
        assert_eq!(headers["x-forwarded-for"], "192.0.2.1");
        assert_eq!(headers["sidebeat-stream-id"], "id");
    }

    #[test]
    fn forged_headers_go_in_every_spelling() {
        let forged = [
            "sidebeat-uid",
            "sidebeat_uid",
            "x_forwarded_for",
            "x-real_ip",
            "x_forwarded-proto",
            "forwarded",
        ];
        let mut headers = map(&forged.map(|name| (name, "evil")));
        request(&mut headers, Purpose::Http, forwarded());
        assert!(headers.values().all(|value| value != "evil"), "{headers:?}");
    }

    #[test]
    fn an_answer_loses_our_own_headers_and_a_contradicting_length() {
        let mut headers = map(&[
            ("sidebeat-uid", "42"),
            ("content-length", "3"),
            ("transfer-encoding", "chunked"),
            ("set-cookie", "a=1"),
            ("set-cookie", "b=2"),
        ]);
        answer(&mut headers, Purpose::Http);
        assert_eq!(lines(&headers), ["set-cookie: a=1", "set-cookie: b=2"]);
    }
}
