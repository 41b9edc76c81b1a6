//! Who the client is behind the proxies before us, and what the app and our records are told of it.

use std::net::{IpAddr, SocketAddr};

use http::uri::PathAndQuery;
use http::{HeaderMap, Uri, Version};
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
            let value = head.headers.get(name).filter(|_| trusted)?;
            value.to_str().ok().map(str::to_owned)
        };
        let peer = self.client.ip().to_string();
        let forwarded = Forwarded {
            chain: match kept("x-forwarded-for") {
                Some(_) => format!("{}, {peer}", chain(&head.headers)),
                None => peer,
            },
            client: self
                .forwarded_client(&head.headers)
                .unwrap_or(self.client)
                .ip()
                .to_string(),
            proto: kept("x-forwarded-proto").unwrap_or_else(|| match self.config.protocol {
                Protocol::Wss | Protocol::Tls => "https".into(),
                Protocol::Ws | Protocol::Tcp => "http".into(),
            }),
            host: head
                .headers
                .get("x-forwarded-host")
                .filter(|_| trusted)
                .or(head.headers.get(http::header::HOST))
                .cloned(),
            stream_id: id.map(|id| id.to_string()),
            certificate_subject: self.certificate_subject.as_deref(),
        };
        headers::request(&mut head.headers, purpose, &forwarded);
    }

    /// What the registry wants to know.
    pub(super) fn facts(&self, uri: &Uri, headers: &HeaderMap) -> Request {
        let header = |name| {
            headers
                .get(name)
                .map(|value: &http::HeaderValue| shown(value.as_bytes()))
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
        let piece = if character.is_control() {
            character.escape_default().to_string()
        } else {
            character.to_string()
        };
        if shown.len() + piece.len() > TEXT_MAX {
            break;
        }
        shown.push_str(&piece);
    }
    shown
}
