use std::path::Path;

use http::HeaderValue;
use http::header::SEC_WEBSOCKET_EXTENSIONS;
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

mod opening {
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
}

mod answer {
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
}

mod without_offers_to_compress {
    use super::*;

    fn kept(offers: &[&str]) -> Vec<String> {
        let asked = opening_with("sec-websocket-extensions", offers);
        let text = |value: HeaderValue| value.to_str().unwrap().to_owned();
        without_deflate(&asked).into_iter().map(text).collect()
    }

    #[test]
    fn nothing_is_left_of_a_browsers_offer() {
        let browser = "permessage-deflate; client_max_window_bits";
        assert!(kept(&[browser]).is_empty());
        assert!(kept(&[browser, "x-webkit-deflate-frame"]).is_empty());
        assert!(kept(&["deflate-frame, PerMessage-Deflate;a=b ,,"]).is_empty());
        assert!(kept(&[]).is_empty());
    }

    #[test]
    fn other_offers_keep_their_bytes() {
        let untouched = "a;  b = \"permessage-deflate, x\" ,c,, d";
        assert_eq!(kept(&[untouched]), [untouched]);
        assert_eq!(kept(&["permessage-deflate", untouched]), [untouched]);
        assert_eq!(
            kept(&["permessage-deflate; x, a;  b=\"c, \\\"d\" , permessage-deflate,e"]),
            ["a;  b=\"c, \\\"d\" ,e"]
        );
    }

    proptest! {
        #[test]
        fn no_app_can_agree_to_compress(
            elements in prop::collection::vec(
                prop::sample::select(vec![
                    "permessage-deflate", "PERMESSAGE-DEFLATE; x=1", " x-webkit-deflate-frame ", "a", "b; c=\"d, e\"",
                    " f ; g", "\"", "\\", "", "; permessage-deflate", "permessage-deflate-2",
                ]),
                0..8,
            ),
            separator in prop::sample::select(vec![",", ", ", " ,"]),
        ) {
            let offers = elements.join(separator);
            let asked = opening_with("sec-websocket-extensions", &[&offers]);
            let mut passed_on = HeaderMap::new();
            for value in without_deflate(&asked) {
                passed_on.append(SEC_WEBSOCKET_EXTENSIONS, value);
            }
            for name in ["permessage-deflate", "x-webkit-deflate-frame", "deflate-frame"] {
                let answer = replaced(
                    &[("upgrade", "websocket"), ("connection", "upgrade"), ("sec-websocket-accept", ACCEPT)],
                    "sec-websocket-extensions",
                    &[name],
                );
                prop_assert!(response(Version::HTTP_11, &answer, &passed_on, ACCEPT).is_err());
            }
        }
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
