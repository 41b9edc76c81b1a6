//! Addresses: where to listen, where to dial.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use super::ready::{AdminAddress, Protocol, UpstreamAddress};

/// An address that cannot be used, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum AddressError {
    #[error("`{0}` has no scheme: write `ws://`, `wss://`, `tcp://` or `tls://` before it")]
    NoScheme(String),
    #[error("`{scheme}` is not spoken here: write `{instead}`")]
    Scheme {
        scheme: String,
        instead: &'static str,
    },
    #[error("an address ends with its port: remove `{0}`")]
    Path(String),
    #[error("an upstream has no path or query: remove `{0}`, the client's own is passed on")]
    UpstreamPath(String),
    #[error("user and password do not belong here: remove them up to the `@`")]
    Userinfo,
    #[error("`{0}` has no port: add one, such as `{0}:{1}`")]
    NoPort(String, u16),
    #[error("`{0}` is no port: write a number from 1 to 65535")]
    Port(String),
    #[error("`{0}` needs brackets: write an IPv6 address as `[::1]`")]
    Brackets(String),
    #[error(
        "`{0}` is no address to listen on: write an IP address such as `0.0.0.0` or `[::]`, or `localhost`"
    )]
    NotLocal(String),
    #[error("`{0}` is no host name or IP address")]
    Host(String),
    #[error("a unix socket needs an absolute path: write `unix:/run/app.sock`")]
    UnixPath,
}

/// Reads `wss://0.0.0.0:8443`.
pub(super) fn parse_listen(text: &str) -> Result<(Protocol, SocketAddr), AddressError> {
    let (protocol, rest) = parse_scheme(text)?;
    if let Some(at) = rest.find(['/', '?', '#']) {
        return Err(AddressError::Path(rest[at..].to_owned()));
    }
    parse_socket(rest).map(|address| (protocol, address))
}

/// Reads `127.0.0.1:9600`, `[::]:9601` or `localhost:9600`. Port 0 leaves the choice to the system.
pub(super) fn parse_socket(text: &str) -> Result<SocketAddr, AddressError> {
    let (host, port) = split(text)?;
    let port = match port {
        Some("0") => 0,
        Some(port) => parse_port(port)?,
        None => return Err(AddressError::NoPort(text.to_owned(), 8080)),
    };
    let ip = if host.eq_ignore_ascii_case("localhost") {
        IpAddr::V4(Ipv4Addr::LOCALHOST)
    } else {
        host.parse()
            .map_err(|_| AddressError::NotLocal(host.to_owned()))?
    };
    Ok(SocketAddr::new(ip, port))
}

/// Reads `ws://app:8080` or `unix:/path`; a unix path speaks what the listener speaks.
pub(super) fn parse_upstream(
    text: &str,
) -> Result<(Option<Protocol>, UpstreamAddress), AddressError> {
    if let Some(path) = text.strip_prefix("unix:") {
        return Ok((None, UpstreamAddress::Unix(parse_unix(path)?)));
    }
    let (protocol, rest) = parse_scheme(text)?;
    if let Some(at) = rest.find(['/', '?', '#']) {
        return Err(AddressError::UpstreamPath(rest[at..].to_owned()));
    }
    let (host, port) = split(rest)?;
    let port = match (port, protocol) {
        (Some(port), _) => parse_port(port)?,
        (None, Protocol::Ws) => 80,
        (None, Protocol::Wss) => 443,
        (None, Protocol::Tcp | Protocol::Tls) => {
            return Err(AddressError::NoPort(text.to_owned(), 8282));
        }
    };
    let is_name = !host.is_empty()
        && host.len() <= 253
        && host
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'));
    if !is_name && host.parse::<IpAddr>().is_err() {
        return Err(AddressError::Host(host.to_owned()));
    }
    let host = host.to_owned();
    Ok((Some(protocol), UpstreamAddress::Host { host, port }))
}

/// Reads `127.0.0.1:9600` or `unix:/run/sidebeat/admin.sock`.
pub(super) fn parse_admin(text: &str) -> Result<AdminAddress, AddressError> {
    match text.strip_prefix("unix:") {
        Some(path) => parse_unix(path).map(AdminAddress::Unix),
        None => parse_socket(text).map(AdminAddress::Tcp),
    }
}

/// Whether only this machine can reach an address.
pub(super) fn is_loopback(ip: IpAddr) -> bool {
    ip.to_canonical().is_loopback()
}

fn parse_unix(path: &str) -> Result<PathBuf, AddressError> {
    // `unix:///run/x` is the URL form of the same path.
    let path = path.strip_prefix("//").unwrap_or(path);
    if !path.starts_with('/') || path.len() < 2 {
        return Err(AddressError::UnixPath);
    }
    Ok(PathBuf::from(path))
}

fn parse_scheme(text: &str) -> Result<(Protocol, &str), AddressError> {
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err(AddressError::NoScheme(text.to_owned()));
    };
    let protocol = match scheme {
        "ws" => Protocol::Ws,
        "wss" => Protocol::Wss,
        "tcp" => Protocol::Tcp,
        "tls" => Protocol::Tls,
        _ => {
            return Err(AddressError::Scheme {
                scheme: format!("{scheme}://"),
                instead: match scheme.to_ascii_lowercase().as_str() {
                    "http" | "ws" => "ws://",
                    "https" | "wss" => "wss://",
                    "ssl" | "tls" => "tls://",
                    "tcp" => "tcp://",
                    _ => "ws://, wss://, tcp:// or tls://",
                },
            });
        }
    };
    Ok((protocol, rest))
}

/// Host (without brackets) and port.
fn split(text: &str) -> Result<(&str, Option<&str>), AddressError> {
    if text.contains('@') {
        return Err(AddressError::Userinfo);
    }
    if let Some(inside) = text.strip_prefix('[') {
        let Some((host, after)) = inside.split_once(']') else {
            return Err(AddressError::Host(text.to_owned()));
        };
        if host.parse::<std::net::Ipv6Addr>().is_err() {
            return Err(AddressError::Host(format!("[{host}]")));
        }
        return match after.strip_prefix(':') {
            Some(port) => Ok((host, Some(port))),
            None if after.is_empty() => Ok((host, None)),
            None => Err(AddressError::Port(after.to_owned())),
        };
    }
    match text.split_once(':') {
        Some((_, port)) if port.contains(':') => Err(AddressError::Brackets(text.to_owned())),
        Some((host, port)) => Ok((host, Some(port))),
        None => Ok((text, None)),
    }
}

fn parse_port(text: &str) -> Result<u16, AddressError> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match text.parse() {
        Ok(port @ 1..) if digits => Ok(port),
        _ => Err(AddressError::Port(text.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listen_addresses_are_ip_literals_or_localhost() {
        for (text, protocol, address) in [
            ("ws://0.0.0.0:8080", Protocol::Ws, "0.0.0.0:8080"),
            ("wss://[::]:8443", Protocol::Wss, "[::]:8443"),
            ("tcp://localhost:1", Protocol::Tcp, "127.0.0.1:1"),
            ("tls://127.0.0.1:0", Protocol::Tls, "127.0.0.1:0"),
        ] {
            assert_eq!(
                parse_listen(text),
                Ok((protocol, address.parse().unwrap())),
                "{text}"
            );
        }
        for text in [
            "",
            "0.0.0.0:80",
            "http://0.0.0.0:80",
            "ws://",
            "ws://:80",
            "ws://0.0.0.0",
            "ws://0.0.0.0:",
            "ws://0.0.0.0:+80",
            "ws://0.0.0.0:65536",
            "ws://::1:80",
            "ws://[::1:80",
            "ws://[::1]80",
            "ws://[127.0.0.1]:80",
            "ws://app:80",
            "ws://u@0.0.0.0:80",
            "ws://0.0.0.0:80/",
        ] {
            assert!(parse_listen(text).is_err(), "{text}");
        }
    }

    #[test]
    fn upstreams_are_names_addresses_or_sockets() {
        let host = |host: &str, port| UpstreamAddress::Host {
            host: host.to_owned(),
            port,
        };
        for (text, protocol, address) in [
            ("ws://app", Some(Protocol::Ws), host("app", 80)),
            ("wss://a.b-c_d", Some(Protocol::Wss), host("a.b-c_d", 443)),
            ("tcp://[::1]:5", Some(Protocol::Tcp), host("::1", 5)),
            ("unix:/a/b", None, UpstreamAddress::Unix("/a/b".into())),
            ("unix:///a/b", None, UpstreamAddress::Unix("/a/b".into())),
        ] {
            assert_eq!(parse_upstream(text), Ok((protocol, address)), "{text}");
        }
        for text in [
            "app:80",
            "tcp://app",
            "tls://app",
            "ws://app:0",
            "ws://app/x",
            "ws://app?x=1",
            "ws://a b:1",
            "ws://:1",
            "unix:",
            "unix:/",
            "unix:a",
            "ws://[::1%1]:80",
        ] {
            assert!(parse_upstream(text).is_err(), "{text}");
        }
    }
}
