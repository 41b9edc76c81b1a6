//! Which client is it? The first rule of the listener that yields a uid wins.

use http::{HeaderMap, HeaderValue, Uri};

use crate::config::IdentityRule;
use crate::registry::{Identity, TAG_MAX, TAGS_MAX, UID_MAX, UidSource, is_word};

const TAGS: &str = "sidebeat-tags";

/// Looks at the opening request and at the app's 101 answer.
pub(super) fn of(
    rules: &[IdentityRule],
    uri: &Uri,
    request: &HeaderMap,
    answer: &HeaderMap,
) -> Identity {
    let found = rules.iter().find_map(|rule| {
        let value = match rule {
            IdentityRule::ResponseHeader(name) => header(answer, name.as_str()),
            IdentityRule::Query(name) => query(uri, name),
            IdentityRule::Header(name) => header(request, name.as_str()),
            IdentityRule::Cookie(name) => cookie(request, name),
            IdentityRule::FirstMessage => None,
        };
        acceptable("uid", value?, UID_MAX).map(|uid| (uid, source(rule)))
    });
    let (uid, uid_source) = found.unzip();
    Identity {
        uid,
        uid_source,
        tags: tags(answer),
    }
}

/// Whether the client's first message may still be its uid: that rule stands before the one that yielded `found`.
pub(super) fn awaits_first_message(rules: &[IdentityRule], found: &Identity) -> bool {
    let yields = |rule: &IdentityRule| found.uid_source == Some(source(rule));
    let first = rules
        .iter()
        .find(|rule| **rule == IdentityRule::FirstMessage || yields(rule));
    first == Some(&IdentityRule::FirstMessage)
}

fn source(rule: &IdentityRule) -> UidSource {
    match rule {
        IdentityRule::ResponseHeader(_) => UidSource::ResponseHeader,
        IdentityRule::Query(_) => UidSource::Query,
        IdentityRule::Header(_) => UidSource::Header,
        IdentityRule::Cookie(_) => UidSource::Cookie,
        IdentityRule::FirstMessage => UidSource::FirstMessage,
    }
}

fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    utf8(headers.get(name)?, "uid", UID_MAX).map(str::to_owned)
}

/// What an app or a client wrote; a field may hold any bytes (RFC 9110 section 5.5), and names of people are not ASCII.
fn utf8<'v>(value: &'v HeaderValue, what: &str, max: usize) -> Option<&'v str> {
    let text = str::from_utf8(value.as_bytes()).ok();
    if text.is_none() {
        ignored(what, value.len(), max);
    }
    text
}

fn query(uri: &Uri, name: &str) -> Option<String> {
    let pairs = uri
        .query()?
        .split('&')
        .filter_map(|pair| pair.split_once('='));
    pairs
        .into_iter()
        .find(|(key, _)| *key == name)
        .and_then(|(_, value)| percent_decode(value))
}

fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
            }
            b'+' => b' ',
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

fn cookie(headers: &HeaderMap, name: &str) -> Option<String> {
    let lines = headers
        .get_all(http::header::COOKIE)
        .iter()
        .filter_map(|line| utf8(line, "cookie", UID_MAX));
    let mut pairs = lines
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='));
    pairs
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value.trim_matches('"').to_owned())
}

fn tags(answer: &HeaderMap) -> Vec<Box<str>> {
    let lines = answer
        .get_all(TAGS)
        .iter()
        .filter_map(|line| utf8(line, "tag", TAG_MAX));
    let words = lines
        .flat_map(|line| line.split(','))
        .map(str::trim)
        .filter(|tag| !tag.is_empty());
    let mut tags: Vec<Box<str>> = Vec::new();
    for tag in words.filter_map(|tag| acceptable("tag", tag.to_owned(), TAG_MAX)) {
        if tags.len() == TAGS_MAX {
            tracing::warn!(
                limit = TAGS_MAX,
                "more tags than a stream may have, the rest is ignored"
            );
            break;
        }
        if !tags.contains(&tag) {
            tags.push(tag);
        }
    }
    tags
}

/// Printable and short enough, or ignored with a warning that does not repeat what it was.
pub(super) fn acceptable(what: &str, text: String, max: usize) -> Option<Box<str>> {
    if text.is_empty() {
        return None;
    }
    if !is_word(&text, max) {
        ignored(what, text.len(), max);
        return None;
    }
    Some(text.into())
}

/// Warns of a word that cannot be used, without repeating it.
pub(super) fn ignored(what: &str, bytes: usize, max: usize) {
    tracing::warn!(what, bytes, max, "too long or not printable, ignored");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
        let pairs = lines.iter().map(|(name, value)| {
            (
                http::HeaderName::from_static(name),
                HeaderValue::from_str(value).unwrap(),
            )
        });
        pairs.collect()
    }

    #[test]
    fn the_first_rule_that_yields_wins() {
        let rules = [
            IdentityRule::ResponseHeader("sidebeat-uid".parse().unwrap()),
            IdentityRule::Query("uid".into()),
            IdentityRule::Cookie("session".into()),
        ];
        let uri: Uri = "/chat?x=1&uid=a%20b".parse().unwrap();
        let request = headers(&[("cookie", "theme=dark; session=abc")]);
        let answered = of(&rules, &uri, &request, &headers(&[("sidebeat-uid", "42")]));
        assert_eq!(
            (answered.uid.as_deref(), answered.uid_source),
            (Some("42"), Some(UidSource::ResponseHeader))
        );
        let asked = of(&rules, &uri, &request, &HeaderMap::new());
        assert_eq!(
            (asked.uid.as_deref(), asked.uid_source),
            (Some("a b"), Some(UidSource::Query))
        );
        let plain = of(
            &rules,
            &"/chat".parse().unwrap(),
            &request,
            &HeaderMap::new(),
        );
        assert_eq!(
            (plain.uid.as_deref(), plain.uid_source),
            (Some("abc"), Some(UidSource::Cookie))
        );
    }

    #[test]
    fn names_need_not_be_ascii() {
        let rules = [
            IdentityRule::ResponseHeader("sidebeat-uid".parse().unwrap()),
            IdentityRule::Cookie("sid".into()),
        ];
        let lines = |name, value: &[u8]| {
            HeaderMap::from_iter([(
                http::HeaderName::from_static(name),
                HeaderValue::from_bytes(value).unwrap(),
            )])
        };
        let uri = Uri::default();
        let mut answer = lines("sidebeat-uid", "zoë".as_bytes());
        answer.extend(lines("sidebeat-tags", "café,x".as_bytes()));
        let named = of(&rules, &uri, &HeaderMap::new(), &answer);
        assert_eq!(named.uid.as_deref(), Some("zoë"));
        assert_eq!(named.tags, ["café".into(), "x".into()] as [Box<str>; 2]);
        let request = lines("cookie", "a=1; sid=zoë".as_bytes());
        let named = of(&rules, &uri, &request, &HeaderMap::new());
        assert_eq!(named.uid.as_deref(), Some("zoë"));
        let answer = lines("sidebeat-uid", b"zo\xeb");
        let unnamed = of(&rules, &uri, &HeaderMap::new(), &answer);
        assert_eq!(unnamed.uid, None, "Latin-1 is not UTF-8");
    }

    #[test]
    fn what_is_too_long_or_not_printable_is_ignored() {
        let rules = [IdentityRule::Query("uid".into())];
        for bad in ["a%00b", "%0a", "%zz", "%f", &"x".repeat(129)] {
            let uri: Uri = format!("/?uid={bad}").parse().unwrap();
            assert_eq!(
                of(&rules, &uri, &HeaderMap::new(), &HeaderMap::new()),
                Identity::default(),
                "{bad}"
            );
        }
    }

    #[test]
    fn tags_are_split_and_bounded() {
        let answer = headers(&[("sidebeat-tags", "room:7, beta,, beta")]);
        let identity = of(&[], &Uri::default(), &HeaderMap::new(), &answer);
        assert_eq!(
            identity.tags,
            ["room:7".into(), "beta".into()] as [Box<str>; 2]
        );
        let many = (0..40).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
        assert_eq!(
            of(
                &[],
                &Uri::default(),
                &HeaderMap::new(),
                &headers(&[("sidebeat-tags", &many)])
            )
            .tags
            .len(),
            32
        );
    }
}
