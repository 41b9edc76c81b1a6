use http::header::SEC_WEBSOCKET_EXTENSIONS;

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
