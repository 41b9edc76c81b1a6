//! `Sec-WebSocket-Extensions`: what is offered, what was agreed (RFC 6455 section 9.1).

use http::header::SEC_WEBSOCKET_EXTENSIONS;
use http::{HeaderMap, HeaderValue};

use crate::proto::websocket::Extensions;

/// RFC 7692.
const PERMESSAGE_DEFLATE: &str = "permessage-deflate";
/// Its forerunners, which compress frame by frame: the last draft's name, and Safari's up to version 14.
const FRAME_DEFLATE: [&str; 2] = ["deflate-frame", "x-webkit-deflate-frame"];
const RSV1: u8 = 0x40;

/// The values of `Sec-WebSocket-Extensions` to pass on instead of those in `offers`, without the offers to compress:
/// for a listener that reads messages. All other offers keep their bytes and their order.
pub fn without_deflate(offers: &HeaderMap) -> Vec<HeaderValue> {
    let values = offers.get_all(SEC_WEBSOCKET_EXTENSIONS).iter();
    values.filter_map(without_deflate_in).collect()
}

/// `None` if nothing else was offered.
fn without_deflate_in(value: &HeaderValue) -> Option<HeaderValue> {
    let all = elements(value.as_bytes());
    if !all.iter().any(|element| compresses(element)) {
        return Some(value.clone());
    }
    let others = |element: &&[u8]| !name(element).is_empty() && !compresses(element);
    let kept: Vec<_> = all.into_iter().filter(others).collect();
    let kept = kept.join(&b',');
    HeaderValue::from_bytes(kept.trim_ascii())
        .ok()
        .filter(|value| !value.is_empty())
}

/// What the app's answer selects from the request's offers. The names decide; parameters are for the two ends to judge.
pub(super) fn agreed_extensions(
    answer: &HeaderMap,
    request: &HeaderMap,
) -> Result<Extensions, &'static str> {
    let mut agreed = Extensions::default();
    for selected in names(answer) {
        if !names(request).any(|offered| offered.eq_ignore_ascii_case(selected)) {
            return Err("the app's 101 selects an extension that was not offered");
        }
        if is(selected, PERMESSAGE_DEFLATE) {
            agreed.rsv |= RSV1;
        } else {
            // The frame by frame ones, too: there RSV1 may be on any fragment.
            agreed.unknown = true;
        }
    }
    Ok(agreed)
}

fn names(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let values = headers.get_all(SEC_WEBSOCKET_EXTENSIONS).iter();
    values
        .flat_map(|value| elements(value.as_bytes()))
        .map(name)
        .filter(|name| !name.is_empty())
}

fn compresses(element: &[u8]) -> bool {
    let name = name(element);
    is(name, PERMESSAGE_DEFLATE) || FRAME_DEFLATE.iter().any(|frame| is(name, frame))
}

/// The name in front of the parameters.
fn name(element: &[u8]) -> &[u8] {
    let end = element.iter().position(|&byte| byte == b';');
    element[..end.unwrap_or(element.len())].trim_ascii()
}

fn is(name: &[u8], wanted: &str) -> bool {
    name.eq_ignore_ascii_case(wanted.as_bytes())
}

/// Splits at the commas outside of quoted strings. A string that is not closed reaches to the end: what an app may see
/// behind it was then not offered as far as we know, and its answer is refused.
fn elements(value: &[u8]) -> Vec<&[u8]> {
    let (mut quoted, mut escaped) = (false, false);
    value
        .split(|&byte| {
            let literal = std::mem::take(&mut escaped);
            match byte {
                _ if literal => {}
                b'\\' => escaped = quoted,
                b'"' => quoted = !quoted,
                b',' => return !quoted,
                _ => {}
            }
            false
        })
        .collect()
}
