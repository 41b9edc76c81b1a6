//! The body of the fuzz target `upgrade`.

use http::header::SEC_WEBSOCKET_EXTENSIONS;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};

use super::{Request, request, response, without_deflate};

/// A request's header lines and, behind an empty line, an answer's, both `name: value`: nothing panics, an opening that
/// is accepted cannot be one that the RFC forbids, and no offer to compress survives its removal.
///
/// # Panics
/// If one of them does not hold.
pub fn upgrade(input: &[u8]) {
    let mut lines = input.split(|&byte| byte == b'\n');
    let asked = headers(lines.by_ref().take_while(|line| !line.is_empty()));
    let answer = headers(lines);
    let accept = match request(&Method::GET, Version::HTTP_11, &asked, false) {
        Request::WebSocket { accept } => {
            assert_eq!(accept.len(), 28, "20 bytes in base64");
            assert_eq!(asked.get_all("sec-websocket-key").iter().count(), 1);
            assert_eq!(asked["sec-websocket-version"], "13");
            for (method, version, body) in [
                (Method::POST, Version::HTTP_11, false),
                (Method::GET, Version::HTTP_10, false),
                (Method::GET, Version::HTTP_11, true),
            ] {
                let refused = request(&method, version, &asked, body);
                assert!(matches!(refused, Request::Refuse { status, .. } if status == 400));
            }
            accept
        }
        Request::Http => String::new(),
        Request::Refuse { status, .. } => {
            assert!([StatusCode::BAD_REQUEST, StatusCode::UPGRADE_REQUIRED].contains(&status));
            String::new()
        }
    };
    let agreed = response(Version::HTTP_11, &answer, &asked, &accept);
    if agreed.is_ok_and(|agreed| agreed.extensions != Default::default()) {
        assert!(asked.contains_key(SEC_WEBSOCKET_EXTENSIONS));
    }
    let mut kept = HeaderMap::new();
    for value in without_deflate(&asked) {
        kept.append(SEC_WEBSOCKET_EXTENSIONS, value);
    }
    let again: Vec<_> = kept
        .get_all(SEC_WEBSOCKET_EXTENSIONS)
        .iter()
        .cloned()
        .collect();
    assert_eq!(without_deflate(&kept), again, "removing twice removes more");
}

/// The lines that are headers; how a head is cut into lines is hyper's business.
fn headers<'l>(lines: impl Iterator<Item = &'l [u8]>) -> HeaderMap {
    lines
        .filter_map(|line| {
            let colon = line.iter().position(|&byte| byte == b':')?;
            let name = HeaderName::from_bytes(&line[..colon]).ok()?;
            let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).ok()?;
            Some((name, value))
        })
        .take(100)
        .fold(HeaderMap::new(), |mut map, (name, value)| {
            map.append(name, value);
            map
        })
}
