//! The configuration file as written; doc comments become the descriptions of the JSON Schema.

mod listener;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Deserialize;

use super::kinds::{AutoOrCount, CloseCode, Count, File, Off, OrOff, Span, Text};
use super::leaf::{Block, Leaf, Maybe, OrMap};
use super::ready::{EventKind, LogFormat};
use super::words::Choice;
pub(super) use listener::*;

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
