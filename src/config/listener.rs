//! One listener, from as written to ready.

use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use super::address::{parse_listen, parse_upstream};
use super::error::ConfigError;
use super::heartbeat;
use super::kinds::{Network, Text};
use super::leaf::{Block, Leaf, Maybe, OrList, OrMap};
use super::limits::limits;
use super::raw::{RawFraming, RawIdentity, RawListener, RawProxyProtocol, RawUpstreamTls};
use super::reader::Reader;
use super::ready::{HttpPolicy, IdentityRule, Listener, Protocol, ProxyVersion, Upstream};
use super::tls::{tls, upstream_tls};
use super::words::{Choice, PlainFraming};
use crate::proto::framing::Framing;

/// `line` has no key for it.
const DEFAULT_MESSAGE_MAX: u64 = 10 << 20;

/// What the rest of a listener depends on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Nature {
    pub(super) protocol: Protocol,
    pub(super) framing: Framing,
}

impl Nature {
    pub(super) fn is_websocket(self) -> bool {
        self.protocol.is_websocket()
    }

    /// Whether it is known where a message ends.
    pub(super) fn has_messages(self) -> bool {
        self.is_websocket() || self.framing != Framing::Raw
    }

    /// The words for messages about keys that do not apply.
    pub(super) fn name(self) -> String {
        if self.has_messages() {
            format!("a {} listener", self.protocol.as_str())
        } else {
            format!("a {} listener with raw framing", self.protocol.as_str())
        }
    }
}

/// Reads a listener; `hidden_paths` is left empty, since hooks are read after it.
pub(super) fn listener(
    reader: &Reader<'_>,
    name: &str,
    raw: &RawListener,
) -> Result<Listener, ConfigError> {
    let (protocol, listen) = reader.parse(&raw.listen, "listen", parse_listen)?;
    let nature = Nature {
        protocol,
        framing: framing(reader, protocol, &raw.framing)?,
    };
    only_websocket(reader, nature, raw)?;
    let (heartbeat, ping_data, ping_reply) =
        heartbeat::heartbeat(reader, nature, raw.heartbeat.get())?;
    let (accept_proxy, send_proxy) = proxy_protocol(reader, raw.proxy_protocol.get())?;
    Ok(Listener {
        name: Arc::from(name),
        protocol,
        listen,
        upstream: upstream(reader, protocol, &raw.upstream, &raw.upstream_tls)?,
        tls: tls(reader, protocol, &raw.listen, &raw.tls)?,
        connect_timeout: reader.or(&raw.connect_timeout, "connect_timeout", seconds(3))?,
        answer_timeout: reader.or(&raw.answer_timeout, "answer_timeout", seconds(10))?,
        http: reader.or(&raw.http, "http", HttpPolicy::Pass)?,
        http_timeout: reader.or(&raw.http_timeout, "http_timeout", seconds(60))?,
        framing: nature.framing,
        heartbeat,
        ping_data,
        ping_reply,
        identity: identity(reader, nature, &raw.identity)?,
        hidden_paths: Vec::new(),
        limits: limits(reader, nature, raw.limits.get(), !accept_proxy.is_empty())?,
        accept_proxy,
        send_proxy,
        trusted_proxies: match raw.trusted_proxies.get() {
            Some(block) => networks(reader, &block.value, "trusted_proxies")?,
            None => Vec::new(),
        },
    })
}

pub(super) const fn seconds(number: u64) -> Duration {
    Duration::from_secs(number)
}

fn framing(
    reader: &Reader<'_>,
    protocol: Protocol,
    raw: &Maybe<OrMap<Choice<PlainFraming>, RawFraming>>,
) -> Result<Framing, ConfigError> {
    let Some(raw) = raw.get() else {
        return Ok(Framing::Raw);
    };
    if protocol.is_websocket() {
        let place = match raw {
            OrMap::Scalar(leaf) => leaf.place,
            OrMap::Map(_, place) => *place,
        };
        let message = format!(
            "a {} listener has WebSocket messages: remove it, or listen on tcp:// or tls://",
            protocol.as_str()
        );
        return Err(reader.misplaced(place, "framing", &message));
    }
    Ok(match raw {
        OrMap::Scalar(leaf) => match reader.get(leaf, "framing")? {
            PlainFraming::Raw => Framing::Raw,
            PlainFraming::Line => Framing::Line {
                max: DEFAULT_MESSAGE_MAX,
            },
        },
        OrMap::Map(map, _) => Framing::LengthPrefix {
            bytes: reader.get(&map.length_prefix.bytes, "bytes")?,
            includes_itself: reader.get(&map.length_prefix.includes_itself, "includes_itself")?,
            max: reader.or(&map.length_prefix.max, "max", DEFAULT_MESSAGE_MAX)?,
        },
    })
}

/// Keys that need HTTP.
fn only_websocket(
    reader: &Reader<'_>,
    nature: Nature,
    raw: &RawListener,
) -> Result<(), ConfigError> {
    if nature.is_websocket() {
        return Ok(());
    }
    let present = [
        ("answer_timeout", raw.answer_timeout.get().map(|l| l.place)),
        ("http", raw.http.get().map(|l| l.place)),
        ("http_timeout", raw.http_timeout.get().map(|l| l.place)),
        (
            "trusted_proxies",
            raw.trusted_proxies.get().map(|l| l.place),
        ),
    ];
    for (key, place) in present {
        if let Some(place) = place {
            let message = format!(
                "{} has no HTTP: remove it, or listen on ws:// or wss://",
                nature.name()
            );
            return Err(reader.misplaced(place, key, &message));
        }
    }
    Ok(())
}

fn upstream(
    reader: &Reader<'_>,
    listener: Protocol,
    leaf: &Leaf<Text>,
    raw_tls: &Maybe<Block<RawUpstreamTls>>,
) -> Result<Upstream, ConfigError> {
    let url = reader.get(leaf, "upstream")?;
    let (protocol, address) = reader.parse(leaf, "upstream", parse_upstream)?;
    if let Some(protocol) = protocol
        && protocol.is_websocket() != listener.is_websocket()
    {
        let fitting = if listener.is_websocket() {
            "ws://, wss:// or unix:"
        } else {
            "tcp://, tls:// or unix:"
        };
        let message = format!(
            "a {} listener cannot relay to {}: write {fitting}",
            listener.as_str(),
            protocol.as_str()
        );
        return Err(reader.wrong(leaf, "upstream", &message));
    }
    let tls = match (protocol.is_some_and(Protocol::is_tls), raw_tls.get()) {
        (true, raw) => Some(upstream_tls(reader, leaf, &address, raw.map(|b| &b.value))?),
        (false, None) => None,
        (false, Some(block)) => {
            return Err(reader.misplaced(
                block.place,
                "upstream_tls",
                "this upstream has no TLS: remove it, or write `upstream` with wss:// or tls://",
            ));
        }
    };
    Ok(Upstream { url, address, tls })
}

fn identity(
    reader: &Reader<'_>,
    nature: Nature,
    raw: &Maybe<Vec<Block<RawIdentity>>>,
) -> Result<Vec<IdentityRule>, ConfigError> {
    let Some(raw) = raw.get() else {
        return Ok(if nature.is_websocket() {
            let header = http::HeaderName::from_static("sidebeat-uid");
            vec![IdentityRule::ResponseHeader(header)]
        } else {
            Vec::new()
        });
    };
    raw.iter()
        .map(|block| identity_rule(reader, nature, block))
        .collect()
}

fn identity_rule(
    reader: &Reader<'_>,
    nature: Nature,
    block: &Block<RawIdentity>,
) -> Result<IdentityRule, ConfigError> {
    let (key, rule) = match &block.value {
        RawIdentity::ResponseHeader(leaf) => (
            "response_header",
            IdentityRule::ResponseHeader(reader.get(leaf, "response_header")?),
        ),
        RawIdentity::Query(leaf) => ("query", IdentityRule::Query(reader.get(leaf, "query")?)),
        RawIdentity::Header(leaf) => ("header", IdentityRule::Header(reader.get(leaf, "header")?)),
        RawIdentity::Cookie(leaf) => ("cookie", IdentityRule::Cookie(reader.get(leaf, "cookie")?)),
        RawIdentity::FirstMessage(leaf) => {
            reader.get(leaf, "first_message")?;
            if !nature.has_messages() {
                let message = "raw framing knows no messages: remove it, or set `framing`";
                return Err(reader
                    .page
                    .at_value(block.place, format!("first_message: {message}")));
            }
            return Ok(IdentityRule::FirstMessage);
        }
    };
    if nature.is_websocket() {
        return Ok(rule);
    }
    let message = format!(
        "{key}: {} has no HTTP: remove it{}",
        nature.name(),
        if nature.has_messages() {
            ", or write `first_message: whole`"
        } else {
            ""
        }
    );
    Err(reader.page.at_value(block.place, message))
}

fn proxy_protocol(
    reader: &Reader<'_>,
    raw: Option<&RawProxyProtocol>,
) -> Result<(Vec<IpNet>, Option<ProxyVersion>), ConfigError> {
    let Some(raw) = raw else {
        return Ok((Vec::new(), None));
    };
    let accept = match raw.accept.get() {
        None => Vec::new(),
        Some(OrList::Scalar(leaf)) => {
            reader.get(leaf, "accept")?;
            Vec::new()
        }
        Some(OrList::List(list)) => networks(reader, list, "accept")?,
    };
    Ok((accept, reader.or(&raw.send, "send", None)?))
}

fn networks(
    reader: &Reader<'_>,
    list: &[Leaf<Network>],
    key: &str,
) -> Result<Vec<IpNet>, ConfigError> {
    list.iter().map(|leaf| reader.get(leaf, key)).collect()
}
