use super::*;

const ANSWER: [(&str, &str); 3] = [
    ("upgrade", "websocket"),
    ("connection", "Upgrade"),
    ("sec-websocket-accept", ACCEPT),
];

fn answer_with(name: &'static str, values: &[&str]) -> HeaderMap {
    replaced(&ANSWER, name, values)
}

fn judged(answer: &HeaderMap, request: &HeaderMap) -> Result<Agreed, &'static str> {
    response(Version::HTTP_11, answer, request, ACCEPT)
}

#[test]
fn of_the_rfc_is_accepted() {
    let asked = headers(&OPENING);
    let agreed = judged(&headers(&ANSWER), &asked);
    assert_eq!(agreed, Ok(Agreed::default()));
    let answer = answer_with("upgrade", &["WebSocket"]);
    assert_eq!(judged(&answer, &asked), Ok(Agreed::default()));
    let answer = answer_with("connection", &["keep-alive, upgrade"]);
    assert_eq!(judged(&answer, &asked), Ok(Agreed::default()));
}

#[test]
fn of_http_1_0_is_none() {
    let asked = headers(&OPENING);
    let judged = response(Version::HTTP_10, &headers(&ANSWER), &asked, ACCEPT);
    assert_eq!(judged, Err("the app's 101 is not HTTP/1.1"));
}

#[test]
fn must_upgrade_to_websocket_alone() {
    for upgrade in [
        &[][..],
        &["h2c"],
        &["websocket, h2c"],
        &["websocket", "h2c"],
    ] {
        let judged = judged(&answer_with("upgrade", upgrade), &headers(&OPENING));
        let why = "the app's 101 does not say Upgrade: websocket";
        assert_eq!(judged, Err(why), "{upgrade:?}");
    }
    for connection in [&[][..], &["keep-alive"]] {
        let answer = answer_with("connection", connection);
        assert!(judged(&answer, &headers(&OPENING)).is_err());
    }
}

#[test]
fn must_carry_the_accept_of_this_request_once() {
    for accept in [
        &[][..],
        &[""],
        &["S3pPLMBiTxaQ9kYGzzhZRbK+xOo="],
        &[ACCEPT, ACCEPT],
        &[KEY],
    ] {
        let answer = answer_with("sec-websocket-accept", accept);
        assert!(judged(&answer, &headers(&OPENING)).is_err(), "{accept:?}");
    }
    // Nothing is agreed with a request that asked for nothing.
    let nothing = answer_with("sec-websocket-accept", &[]);
    let judged = response(Version::HTTP_11, &nothing, &HeaderMap::new(), "");
    assert!(judged.is_err());
}

fn extensions(offered: &[&str], selected: &[&str]) -> Result<Extensions, &'static str> {
    let asked = opening_with("sec-websocket-extensions", offered);
    let answer = answer_with("sec-websocket-extensions", selected);
    judged(&answer, &asked).map(|agreed| agreed.extensions)
}

#[test]
fn selects_extensions_by_name() {
    let none = Extensions::default();
    let rsv1 = Extensions {
        rsv: 0x40,
        unknown: false,
    };
    let deflate = "permessage-deflate; client_max_window_bits";
    assert_eq!(extensions(&[deflate], &[]), Ok(none));
    assert_eq!(extensions(&[deflate], &[" , "]), Ok(none));
    assert_eq!(extensions(&[deflate], &["permessage-deflate"]), Ok(rsv1));
    assert_eq!(
        extensions(
            &["a, b", deflate],
            &["Permessage-Deflate ;server_max_window_bits=\"10\""]
        ),
        Ok(rsv1)
    );
}

#[test]
fn an_extension_that_we_do_not_know_may_use_all_bits() {
    let judged = extensions(&["permessage-bzip2; a=\"b, c\""], &["permessage-bzip2"]);
    let unknown = Extensions {
        rsv: 0,
        unknown: true,
    };
    assert_eq!(judged, Ok(unknown));
    let both = extensions(
        &["permessage-deflate, mux"],
        &["permessage-deflate", "mux; quota=1"],
    );
    let expected = Extensions {
        rsv: 0x40,
        unknown: true,
    };
    assert_eq!(both, Ok(expected));
    // Compresses frame by frame: RSV1 is on continuations, too, which permessage-deflate forbids.
    let frames = extensions(&["x-webkit-deflate-frame"], &["x-webkit-deflate-frame"]);
    assert!(frames.unwrap().unknown);
}

#[test]
fn must_not_select_what_was_not_offered() {
    let why = Err("the app's 101 selects an extension that was not offered");
    assert_eq!(extensions(&[], &["permessage-deflate"]), why);
    assert_eq!(extensions(&["a; b"], &["b"]), why);
    assert_eq!(extensions(&["a; q=\"x, b\""], &["b"]), why);
    assert_eq!(extensions(&["a; q=\"x, b"], &["b"]), why);
    assert_eq!(extensions(&["a; q=\"\\\", b\""], &["b"]), why);
    assert_eq!(extensions(&["a, b"], &["a, c"]), why);
}

fn subprotocol(offered: &[&str], selected: &[&str]) -> Result<Option<String>, &'static str> {
    let asked = opening_with("sec-websocket-protocol", offered);
    let answer = answer_with("sec-websocket-protocol", selected);
    judged(&answer, &asked).map(|agreed| agreed.subprotocol)
}

#[test]
fn selects_one_of_the_offered_subprotocols() {
    assert_eq!(subprotocol(&["chat, v2.chat"], &[]), Ok(None));
    let selected = Ok(Some("v2.chat".to_owned()));
    assert_eq!(subprotocol(&["chat, v2.chat"], &["v2.chat"]), selected);
    assert_eq!(subprotocol(&["chat", "v2.chat"], &["v2.chat"]), selected);
    for (offered, answer) in [
        (&[][..], &["chat"][..]),
        (&["chat"], &["Chat"]),
        (&["chat"], &["chatter"]),
        (&["chat, v2"], &["chat, v2"]),
        (&["chat, v2"], &["chat", "v2"]),
        (&["chat"], &["chat", "chat"]),
        (&["chat"], &[""]),
        (&["chat, "], &[""]),
    ] {
        assert!(subprotocol(offered, answer).is_err(), "{answer:?}");
    }
}
