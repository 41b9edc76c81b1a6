//! The paths of hooks: clients must not reach them, in no spelling that an app could take for the same.

use http::{HeaderMap, Uri};

/// Headers in which some frameworks look for the path before they look at the request.
const OTHER_PATHS: [&str; 2] = ["x-original-url", "x-rewrite-url"];

/// An encoding of an encoding of an encoding: no app undoes more.
const DECODINGS: usize = 4;

/// Whether a request would reach one of `paths`.
pub(super) fn is_hidden(paths: &[String], uri: &Uri, headers: &HeaderMap) -> bool {
    if paths.is_empty() {
        return false;
    }
    let named = OTHER_PATHS.iter().filter_map(|name| headers.get(*name));
    let named = named.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let asked = std::iter::once(uri.path().to_owned()).chain(named);
    let asked: Vec<_> = asked.flat_map(|path| readings(path.as_bytes())).collect();
    paths.iter().any(|path| {
        asked
            .iter()
            .any(|asked| reaches(asked, &segments(path.as_bytes())))
    })
}

type Segments = Vec<Vec<u8>>;

/// `/app.php/x` is a script and what it makes of the rest: below a hidden script all is hidden, and a hidden path may be
/// asked of a script that serves all paths.
fn reaches(asked: &Segments, hidden: &Segments) -> bool {
    let is_script = |segment: &Vec<u8>| segment.ends_with(b".php");
    let below = hidden.last().is_some_and(is_script) && asked.starts_with(hidden);
    let by_script = asked
        .split_first()
        .is_some_and(|(first, rest)| is_script(first) && rest == hidden);
    asked == hidden || below || by_script
}

/// What apps could make of a path: undone escapes once or more, cut or not where another part seems to begin.
fn readings(path: &[u8]) -> Vec<Segments> {
    let mut readings = Vec::new();
    let mut decoded = path.to_ascii_lowercase();
    for _ in 0..DECODINGS {
        readings.push(segments(&decoded));
        for end in [b'?', b'#', b';', b'\0'] {
            if let Some(place) = memchr::memchr(end, &decoded) {
                readings.push(segments(&decoded[..place]));
            }
        }
        let again = undo_escapes(&decoded);
        if again == decoded {
            break;
        }
        decoded = again;
    }
    readings
}

/// Without empty and dot segments, parameters and what file systems ignore at the end of a name (RFC 3986 section 5.2.4).
fn segments(path: &[u8]) -> Segments {
    let mut segments = Vec::new();
    for segment in path.split(|byte| b"/\\".contains(byte)) {
        let parameters = memchr::memchr(b';', segment).unwrap_or(segment.len());
        let name = segment[..parameters].trim_ascii();
        let dots = name.iter().rev().take_while(|&&byte| byte == b'.').count();
        match name {
            b".." => drop(segments.pop()),
            _ if dots == name.len() => {}
            _ => segments.push(name[..name.len() - dots].to_ascii_lowercase()),
        }
    }
    segments
}

fn undo_escapes(path: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(path.len());
    let mut rest = path;
    while let [byte, tail @ ..] = rest {
        let digit = |place: usize| {
            tail.get(place)
                .and_then(|&byte| (byte as char).to_digit(16))
        };
        match (byte, digit(0), digit(1)) {
            (b'%', Some(high), Some(low)) => {
                plain.push(((high << 4 | low) as u8).to_ascii_lowercase());
                rest = &tail[2..];
            }
            _ => {
                plain.push(*byte);
                rest = tail;
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hides(hidden: &str, asked: &str) -> bool {
        is_hidden(
            &[hidden.to_owned()],
            &asked.parse().unwrap(),
            &HeaderMap::new(),
        )
    }

    #[test]
    fn every_spelling_is_hidden() {
        let spellings = [
            "/_sidebeat",
            "/_sidebeat/",
            "//_sidebeat",
            "/./_sidebeat",
            "/a/../_sidebeat",
            "/a/%2e%2e/_sidebeat",
            "/a%2f..%2f_sidebeat",
            "/%5fsidebeat",
            "/%5Fsidebeat",
            "/%255fsidebeat",
            "/%25255fsidebeat",
            "/_SideBeat",
            "/_sidebeat;jsessionid=1",
            "/_sidebeat;/../x",
            "/_sidebeat%00",
            "/_sidebeat%00.png",
            "/_sidebeat%20",
            "/_sidebeat%3fx",
            "/_sidebeat%23x",
            "/_sidebeat.",
            "/\\_sidebeat",
            "/a\\..\\_sidebeat",
            "/_sidebeat?x=1",
            "http://chat.example/_sidebeat",
            "/index.php/_sidebeat",
        ];
        for spelling in spellings {
            assert!(hides("/_sidebeat", spelling), "{spelling}");
        }
    }

    #[test]
    fn nothing_else_is() {
        for other in [
            "/",
            "/_sidebeat2",
            "/x/_sidebeat",
            "/_sidebeat/x",
            "/?/_sidebeat",
            "/_side/beat",
        ] {
            assert!(!hides("/_sidebeat", other), "{other}");
        }
        assert!(!is_hidden(
            &[],
            &Uri::from_static("/_sidebeat"),
            &HeaderMap::new()
        ));
    }

    #[test]
    fn a_hidden_script_is_hidden_with_all_below_it() {
        assert!(hides("/hooks/close.php", "/hooks/close.php/x"));
        assert!(hides("/hooks/close.php", "/hooks/Close%2Ephp"));
        assert!(!hides("/hooks/close.php", "/hooks/open.php"));
    }

    #[test]
    fn headers_that_name_another_path_do_not_help() {
        let mut headers = HeaderMap::new();
        headers.insert("x-original-url", "/%5fsidebeat?x".parse().unwrap());
        assert!(is_hidden(
            &["/_sidebeat".to_owned()],
            &Uri::from_static("/"),
            &headers
        ));
    }

    #[test]
    fn a_hook_at_the_root_hides_the_root_only() {
        assert!(hides("/", "/") && hides("/", "//") && !hides("/", "/x"));
    }
}
