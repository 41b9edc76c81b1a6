//! A complete head, judged.

use super::Fault;

/// hyper's own bound, at which it would answer for itself.
const MOST_HEADERS: usize = 100;

/// Naming one of these, or one of an opening, in `Connection` would have it removed on the way.
const END_TO_END: [&[u8]; 2] = [b"host", b"content-length"];

/// What follows a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Body {
    None,
    Length(u64),
    Chunked,
    /// It asks for a WebSocket: what follows is no request.
    Upgrade,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Version {
    Http10,
    Http11,
}

/// Judges a head, its last empty line included.
pub(super) fn judge(head: &[u8]) -> Result<Body, Fault> {
    let head = head.strip_prefix(b"\r\n").unwrap_or(head);
    let mut lines = Lines(head);
    let version = request_line(lines.next().unwrap_or_default())?;
    let mut framing = Framing::default();
    for (count, line) in lines.enumerate() {
        if count == MOST_HEADERS {
            let why = "more than 100 headers";
            return Err(Fault { status: 431, why });
        }
        framing.header(line, version)?;
    }
    framing.body(version)
}

/// The lines of a head, without the empty one at its end. Every LF in it comes after a CR.
struct Lines<'h>(&'h [u8]);

impl<'h> Iterator for Lines<'h> {
    type Item = &'h [u8];

    fn next(&mut self) -> Option<&'h [u8]> {
        let end = memchr::memchr(b'\r', self.0)?;
        let line = &self.0[..end];
        self.0 = &self.0[end + 2..];
        (!line.is_empty()).then_some(line)
    }
}

/// RFC 9112 section 3, with single spaces.
fn request_line(line: &[u8]) -> Result<Version, Fault> {
    let mut parts = line.split(|&byte| byte == b' ');
    let (Some(method), Some(target), Some(version), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Fault::bad(
            "a request line is METHOD SP target SP version (RFC 9112 section 3)",
        ));
    };
    if !is_token(method) {
        return Err(Fault::bad("the method is no token (RFC 9110 section 9.1)"));
    }
    let version = match version {
        b"HTTP/1.1" => Version::Http11,
        b"HTTP/1.0" => Version::Http10,
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor]
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            let why = "HTTP/1.1 and HTTP/1.0 are spoken here";
            return Err(Fault { status: 505, why });
        }
        _ => return Err(Fault::bad("no version of HTTP (RFC 9112 section 2.3)")),
    };
    if method == b"CONNECT" {
        let why = "CONNECT is not for a reverse proxy";
        return Err(Fault { status: 405, why });
    }
    self::target(method, target)?;
    Ok(version)
}

/// RFC 9112 section 3.2: origin form, absolute form, or the asterisk of OPTIONS.
fn target(method: &[u8], target: &[u8]) -> Result<(), Fault> {
    if !target.iter().all(|&byte| is_of_target(byte)) {
        return Err(Fault::bad(
            "a byte that no request target has (RFC 3986 section 2)",
        ));
    }
    match target {
        [b'/', ..] => Ok(()),
        b"*" if method == b"OPTIONS" => Ok(()),
        _ => absolute(method, target),
    }
}

fn absolute(method: &[u8], target: &[u8]) -> Result<(), Fault> {
    const WHY: &str = "the request target is neither a path nor an http URI (RFC 9112 section 3.2)";
    let lower = target.to_ascii_lowercase();
    let rest = lower
        .strip_prefix(b"http://")
        .or_else(|| lower.strip_prefix(b"https://"));
    let rest = rest.ok_or(Fault::bad(WHY))?;
    let end = rest.iter().position(|byte| b"/?".contains(byte));
    if end.is_none() && method == b"OPTIONS" {
        // What it means is `*`, and what a parser of URIs makes of it is `/`.
        return Err(Fault::bad(
            "OPTIONS for the whole server is `OPTIONS *` here (RFC 9112 section 3.2.4)",
        ));
    }
    let authority = &rest[..end.unwrap_or(rest.len())];
    if authority.is_empty() || !is_host(authority) {
        return Err(Fault::bad(
            "the request target names no valid host (RFC 9110 section 4.2)",
        ));
    }
    Ok(())
}

/// What the headers say of the message's end.
#[derive(Debug, Default)]
struct Framing {
    hosts: usize,
    length: Option<u64>,
    chunked: bool,
    websocket: bool,
}

impl Framing {
    fn header(&mut self, line: &[u8], version: Version) -> Result<(), Fault> {
        if matches!(line, [b' ' | b'\t', ..]) {
            return Err(Fault::bad("a folded header (RFC 9112 section 5.2)"));
        }
        let colon = memchr::memchr(b':', line).ok_or(Fault::bad("a header without a colon"))?;
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if !is_token(name) {
            return Err(Fault::bad(
                "a header name is a token, its colon right behind it (RFC 9112 section 5.1)",
            ));
        }
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        if is("host") {
            self.host(value)
        } else if is("content-length") {
            self.content_length(value)
        } else if is("transfer-encoding") {
            self.transfer_encoding(value, version)
        } else if is("connection") {
            connection(value)
        } else if is("upgrade") {
            self.websocket |= options(value).any(|to| to.eq_ignore_ascii_case(b"websocket"));
            Ok(())
        } else if is("content_length") || is("transfer_encoding") {
            // CGI makes one variable of both spellings.
            Err(Fault::bad(
                "a header that some apps take for the length of the request",
            ))
        } else {
            Ok(())
        }
    }

    /// RFC 9112 section 3.2.
    fn host(&mut self, value: &[u8]) -> Result<(), Fault> {
        self.hosts += 1;
        if self.hosts > 1 {
            return Err(Fault::bad("more than one Host (RFC 9112 section 3.2)"));
        }
        if !is_host(value) {
            return Err(Fault::bad(
                "Host is no host and port (RFC 9110 section 7.2)",
            ));
        }
        Ok(())
    }

    /// RFC 9112 section 6.3: one length, of digits only. A list of equal ones may be refused, too.
    fn content_length(&mut self, value: &[u8]) -> Result<(), Fault> {
        if self.length.is_some() {
            return Err(Fault::bad(
                "more than one Content-Length (RFC 9112 section 6.3)",
            ));
        }
        let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
        let text = str::from_utf8(value).ok().filter(|_| digits);
        let length = text.and_then(|text| text.parse::<u64>().ok());
        // A length that overflows a signed one is a negative number to some.
        self.length = length.filter(|&length| length <= i64::MAX as u64);
        if self.length.is_none() {
            return Err(Fault::bad(
                "Content-Length is no number of bytes (RFC 9110 section 8.6)",
            ));
        }
        Ok(())
    }

    /// RFC 9112 section 6.1. Other codings than `chunked` could not be passed on, since they are hop by hop.
    fn transfer_encoding(&mut self, value: &[u8], version: Version) -> Result<(), Fault> {
        if version < Version::Http11 {
            return Err(Fault::bad(
                "Transfer-Encoding in HTTP/1.0 (RFC 9112 section 6.1)",
            ));
        }
        if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
            return Err(Fault::bad(
                "Transfer-Encoding is not `chunked`, once (RFC 9112 section 6.1)",
            ));
        }
        self.chunked = true;
        Ok(())
    }

    fn body(&self, version: Version) -> Result<Body, Fault> {
        if self.hosts == 0 && version >= Version::Http11 {
            return Err(Fault::bad("no Host (RFC 9112 section 3.2)"));
        }
        match (self.websocket, self.chunked, self.length) {
            (_, true, Some(_)) => Err(Fault::bad(
                "Content-Length beside Transfer-Encoding (RFC 9112 section 6.1)",
            )),
            (true, _, _) => Ok(Body::Upgrade),
            (false, true, None) => Ok(Body::Chunked),
            (false, false, Some(length)) => Ok(Body::Length(length)),
            (false, false, None) => Ok(Body::None),
        }
    }
}

fn connection(value: &[u8]) -> Result<(), Fault> {
    for option in options(value) {
        let named = |name: &&[u8]| option.eq_ignore_ascii_case(name);
        let prefix = option.get(..14).unwrap_or_default();
        if END_TO_END.iter().any(named) || prefix.eq_ignore_ascii_case(b"sec-websocket-") {
            return Err(Fault::bad(
                "Connection names a header that is for the app (RFC 9110 section 7.6.1)",
            ));
        }
    }
    Ok(())
}

fn options(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii)
}

/// RFC 9110 section 5.6.2.
pub(super) fn is_token(bytes: &[u8]) -> bool {
    let tchar = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !bytes.is_empty() && bytes.iter().all(tchar)
}

/// RFC 3986, and besides it what browsers and older clients leave unescaped.
fn is_of_target(byte: u8) -> bool {
    byte.is_ascii_graphic() && !b"#<>`".contains(&byte)
}

/// `uri-host [":" port]` (RFC 9110 section 7.2, RFC 3986 section 3.2.2). Empty is valid: the authority has no host.
fn is_host(value: &[u8]) -> bool {
    let (host, port) = match value {
        [b'[', ..] => {
            let Some(end) = value.iter().position(|&byte| byte == b']') else {
                return false;
            };
            let inner = str::from_utf8(&value[1..end]).unwrap_or_default();
            let valid = inner.parse::<std::net::Ipv6Addr>().is_ok();
            (valid, &value[end + 1..])
        }
        _ => {
            let end = memchr::memchr(b':', value).unwrap_or(value.len());
            (is_name(&value[..end]), &value[end..])
        }
    };
    let port = match port {
        [] => true,
        [b':', digits @ ..] => digits.len() <= 5 && digits.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    host && port
}

/// `reg-name`.
fn is_name(mut name: &[u8]) -> bool {
    loop {
        match name {
            [] => return true,
            [b'%', high, low, rest @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                name = rest;
            }
            [byte, rest @ ..]
                if byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(byte) =>
            {
                name = rest;
            }
            [_, ..] => return false,
        }
    }
}
