//! A listener as written.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::kinds::{
    Count, File, Header, Network, NoNetworks, Off, OrOff, Percent, PrefixBytes, Size, Span, Text,
    YesNo,
};
use crate::config::leaf::{Block, Leaf, Maybe, OrList, OrMap};
use crate::config::ready::{ClientAuth, HttpPolicy, ProxyVersion, TlsVersion};
use crate::config::words::{Choice, FirstMessage, PlainFraming};
use crate::proto::heart::{IdleCounts, Mode, When};

/// One listening socket and the app behind it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct RawListener {
    /// ws://, wss://, tcp:// or tls:// with an IP address or localhost and a port; [::] is dual stack.
    pub(in crate::config) listen: Leaf<Text>,
    /// ws://, wss://, tcp:// or tls:// with host and port, or unix:/path; names are resolved at each dial.
    pub(in crate::config) upstream: Leaf<Text>,
    /// TLS towards the app, for wss and tls upstreams; system roots unless `ca` is given.
    #[serde(default)]
    pub(in crate::config) upstream_tls: Maybe<Block<RawUpstreamTls>>,
    /// TLS towards clients; needed for wss and tls.
    #[serde(default)]
    pub(in crate::config) tls: Maybe<Block<RawTls>>,
    /// The longest time to reach the app.
    #[serde(default)]
    #[schemars(extend("default" = "3s"))]
    pub(in crate::config) connect_timeout: Maybe<Leaf<Span>>,
    /// The longest time for the app's answer to a WebSocket opening.
    #[serde(default)]
    #[schemars(extend("default" = "10s"))]
    pub(in crate::config) answer_timeout: Maybe<Leaf<Span>>,
    /// ws and wss: pass or refuse ordinary HTTP requests on the same port.
    #[serde(default)]
    #[schemars(extend("default" = "pass"))]
    pub(in crate::config) http: Maybe<Leaf<Choice<HttpPolicy>>>,
    /// The longest time to the head of an ordinary answer, and for stalls in bodies.
    #[serde(default)]
    #[schemars(extend("default" = "60s"))]
    pub(in crate::config) http_timeout: Maybe<Leaf<Span>>,
    /// tcp and tls: where a message ends.
    #[serde(default)]
    #[schemars(extend("default" = "raw"))]
    pub(in crate::config) framing: Maybe<OrMap<Choice<PlainFraming>, RawFraming>>,
    /// When a stream counts as dead, and how it is asked.
    #[serde(default)]
    pub(in crate::config) heartbeat: Maybe<RawHeartbeat>,
    /// Where a stream's uid comes from; the first rule that yields wins.
    #[serde(default)]
    pub(in crate::config) identity: Maybe<Vec<Block<RawIdentity>>>,
    /// How much clients may ask for.
    #[serde(default)]
    pub(in crate::config) limits: Maybe<RawLimits>,
    /// The PROXY protocol, in and out.
    #[serde(default)]
    pub(in crate::config) proxy_protocol: Maybe<RawProxyProtocol>,
    /// Networks whose X-Forwarded-* headers are believed.
    #[serde(default)]
    #[schemars(extend("default" = []))]
    pub(in crate::config) trusted_proxies: Maybe<Block<Vec<Leaf<Network>>>>,
}

/// TLS towards the app.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct RawUpstreamTls {
    /// PEM file of the authorities to trust instead of the system's.
    pub(in crate::config) ca: Maybe<Leaf<File>>,
    /// The name to ask for and to verify; the upstream's host unless given.
    pub(in crate::config) server_name: Maybe<Leaf<Text>>,
    /// PEM file of our certificate chain, with `key`.
    pub(in crate::config) cert: Maybe<Leaf<File>>,
    /// PEM file of our private key, with `cert`.
    pub(in crate::config) key: Maybe<Leaf<File>>,
}

/// TLS towards clients.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct RawTls {
    /// Chosen by SNI from the names in each; the first is the default.
    #[schemars(length(min = 1))]
    pub(in crate::config) certificates: Block<Vec<RawCertificate>>,
    /// PEM file of the authorities of client certificates: mutual TLS is off unless set.
    #[serde(default)]
    pub(in crate::config) client_ca: Maybe<Leaf<File>>,
    /// Whether a client must present a certificate; needs `client_ca`.
    #[serde(default)]
    #[schemars(extend("default" = "required"))]
    pub(in crate::config) client_auth: Maybe<Leaf<Choice<ClientAuth>>>,
    /// The oldest version accepted.
    #[serde(default)]
    #[schemars(extend("default" = "1.2"))]
    pub(in crate::config) min_version: Maybe<Leaf<Choice<TlsVersion>>>,
}

/// A certificate chain and its key.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct RawCertificate {
    /// PEM file of the chain.
    pub(in crate::config) cert: Leaf<File>,
    /// PEM file of the private key.
    pub(in crate::config) key: Leaf<File>,
}

/// A framing with parameters.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct RawFraming {
    /// Messages begin with their big-endian length.
    pub(in crate::config) length_prefix: RawLengthPrefix,
}

/// Messages begin with their big-endian length.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct RawLengthPrefix {
    /// How many bytes the length takes.
    pub(in crate::config) bytes: Leaf<PrefixBytes>,
    /// Whether the length counts its own bytes.
    pub(in crate::config) includes_itself: Leaf<YesNo>,
    /// The longest message.
    #[serde(default)]
    #[schemars(extend("default" = "10MiB"))]
    pub(in crate::config) max: Maybe<Leaf<Size>>,
}

/// When a stream counts as dead, and how it is asked.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct RawHeartbeat {
    /// The longest silence of a client: 55s on ws and wss, off on tcp and tls unless given.
    pub(in crate::config) idle_limit: Maybe<Leaf<OrOff<Span>>>,
    /// What ends a silence: any byte, or only complete data messages.
    #[schemars(extend("default" = "traffic"))]
    pub(in crate::config) idle_counts: Maybe<Leaf<Choice<IdleCounts>>>,
    /// Heartbeats to the client: on for ws and wss, off for tcp and tls until `data` is given.
    pub(in crate::config) ping: Maybe<OrMap<Off, RawPing>>,
    /// Masked Ping frames to a ws upstream this often.
    #[schemars(extend("default" = "off"))]
    pub(in crate::config) upstream_ping: Maybe<Leaf<OrOff<Span>>>,
    /// The longest silence of the app.
    #[schemars(extend("default" = "off"))]
    pub(in crate::config) upstream_idle_limit: Maybe<Leaf<OrOff<Span>>>,
    /// The longest time without a data message in either direction.
    #[schemars(extend("default" = "off"))]
    pub(in crate::config) quiet_limit: Maybe<Leaf<OrOff<Span>>>,
    /// The client's first complete message must come this soon.
    #[schemars(extend("default" = "off"))]
    pub(in crate::config) first_message_limit: Maybe<Leaf<OrOff<Span>>>,
    /// The longest life of a stream.
    #[schemars(extend("default" = "off"))]
    pub(in crate::config) max_age: Maybe<Leaf<OrOff<Span>>>,
    /// How much earlier than `max_age` a stream may end, drawn for each.
    #[schemars(extend("default" = "10%"))]
    pub(in crate::config) max_age_jitter: Maybe<Leaf<Percent>>,
    /// The longest time that bytes wait for a side that takes none: idle_limit, 60s if that is off or shorter.
    pub(in crate::config) stall_limit: Maybe<Leaf<OrOff<Span>>>,
    /// tcp and tls: the longest silence of one side after the other's FIN.
    #[schemars(extend("default" = "60s"))]
    pub(in crate::config) half_close_limit: Maybe<Leaf<OrOff<Span>>>,
    /// The longest time for the closing handshake.
    #[schemars(extend("default" = "5s"))]
    pub(in crate::config) close_timeout: Maybe<Leaf<Span>>,
    /// Close what exceeds a limit, or only report it.
    #[schemars(extend("default" = "enforce"))]
    pub(in crate::config) mode: Maybe<Leaf<Choice<Mode>>>,
}

/// Heartbeats to the client.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct RawPing {
    /// How often: 25s, or 45 % of idle_limit if that is shorter.
    pub(in crate::config) interval: Maybe<Leaf<Span>>,
    /// How much each wait differs from `interval`.
    #[schemars(extend("default" = "10%"))]
    pub(in crate::config) jitter: Maybe<Leaf<Percent>>,
    /// Only to a client not heard for `interval`, or always.
    #[schemars(extend("default" = "idle"))]
    pub(in crate::config) when: Maybe<Leaf<Choice<When>>>,
    /// An application heartbeat instead of a Ping frame: text, hex:… or base64:….
    pub(in crate::config) data: Maybe<Leaf<Text>>,
    /// A client message equal to this counts as heard and is not passed on.
    pub(in crate::config) reply: Maybe<Leaf<Text>>,
}

/// Where a uid comes from.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(in crate::config) enum RawIdentity {
    /// A header that the app sets on its 101 answer.
    ResponseHeader(Leaf<Header>),
    /// A parameter of the request's query; a client can forge it.
    Query(Leaf<Text>),
    /// A header of the request; a client can forge it.
    Header(Leaf<Header>),
    /// A cookie of the request; a client can forge it.
    Cookie(Leaf<Text>),
    /// The client's first message; a client can forge it.
    FirstMessage(Leaf<Choice<FirstMessage>>),
}

/// How much clients may ask for.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct RawLimits {
    /// Open streams at most.
    #[schemars(extend("default" = 100_000))]
    pub(in crate::config) streams: Maybe<Leaf<Count>>,
    /// Open streams of one client address at most.
    #[schemars(extend("default" = "off"))]
    pub(in crate::config) streams_per_ip: Maybe<Leaf<OrOff<Count>>>,
    /// New connections a second at most.
    #[schemars(extend("default" = "off"))]
    pub(in crate::config) opens_per_second: Maybe<Leaf<OrOff<Count>>>,
    /// New connections a second of one client address at most.
    #[schemars(extend("default" = "off"))]
    pub(in crate::config) opens_per_second_per_ip: Maybe<Leaf<OrOff<Count>>>,
    /// From accept to the end of the head, PROXY header and TLS included.
    #[schemars(extend("default" = "10s"))]
    pub(in crate::config) handshake_timeout: Maybe<Leaf<Span>>,
    /// The largest request head, at least 8KiB.
    #[schemars(extend("default" = "16KiB"))]
    pub(in crate::config) request_head: Maybe<Leaf<Size>>,
    /// The largest message.
    #[schemars(extend("default" = "off"))]
    pub(in crate::config) message: Maybe<Leaf<OrOff<Size>>>,
}

/// The PROXY protocol, in and out.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct RawProxyProtocol {
    /// Networks from which the header (v1 or v2) is required.
    #[schemars(extend("default" = "off"))]
    pub(in crate::config) accept: Maybe<OrList<NoNetworks, Leaf<Network>>>,
    /// The version to send to the app.
    #[schemars(extend("default" = "off"))]
    pub(in crate::config) send: Maybe<Leaf<OrOff<Choice<ProxyVersion>>>>,
}
