//! What the admin plane asks of the server, and what it gets back. The server owns the receiving end.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

/// The way from the admin plane to the server.
pub type Control = mpsc::Sender<Command>;

/// One request to the server; it answers by the sender in it.
#[derive(Debug)]
pub enum Command {
    /// Read configuration, certificates and secrets again, all or nothing; the error says why everything old stayed.
    Reload(oneshot::Sender<Result<ReloadReport, String>>),
    /// Begin a drain; during one it changes nothing and reports the one under way.
    Drain {
        /// Instead of `drain.spread`; zero is `off`.
        spread: Option<Duration>,
        /// Instead of `drain.delay`; zero is `off`.
        delay: Option<Duration>,
        /// Answered when the drain has begun.
        reply: oneshot::Sender<DrainReport>,
    },
    /// Describe the process.
    Status(oneshot::Sender<Status>),
    /// Show the effective configuration, without secrets.
    Config(oneshot::Sender<serde_json::Value>),
}

/// What a reload did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadReport {
    /// Counts the configurations that took effect since the start, which was number 1.
    pub generation: u64,
    /// Keys whose new value needs a restart, as paths into the file.
    pub restart_required: Vec<String>,
}

/// What a drain is going to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainReport {
    /// Streams open when it began.
    pub streams: u64,
    /// How long openings are still served, in milliseconds.
    pub delay_ms: u64,
    /// Over how long streams are closed after that, in milliseconds.
    pub spread_ms: u64,
}

/// `GET /v1/status`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Version of this program.
    pub version: String,
    /// Milliseconds since the start.
    pub uptime_ms: u64,
    /// What the process is doing.
    pub state: State,
    /// By name.
    pub listeners: BTreeMap<String, ListenerStatus>,
    /// By name.
    pub hooks: BTreeMap<String, HookStatus>,
    /// The hook log in `state_dir`; null without one.
    pub hook_log: Option<HookLogStatus>,
    /// Certificates of all listeners.
    pub certificates: Vec<CertificateStatus>,
    /// The configuration in effect.
    pub configuration: ConfigurationStatus,
}

/// What a process is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Taking openings.
    Running,
    /// A drain is under way, flush of the hooks included.
    Draining,
    /// The drain is over: no stream is left or its time is, and hooks are flushed or `hook_flush` is over.
    Drained,
}

/// One listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerStatus {
    /// URL of the bound address, with the real port.
    pub address: String,
    /// Open streams.
    pub streams: u64,
    /// Streams that are over and whose sockets are not closed yet.
    pub closing: u64,
    /// `limits.streams`, or what of it fits the file descriptors.
    pub streams_limit: u64,
}

/// One hook.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookStatus {
    /// Events that wait for delivery.
    pub queued: u64,
    /// Whether it answered 410 and is left alone until a reload.
    pub disabled: bool,
}

/// The hook log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookLogStatus {
    /// Size of the file in bytes.
    pub bytes: u64,
    /// Whether it cannot be written now, say on a full disk: new events would not survive a crash.
    pub failing: bool,
    /// Bytes that were damaged when it was read, and so were skipped: events may be missing or come again.
    pub skipped_bytes: u64,
}

/// One certificate of a listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateStatus {
    /// Name of the listener.
    pub listener: String,
    /// Place in the list, from 0, as in the metric.
    pub certificate: usize,
    /// When it expires, RFC 3339.
    pub not_after: String,
}

/// The configuration in effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigurationStatus {
    /// As in [`ReloadReport`].
    pub generation: u64,
    /// When it took effect, RFC 3339.
    pub loaded_at: String,
    /// Why the last reload was refused; null if it was not.
    pub last_error: Option<String>,
}

impl Status {
    /// Open and closing streams of all listeners.
    pub fn streams_left(&self) -> u64 {
        self.listeners
            .values()
            .map(|listener| listener.streams + listener.closing)
            .sum()
    }

    /// Undelivered events of all hooks.
    pub fn events_left(&self) -> u64 {
        self.hooks.values().map(|hook| hook.queued).sum()
    }
}
