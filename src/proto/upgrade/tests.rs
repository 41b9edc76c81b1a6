mod answer;
mod opening;
mod without_offers_to_compress;

use std::path::Path;

use http::HeaderValue;
use proptest::prelude::*;

use super::*;

/// RFC 6455 section 1.3.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in lines {
        map.append(*name, HeaderValue::from_str(value).unwrap());
    }
    map
}

const OPENING: [(&str, &str); 5] = [
    ("host", "example.com"),
    ("upgrade", "websocket"),
    ("connection", "Upgrade"),
    ("sec-websocket-key", KEY),
    ("sec-websocket-version", "13"),
];

/// The opening with one header replaced (by none, one or several of that name).
fn opening_with(name: &'static str, values: &[&str]) -> HeaderMap {
    replaced(&OPENING, name, values)
}

fn replaced(lines: &[(&'static str, &str)], name: &'static str, values: &[&str]) -> HeaderMap {
    let mut map = headers(lines);
    map.remove(name);
    for value in values {
        map.append(name, HeaderValue::from_str(value).unwrap());
    }
    map
}

fn judged(headers: &HeaderMap) -> Request {
    request(&Method::GET, Version::HTTP_11, headers, false)
}

fn status(request: Request) -> u16 {
    match request {
        Request::Refuse { status, .. } => status.as_u16(),
        other => panic!("{other:?}"),
    }
}

proptest! {
    #[test]
    fn any_bytes_are_survived(input in prop::collection::vec(any::<u8>(), 0..300)) {
        fuzz::upgrade(&input);
    }

    /// What tungstenite derives from a key is what we expect of an app.
    #[test]
    fn accepts_are_those_of_another_implementation(nonce in any::<[u8; 16]>()) {
        let key = base64::engine::general_purpose::STANDARD.encode(nonce);
        let accept = tungstenite::handshake::derive_accept_key(key.as_bytes());
        prop_assert_eq!(judged(&opening_with("sec-websocket-key", &[&key])), Request::WebSocket { accept });
    }
}

#[test]
fn the_corpus_is_survived() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/upgrade");
    let mut files = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        fuzz::upgrade(&std::fs::read(entry.unwrap().path()).unwrap());
        files += 1;
    }
    assert_eq!(files, 56);
}
