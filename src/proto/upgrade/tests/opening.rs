use super::*;

fn accepted() -> Request {
    Request::WebSocket {
        accept: ACCEPT.into(),
    }
}

#[test]
fn of_the_rfc_is_accepted() {
    assert_eq!(judged(&headers(&OPENING)), accepted());
}

#[test]
fn tokens_are_lists_in_any_case() {
    for upgrade in ["WebSocket", "WEBSOCKET", "h2c, websocket", " , websocket ,"] {
        assert_eq!(judged(&opening_with("upgrade", &[upgrade])), accepted());
    }
    for connection in [
        &["keep-alive, Upgrade"][..],
        &["keep-alive", "upgrade"],
        &["UPGRADE,close"],
    ] {
        let opening = opening_with("connection", connection);
        assert_eq!(judged(&opening), accepted());
    }
}

#[test]
fn without_connection_upgrade_is_refused() {
    for connection in [&[][..], &["keep-alive"], &["upgraded"], &["x-upgrade"]] {
        let opening = opening_with("connection", connection);
        assert_eq!(status(judged(&opening)), 400, "{connection:?}");
    }
}

#[test]
fn must_be_a_get_of_http_1_1_without_body() {
    let opening = headers(&OPENING);
    let judged = |method, version, body| status(request(&method, version, &opening, body));
    for method in [Method::POST, Method::HEAD, Method::OPTIONS, Method::PUT] {
        assert_eq!(judged(method, Version::HTTP_11, false), 400);
    }
    for version in [Version::HTTP_09, Version::HTTP_10, Version::HTTP_2] {
        assert_eq!(judged(Method::GET, version, false), 400);
    }
    assert_eq!(judged(Method::GET, Version::HTTP_11, true), 400);
}

#[test]
fn must_have_one_key_of_sixteen_bytes() {
    for keys in [
        &[][..],
        &[""],
        &["x"],
        &["not base64, not at all!!"],
        &["dGhlIHNhbXBsZSBub25j"],
        &["dGhlIHNhbXBsZSBub25jZWU="],
        &["dGhlIHNhbXBsZSBub25jZWVl"],
        &["dGhlIHNhbXBsZSBub25jZQ"],
        &["dGhlIHNhbXBsZSBub25jZQ==, dGhlIHNhbXBsZSBub25jZQ=="],
        &[KEY, KEY],
        &[KEY, ""],
    ] {
        let opening = opening_with("sec-websocket-key", keys);
        assert_eq!(status(judged(&opening)), 400, "{keys:?}");
    }
}

#[test]
fn a_key_of_22_random_characters_is_one() {
    let opening = opening_with("sec-websocket-key", &["dGhlIHNhbXBsZSBub25jZZ=="]);
    assert!(matches!(judged(&opening), Request::WebSocket { .. }));
}

#[test]
fn of_another_version_is_told_ours() {
    for versions in [
        &[][..],
        &["8"],
        &["7, 8"],
        &["13, 8"],
        &["013"],
        &["13", "13"],
        &[""],
    ] {
        let opening = opening_with("sec-websocket-version", versions);
        assert_eq!(status(judged(&opening)), 426, "{versions:?}");
    }
    // Version 0 had Sec-WebSocket-Key1 and -Key2.
    let mut hixie = opening_with("sec-websocket-version", &[]);
    hixie.remove("sec-websocket-key");
    assert_eq!(status(judged(&hixie)), 426);
}

#[test]
fn of_something_else_is_ordinary_http() {
    for upgrade in [&[][..], &["h2c"], &["websocket2"], &["websocket/13"], &[""]] {
        let asked = opening_with("upgrade", upgrade);
        assert_eq!(judged(&asked), Request::Http, "{upgrade:?}");
        let posted = request(&Method::POST, Version::HTTP_10, &asked, true);
        assert_eq!(posted, Request::Http);
    }
    assert_eq!(judged(&HeaderMap::new()), Request::Http);
}
