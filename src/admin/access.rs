//! Who may call the API: bearer token, loopback or socket, `Host` (DNS rebinding) and `Origin` (cross-site requests).

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use hmac::{Hmac, KeyInit, Mac};
use http::header::{AUTHORIZATION, HOST, ORIGIN};
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderMap, HeaderName, StatusCode};
use sha2::Sha256;

use super::problem::Problem;

/// Who is at the other end of a connection to the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// By TCP.
    Tcp(SocketAddr),
    /// By the unix socket; the user id where the kernel tells it.
    Unix(Option<u32>),
}

impl Peer {
    fn is_local(self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().to_canonical().is_loopback(),
            Self::Unix(_) => true,
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(Some(uid)) => write!(f, "unix uid {uid}"),
            Self::Unix(None) => write!(f, "unix"),
        }
    }
}

/// The secret of `admin.token_file`.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The file cannot be read.
    #[error("cannot read the token file {}: {source}", path.display())]
    Read {
        /// As configured.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// No client could send what is in the file.
    #[error(
        "the token file {} must hold one word of printable ASCII, such as `openssl rand -hex 32` prints",
        path.display()
    )]
    Malformed {
        /// As configured.
        path: PathBuf,
    },
}

impl Token {
    /// Reads a token from a file; blanks and line ends around it do not count.
    pub fn read(path: &Path) -> Result<Self, TokenError> {
        let bytes = std::fs::read(path).map_err(|source| TokenError::Read {
            path: path.to_owned(),
            source,
        })?;
        let token = bytes.trim_ascii();
        match str::from_utf8(token) {
            Ok(word) if !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_graphic()) => {
                Ok(Self(word.to_owned()))
            }
            Ok(_) | Err(_) => Err(TokenError::Malformed {
                path: path.to_owned(),
            }),
        }
    }

    /// The value of an `Authorization` header that carries it.
    pub(super) fn bearer(&self) -> String {
        format!("Bearer {}", self.0)
    }

    /// Takes the same time for every wrong guess: what is compared are two MACs, of which the guesser knows neither.
    fn matches(&self, presented: &str) -> bool {
        let mac = |word: &str| {
            // The words are the messages, not the keys: HMAC pads keys with zeros, so that two keys can be one.
            Hmac::<Sha256>::new_from_slice(b"sidebeat admin token")
                .map(|mac| mac.chain_update(word.as_bytes()))
        };
        match (mac(&self.0), mac(presented)) {
            (Ok(ours), Ok(theirs)) => ours.verify(&theirs.finalize().into_bytes()).is_ok(),
            (Err(_), _) | (_, Err(_)) => false,
        }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

/// What a call may show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Secrecy {
    /// Whoever has the token.
    Guarded,
    /// Whoever can reach it: there is nothing in it.
    Public,
}

/// The rules of this process.
pub(super) struct Rules<'a> {
    /// Asked of everybody if there is one.
    pub(super) token: Option<&'a Token>,
    /// Names under which the API may be called without a token.
    pub(super) hosts: &'a [String],
}

impl Rules<'_> {
    /// Whether `peer` may make this request.
    pub(super) fn admit(&self, peer: Peer, head: &Parts, secrecy: Secrecy) -> Result<(), Problem> {
        let forbidden = |detail: &str| Problem::new(StatusCode::FORBIDDEN, detail);
        if !same_origin(head) {
            return Err(forbidden(
                "requests from web pages of other origins are refused",
            ));
        }
        let presented = match single(&head.headers, AUTHORIZATION)? {
            Some(value) => Some(bearer(value)?),
            None => None,
        };
        let token_is_valid = match (self.token, presented) {
            (Some(token), Some(presented)) => token.matches(presented),
            (Some(_), None) | (None, _) => false,
        };
        // Our own token proves that no foreign page is behind the request; a page cannot reach a unix socket at all.
        let host_is_free = token_is_valid || matches!(peer, Peer::Unix(_));
        if !host_is_free && !self.host_is_known(head)? {
            return Err(forbidden(
                "Host must be an IP address, localhost or one of admin.hosts",
            ));
        }
        match self.token {
            Some(_) if token_is_valid || secrecy == Secrecy::Public => Ok(()),
            Some(_) if presented.is_some() => Err(Problem::unauthorized("the token is wrong")),
            Some(_) => Err(Problem::unauthorized(
                "send the content of admin.token_file as `Authorization: Bearer TOKEN`",
            )),
            None if peer.is_local() => Ok(()),
            None => Err(forbidden(
                "without admin.token_file only loopback and the unix socket are served",
            )),
        }
    }

    /// A page that rebinds its name to our address still sends its name.
    fn host_is_known(&self, head: &Parts) -> Result<bool, Problem> {
        let host = single(&head.headers, HOST)?;
        // An absolute target counts as Host (RFC 9112 section 3.2.2), but the header must not smuggle another one.
        let names = [head.uri.authority().map(Authority::as_str), host];
        let mut names = names.into_iter().flatten().peekable();
        Ok(names.peek().is_some() && names.all(|name| self.is_known(name)))
    }

    fn is_known(&self, host: &str) -> bool {
        let Ok(authority) = host.parse::<Authority>() else {
            return false;
        };
        let name = authority.host();
        let literal = name
            .strip_prefix('[')
            .and_then(|name| name.strip_suffix(']'))
            .unwrap_or(name);
        let name = name.strip_suffix('.').unwrap_or(name);
        literal.parse::<IpAddr>().is_ok()
            || name.eq_ignore_ascii_case("localhost")
            || self
                .hosts
                .iter()
                .any(|known| known.eq_ignore_ascii_case(name) || known.eq_ignore_ascii_case(host))
    }
}

/// Whether the request comes from no page or from one that this process itself served, directly or behind a TLS proxy.
fn same_origin(head: &Parts) -> bool {
    let mut origins = head.headers.get_all(ORIGIN).iter();
    let Some(origin) = origins.next() else {
        return true;
    };
    let authority = |origin: &str| {
        origin
            .strip_prefix("http://")
            .or_else(|| origin.strip_prefix("https://"))
            .map(str::to_ascii_lowercase)
    };
    let host = head.headers.get(HOST).and_then(|host| host.to_str().ok());
    let origin = origin.to_str().ok().and_then(authority);
    origins.next().is_none() && origin.is_some() && origin == host.map(str::to_ascii_lowercase)
}

/// The value of a header that may occur once.
fn single(headers: &HeaderMap, name: HeaderName) -> Result<Option<&str>, Problem> {
    let malformed = || {
        Problem::new(
            StatusCode::BAD_REQUEST,
            format!("{name} is malformed or repeated"),
        )
    };
    let mut values = headers.get_all(&name).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(malformed());
    }
    value.to_str().map(Some).map_err(|_| malformed())
}

fn bearer(value: &str) -> Result<&str, Problem> {
    match value.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Ok(token.trim()),
        Some(_) | None => Err(Problem::unauthorized(
            "Authorization must be `Bearer TOKEN`",
        )),
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    const LOCAL: &str = "127.0.0.1:4000";

    fn token(word: &str) -> Token {
        Token(word.to_owned())
    }

    fn head(headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().uri("/v1/status");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn admit(rules: &Rules<'_>, peer: &str, headers: &[(&str, &str)]) -> u16 {
        let peer = match peer {
            "unix" => Peer::Unix(Some(1000)),
            address => Peer::Tcp(address.parse().unwrap()),
        };
        match rules.admit(peer, &head(headers), Secrecy::Guarded) {
            Ok(()) => 200,
            Err(problem) => problem.status.as_u16(),
        }
    }

    #[test]
    fn without_a_token_only_loopback_and_the_socket_are_served() {
        let rules = Rules {
            token: None,
            hosts: &[],
        };
        let host = [("host", "127.0.0.1:9600")];
        assert_eq!(admit(&rules, LOCAL, &host), 200);
        assert_eq!(admit(&rules, "[::1]:4000", &host), 200);
        assert_eq!(admit(&rules, "[::ffff:127.0.0.1]:4000", &host), 200);
        assert_eq!(admit(&rules, "unix", &[]), 200);
        assert_eq!(admit(&rules, "10.0.0.7:4000", &host), 403);
        assert_eq!(admit(&rules, "[::ffff:10.0.0.7]:4000", &host), 403);
        let stray = [("host", "127.0.0.1"), ("authorization", "Bearer x")];
        assert_eq!(admit(&rules, "10.0.0.7:4000", &stray), 403);
    }

    #[test]
    fn a_token_is_asked_of_everybody() {
        let token = token("s3cret");
        let rules = Rules {
            token: Some(&token),
            hosts: &[],
        };
        for peer in [LOCAL, "10.0.0.7:4000", "unix"] {
            let with = |value| [("host", "127.0.0.1"), ("authorization", value)];
            assert_eq!(admit(&rules, peer, &[("host", "127.0.0.1")]), 401, "{peer}");
            assert_eq!(admit(&rules, peer, &with("Bearer s3cret")), 200, "{peer}");
            assert_eq!(admit(&rules, peer, &with("bearer  s3cret")), 200, "{peer}");
            for wrong in [
                "Bearer s3cre",
                "Bearer s3crets",
                "Bearer S3cret",
                "Bearer ",
                "Bearer",
                "s3cret",
                "Basic s3cret",
            ] {
                assert_eq!(admit(&rules, peer, &with(wrong)), 401, "{peer} {wrong}");
            }
            let twice = [
                ("host", "127.0.0.1"),
                ("authorization", "Bearer x"),
                ("authorization", "Bearer s3cret"),
            ];
            assert_eq!(admit(&rules, peer, &twice), 400, "{peer}");
        }
    }

    #[test]
    fn host_names_are_refused_unless_known() {
        let hosts = ["Sidebeat.Example".to_owned(), "ops.example:8080".to_owned()];
        let rules = Rules {
            token: None,
            hosts: &hosts,
        };
        for good in [
            "127.0.0.1",
            "127.0.0.1:9600",
            "10.1.2.3:1",
            "[::1]:9600",
            "[::1]",
            "localhost",
            "LOCALHOST:9600",
            "localhost.",
            "sidebeat.example",
            "sidebeat.example:9600",
            "sidebeat.example.",
            "ops.example:8080",
        ] {
            assert_eq!(admit(&rules, LOCAL, &[("host", good)]), 200, "{good}");
        }
        for bad in [
            "evil.example",
            "evil.example:9600",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "user@evil.example",
            "ops.example",
            "",
        ] {
            assert_eq!(admit(&rules, LOCAL, &[("host", bad)]), 403, "{bad}");
        }
        assert_eq!(admit(&rules, LOCAL, &[]), 403, "no Host at all");
        let twice = [("host", "localhost"), ("host", "evil.example")];
        assert_eq!(admit(&rules, LOCAL, &twice), 400);
        assert_eq!(admit(&rules, "unix", &[("host", "evil.example")]), 200);
    }

    #[test]
    fn an_absolute_target_is_judged_as_well_as_host() {
        let rules = Rules {
            token: None,
            hosts: &[],
        };
        for (uri, host, admitted) in [
            ("http://127.0.0.1/v1/status", "localhost", true),
            ("http://evil.example/v1/status", "localhost", false),
            ("http://127.0.0.1/v1/status", "evil.example", false),
        ] {
            let request = Request::builder().uri(uri).header("host", host);
            let head = request.body(()).unwrap().into_parts().0;
            let peer = Peer::Tcp(LOCAL.parse().unwrap());
            assert_eq!(
                rules.admit(peer, &head, Secrecy::Guarded).is_ok(),
                admitted,
                "{uri} {host}"
            );
        }
    }

    #[test]
    fn a_valid_token_frees_the_host_and_a_wrong_one_does_not() {
        let token = token("s3cret");
        let rules = Rules {
            token: Some(&token),
            hosts: &[],
        };
        let with = |value| [("host", "pod.svc"), ("authorization", value)];
        assert_eq!(admit(&rules, LOCAL, &with("Bearer s3cret")), 200);
        assert_eq!(admit(&rules, LOCAL, &with("Bearer wrong")), 403);
    }

    #[test]
    fn foreign_origins_are_refused_even_with_a_token() {
        let token = token("s3cret");
        let rules = Rules {
            token: Some(&token),
            hosts: &[],
        };
        let with = |origin| {
            [
                ("host", "127.0.0.1:9600"),
                ("authorization", "Bearer s3cret"),
                ("origin", origin),
            ]
        };
        for own in ["http://127.0.0.1:9600", "https://127.0.0.1:9600"] {
            assert_eq!(admit(&rules, LOCAL, &with(own)), 200, "{own}");
        }
        for foreign in [
            "http://evil.example",
            "http://127.0.0.1",
            "http://127.0.0.1:9601",
            "http://localhost:9600",
            "null",
            "",
        ] {
            assert_eq!(admit(&rules, LOCAL, &with(foreign)), 403, "{foreign}");
            assert_eq!(admit(&rules, "unix", &with(foreign)), 403, "{foreign}");
        }
        let unhosted = [("origin", "http://evil.example")];
        assert_eq!(admit(&rules, "unix", &unhosted), 403);
    }

    #[test]
    fn a_token_file_holds_one_word() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        std::fs::write(&path, " s3cret\r\n").unwrap();
        assert_eq!(Token::read(&path).unwrap(), token("s3cret"));
        for bad in ["", "\n", "two words", "two\nlines", "schlüssel", "\u{0}"] {
            std::fs::write(&path, bad).unwrap();
            let error = Token::read(&path).unwrap_err();
            assert!(matches!(error, TokenError::Malformed { .. }), "{bad:?}");
        }
        std::fs::remove_file(&path).unwrap();
        let error = Token::read(&path).unwrap_err().to_string();
        assert!(error.contains("/token"), "{error}");
        assert_eq!(format!("{:?}", token("s3cret")), "Token(…)");
    }
}
