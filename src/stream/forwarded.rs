//! Who the client is behind the proxies before us, and what the app and our records are told of it.

use std::net::{IpAddr, SocketAddr};

use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Uri, Version};
use uuid::Uuid;

use super::headers::{self, Forwarded, Purpose};
use super::{Attempt, Request};
use crate::config::Protocol;
use crate::net::sockopt;

/// Longest text of a client that a record holds, in bytes.
const TEXT_MAX: usize = 512;

impl Attempt {
    /// Makes a request head ours: origin form, HTTP/1.1, hop-by-hop headers gone, our own set.
    pub(super) fn rewrite(
        &self,
        head: &mut http::request::Parts,
        uri: &Uri,
        purpose: Purpose,
        id: Option<Uuid>,
    ) {
        if let Some(authority) = uri.authority() {
            headers::set_host(&mut head.headers, authority);
        }
        let target = uri
            .path_and_query()
            .cloned()
            .unwrap_or_else(|| PathAndQuery::from_static("/"));
        head.uri = Uri::from(target);
        head.version = Version::HTTP_11;
        let trusted = self.trusts(self.client.ip());
        let kept = |name: &str| {
            let value = head.headers.get(name)?;
            (trusted && value.to_str().is_ok()).then(|| value.clone())
        };
        let peer = text(self.client.ip().to_string());
        let forwarded = Forwarded {
            chain: match kept("x-forwarded-for") {
                Some(_) => text(format!("{}, {}", chain(&head.headers), self.client.ip())),
                None => peer.clone(),
            },
            client: self
                .forwarded_client(&head.headers)
                .map_or(peer, |client| text(client.ip().to_string())),
            proto: kept("x-forwarded-proto").unwrap_or_else(|| {
                HeaderValue::from_static(match self.config.protocol {
                    Protocol::Wss | Protocol::Tls => "https",
                    Protocol::Ws | Protocol::Tcp => "http",
                })
            }),
            host: kept("x-forwarded-host")
                .or_else(|| head.headers.get(http::header::HOST).cloned()),
            stream_id: id.map(|id| text(id.to_string())),
            certificate_subject: self
                .certificate_subject
                .as_deref()
                .and_then(|subject| HeaderValue::from_str(subject).ok()),
        };
        headers::request(&mut head.headers, purpose, forwarded);
    }

    /// What the registry wants to know.
    pub(super) fn facts(&self, uri: &Uri, headers: &HeaderMap) -> Request {
        let header = |name| {
            headers
                .get(name)
                .map(|value: &HeaderValue| shown(value.as_bytes()))
        };
        Request {
            client: self.forwarded_client(headers),
            host: uri
                .authority()
                .map(|authority| shown(authority.as_str().as_bytes()))
                .or_else(|| header(http::header::HOST)),
            path: Some(shown(uri.path().as_bytes())),
            user_agent: header(http::header::USER_AGENT),
            identity: Default::default(),
        }
    }

    /// Behind trusted proxies the client is the rightmost address of the chain that is not itself trusted.
    pub(super) fn forwarded_client(&self, headers: &HeaderMap) -> Option<SocketAddr> {
        if !self.trusts(self.client.ip()) {
            return None;
        }
        let chain = chain(headers);
        let mut nearest = None;
        for hop in chain.rsplit(',') {
            // An entry that is no address ends the part of the chain that can be believed.
            let Some(hop) = address(hop.trim()) else {
                break;
            };
            nearest = Some(hop);
            if !self.trusts(hop.ip()) {
                break;
            }
        }
        nearest
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.config
            .trusted_proxies
            .iter()
            .any(|network| network.contains(&address))
    }
}

/// An address, an id or a chain of addresses, none of which holds a byte that a header cannot.
fn text(text: String) -> HeaderValue {
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

fn chain(headers: &HeaderMap) -> String {
    let lines = headers
        .get_all("x-forwarded-for")
        .iter()
        .filter_map(|line| line.to_str().ok());
    lines.collect::<Vec<_>>().join(", ")
}

fn address(hop: &str) -> Option<SocketAddr> {
    let bare = hop.trim_start_matches('[').trim_end_matches(']');
    hop.parse()
        .ok()
        .or_else(|| bare.parse().ok().map(|ip| SocketAddr::new(ip, 0)))
        .map(sockopt::canonical)
}

/// Client text as records and logs may hold it: cut, control bytes escaped.
fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut shown = String::with_capacity(text.len().min(TEXT_MAX));
    for character in text.chars() {
        let before = shown.len();
        if character.is_control() {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
        if shown.len() > TEXT_MAX {
            shown.truncate(before);
            break;
        }
    }
    shown
}
