//! The configuration file as written; doc comments become the descriptions of the JSON Schema.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Deserialize;

use super::kinds::{
    AutoOrCount, CloseCode, Count, File, Header, Network, NoNetworks, Off, OrOff, Percent,
    PrefixBytes, Size, Span, Text, YesNo,
};
use super::leaf::{Block, Leaf, Maybe, OrList, OrMap};
use super::ready::{ClientAuth, EventKind, HttpPolicy, LogFormat, ProxyVersion, TlsVersion};
use super::words::{Choice, FirstMessage, PlainFraming};
use crate::proto::heart::{IdleCounts, Mode, When};

/// The configuration of sidebeat.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(title = "sidebeat configuration")]
pub(super) struct RawConfig {
    /// The sockets to listen on, by name; the name is a label in metrics and a field in events.
    pub(super) listeners: Maybe<IndexMap<String, Block<RawListener>>>,
    /// Where events are sent, by name.
    pub(super) hooks: Maybe<IndexMap<String, Block<RawHook>>>,
    /// A directory (made 0700) for the hook log, which survives a crash of the process.
    #[schemars(extend("default" = "off"))]
    pub(super) state_dir: Maybe<Leaf<OrOff<File>>>,
    /// The stream API and status page.
    pub(super) admin: Maybe<OrMap<Off, RawAdmin>>,
    /// /metrics, /livez, /readyz and /startupz, read-only.
    pub(super) telemetry: Maybe<OrMap<Off, RawTelemetry>>,
    /// What happens between SIGTERM and the end.
    pub(super) drain: Maybe<RawDrain>,
    /// Worker threads.
    #[schemars(extend("default" = "auto"))]
    pub(super) workers: Maybe<Leaf<AutoOrCount>>,
    /// Log output.
    pub(super) log: Maybe<RawLog>,
}

/// One listening socket and the app behind it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawListener {
    /// ws://, wss://, tcp:// or tls:// with an IP address or localhost and a port; [::] is dual stack.
    pub(super) listen: Leaf<Text>,
    /// ws://, wss://, tcp:// or tls:// with host and port, or unix:/path; names are resolved at each dial.
    pub(super) upstream: Leaf<Text>,
    /// TLS towards the app, for wss and tls upstreams; system roots unless `ca` is given.
    #[serde(default)]
    pub(super) upstream_tls: Maybe<Block<RawUpstreamTls>>,
    /// TLS towards clients; needed for wss and tls.
    #[serde(default)]
    pub(super) tls: Maybe<Block<RawTls>>,
    /// The longest time to reach the app.
    #[serde(default)]
    #[schemars(extend("default" = "3s"))]
    pub(super) connect_timeout: Maybe<Leaf<Span>>,
    /// The longest time for the app's answer to a WebSocket opening.
    #[serde(default)]
    #[schemars(extend("default" = "10s"))]
    pub(super) answer_timeout: Maybe<Leaf<Span>>,
    /// ws and wss: pass or refuse ordinary HTTP requests on the same port.
    #[serde(default)]
    #[schemars(extend("default" = "pass"))]
    pub(super) http: Maybe<Leaf<Choice<HttpPolicy>>>,
    /// The longest time to the head of an ordinary answer, and for stalls in bodies.
    #[serde(default)]
    #[schemars(extend("default" = "60s"))]
    pub(super) http_timeout: Maybe<Leaf<Span>>,
    /// tcp and tls: where a message ends.
    #[serde(default)]
    #[schemars(extend("default" = "raw"))]
    pub(super) framing: Maybe<OrMap<Choice<PlainFraming>, RawFraming>>,
    /// When a stream counts as dead, and how it is asked.
    #[serde(default)]
    pub(super) heartbeat: Maybe<RawHeartbeat>,
    /// Where a stream's uid comes from; the first rule that yields wins.
    #[serde(default)]
    pub(super) identity: Maybe<Vec<Block<RawIdentity>>>,
    /// How much clients may ask for.
    #[serde(default)]
    pub(super) limits: Maybe<RawLimits>,
    /// The PROXY protocol, in and out.
    #[serde(default)]
    pub(super) proxy_protocol: Maybe<RawProxyProtocol>,
    /// Networks whose X-Forwarded-* headers are believed.
    #[serde(default)]
    #[schemars(extend("default" = []))]
    pub(super) trusted_proxies: Maybe<Block<Vec<Leaf<Network>>>>,
}

/// TLS towards the app.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawUpstreamTls {
    /// PEM file of the authorities to trust instead of the system's.
    pub(super) ca: Maybe<Leaf<File>>,
    /// The name to ask for and to verify; the upstream's host unless given.
    pub(super) server_name: Maybe<Leaf<Text>>,
    /// PEM file of our certificate chain, with `key`.
    pub(super) cert: Maybe<Leaf<File>>,
    /// PEM file of our private key, with `cert`.
    pub(super) key: Maybe<Leaf<File>>,
}

/// TLS towards clients.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTls {
    /// Chosen by SNI from the names in each; the first is the default.
    #[schemars(length(min = 1))]
    pub(super) certificates: Block<Vec<RawCertificate>>,
    /// PEM file of the authorities of client certificates: mutual TLS is off unless set.
    #[serde(default)]
    pub(super) client_ca: Maybe<Leaf<File>>,
    /// Whether a client must present a certificate; needs `client_ca`.
    #[serde(default)]
    #[schemars(extend("default" = "required"))]
    pub(super) client_auth: Maybe<Leaf<Choice<ClientAuth>>>,
    /// The oldest version accepted.
    #[serde(default)]
    #[schemars(extend("default" = "1.2"))]
    pub(super) min_version: Maybe<Leaf<Choice<TlsVersion>>>,
}

/// A certificate chain and its key.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawCertificate {
    /// PEM file of the chain.
    pub(super) cert: Leaf<File>,
    /// PEM file of the private key.
    pub(super) key: Leaf<File>,
}

/// A framing with parameters.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawFraming {
    /// Messages begin with their big-endian length.
    pub(super) length_prefix: RawLengthPrefix,
}

/// Messages begin with their big-endian length.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawLengthPrefix {
    /// How many bytes the length takes.
    pub(super) bytes: Leaf<PrefixBytes>,
    /// Whether the length counts its own bytes.
    pub(super) includes_itself: Leaf<YesNo>,
    /// The longest message.
    #[serde(default)]
    #[schemars(extend("default" = "10MiB"))]
    pub(super) max: Maybe<Leaf<Size>>,
}

/// When a stream counts as dead, and how it is asked.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawHeartbeat {
    /// The longest silence of a client: 55s on ws and wss, off on tcp and tls unless given.
    pub(super) idle_limit: Maybe<Leaf<OrOff<Span>>>,
    /// What ends a silence: any byte, or only complete data messages.
    #[schemars(extend("default" = "traffic"))]
    pub(super) idle_counts: Maybe<Leaf<Choice<IdleCounts>>>,
    /// Heartbeats to the client: on for ws and wss, off for tcp and tls until `data` is given.
    pub(super) ping: Maybe<OrMap<Off, RawPing>>,
    /// Masked Ping frames to a ws upstream this often.
    #[schemars(extend("default" = "off"))]
    pub(super) upstream_ping: Maybe<Leaf<OrOff<Span>>>,
    /// The longest silence of the app.
    #[schemars(extend("default" = "off"))]
    pub(super) upstream_idle_limit: Maybe<Leaf<OrOff<Span>>>,
    /// The longest time without a data message in either direction.
    #[schemars(extend("default" = "off"))]
    pub(super) quiet_limit: Maybe<Leaf<OrOff<Span>>>,
    /// The client's first complete message must come this soon.
    #[schemars(extend("default" = "off"))]
    pub(super) first_message_limit: Maybe<Leaf<OrOff<Span>>>,
    /// The longest life of a stream.
    #[schemars(extend("default" = "off"))]
    pub(super) max_age: Maybe<Leaf<OrOff<Span>>>,
    /// How much earlier than `max_age` a stream may end, drawn for each.
    #[schemars(extend("default" = "10%"))]
    pub(super) max_age_jitter: Maybe<Leaf<Percent>>,
    /// The longest time that bytes wait for a side that takes none: idle_limit, 60s if that is off or shorter.
    pub(super) stall_limit: Maybe<Leaf<OrOff<Span>>>,
    /// tcp and tls: the longest silence of one side after the other's FIN.
    #[schemars(extend("default" = "60s"))]
    pub(super) half_close_limit: Maybe<Leaf<OrOff<Span>>>,
    /// The longest time for the closing handshake.
    #[schemars(extend("default" = "5s"))]
    pub(super) close_timeout: Maybe<Leaf<Span>>,
    /// Close what exceeds a limit, or only report it.
    #[schemars(extend("default" = "enforce"))]
    pub(super) mode: Maybe<Leaf<Choice<Mode>>>,
}

/// Heartbeats to the client.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawPing {
    /// How often: 25s, or 45 % of idle_limit if that is shorter.
    pub(super) interval: Maybe<Leaf<Span>>,
    /// How much each wait differs from `interval`.
    #[schemars(extend("default" = "10%"))]
    pub(super) jitter: Maybe<Leaf<Percent>>,
    /// Only to a client not heard for `interval`, or always.
    #[schemars(extend("default" = "idle"))]
    pub(super) when: Maybe<Leaf<Choice<When>>>,
    /// An application heartbeat instead of a Ping frame: text, hex:… or base64:….
    pub(super) data: Maybe<Leaf<Text>>,
    /// A client message equal to this counts as heard and is not passed on.
    pub(super) reply: Maybe<Leaf<Text>>,
}

/// Where a uid comes from.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum RawIdentity {
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
pub(super) struct RawLimits {
    /// Open streams at most.
    #[schemars(extend("default" = 100_000))]
    pub(super) streams: Maybe<Leaf<Count>>,
    /// Open streams of one client address at most.
    #[schemars(extend("default" = "off"))]
    pub(super) streams_per_ip: Maybe<Leaf<OrOff<Count>>>,
    /// New connections a second at most.
    #[schemars(extend("default" = "off"))]
    pub(super) opens_per_second: Maybe<Leaf<OrOff<Count>>>,
    /// New connections a second of one client address at most.
    #[schemars(extend("default" = "off"))]
    pub(super) opens_per_second_per_ip: Maybe<Leaf<OrOff<Count>>>,
    /// From accept to the end of the head, PROXY header and TLS included.
    #[schemars(extend("default" = "10s"))]
    pub(super) handshake_timeout: Maybe<Leaf<Span>>,
    /// The largest request head, at least 8KiB.
    #[schemars(extend("default" = "16KiB"))]
    pub(super) request_head: Maybe<Leaf<Size>>,
    /// The largest message.
    #[schemars(extend("default" = "off"))]
    pub(super) message: Maybe<Leaf<OrOff<Size>>>,
}

/// The PROXY protocol, in and out.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawProxyProtocol {
    /// Networks from which the header (v1 or v2) is required.
    #[schemars(extend("default" = "off"))]
    pub(super) accept: Maybe<OrList<NoNetworks, Leaf<Network>>>,
    /// The version to send to the app.
    #[schemars(extend("default" = "off"))]
    pub(super) send: Maybe<Leaf<OrOff<Choice<ProxyVersion>>>>,
}

/// A receiver of events.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RawHook {
    /// http:// or https:// URL that events are posted to.
    pub(super) url: Leaf<Text>,
    /// Which events.
    #[serde(default)]
    #[schemars(length(min = 1), extend("default" = ["closed"]))]
    pub(super) events: Maybe<Block<Vec<Leaf<Choice<EventKind>>>>>,
    /// Of which listeners; of all unless given.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub(super) listeners: Maybe<Block<Vec<Leaf<Text>>>>,
    /// Standard Webhooks keys, one a line (`whsec_` + base64, else the raw line); every line signs.
    #[serde(default)]
    pub(super) secret_file: Maybe<Leaf<File>>,
    /// PEM file of the authorities to trust instead of the system's.
    #[serde(default)]
    pub(super) ca: Maybe<Leaf<File>>,
    /// File with a bearer token.
    #[serde(default)]
    pub(super) bearer_token_file: Maybe<Leaf<File>>,
    /// The longest time for one request.
    #[serde(default)]
    #[schemars(extend("default" = "10s"))]
    pub(super) timeout: Maybe<Leaf<Span>>,
    /// Requests a second at most.
    #[serde(default)]
    #[schemars(extend("default" = 500))]
    pub(super) rate: Maybe<Leaf<Count>>,
    /// How long an event is tried, from when it happened.
    #[serde(default)]
    #[schemars(extend("default" = "15m"))]
    pub(super) give_up_after: Maybe<Leaf<Span>>,
}

/// The stream API and status page.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawAdmin {
    /// IP address and port, or unix:/path (0660); an address that is not loopback needs `token_file`.
    #[schemars(extend("default" = "127.0.0.1:9600"))]
    pub(super) listen: Maybe<Leaf<Text>>,
    /// File with the token that callers must present.
    pub(super) token_file: Maybe<Leaf<File>>,
    /// Host names accepted besides IP addresses and localhost.
    #[schemars(extend("default" = []))]
    pub(super) hosts: Maybe<Vec<Leaf<Text>>>,
}

/// /metrics, /livez, /readyz and /startupz, read-only.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawTelemetry {
    /// IP address and port.
    #[schemars(extend("default" = "[::]:9601"))]
    pub(super) listen: Maybe<Leaf<Text>>,
}

/// What happens between SIGTERM and the end.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawDrain {
    /// How long openings are still served.
    #[schemars(extend("default" = "5s"))]
    pub(super) delay: Maybe<Leaf<OrOff<Span>>>,
    /// Over which time streams are closed.
    #[schemars(extend("default" = "10s"))]
    pub(super) spread: Maybe<Leaf<OrOff<Span>>>,
    /// The WebSocket close code.
    #[schemars(extend("default" = 1012))]
    pub(super) close_code: Maybe<Leaf<CloseCode>>,
    /// How long hooks may take to deliver what is left.
    #[schemars(extend("default" = "5s"))]
    pub(super) hook_flush: Maybe<Leaf<Span>>,
}

/// Log output.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RawLog {
    /// auto: text on a terminal, JSON elsewhere.
    #[schemars(extend("default" = "auto"))]
    pub(super) format: Maybe<Leaf<Choice<LogFormat>>>,
    /// The least severe level written.
    #[schemars(extend("default" = "info"))]
    pub(super) level: Maybe<Leaf<Choice<tracing::Level>>>,
}
