//! The configuration, validated and ready: nothing later can fail on it.

mod listener;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use indexmap::IndexMap;

pub use listener::*;

/// Everything that `run` needs.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// By name, in the order of the file; at least one.
    pub listeners: IndexMap<String, Arc<Listener>>,
    /// By name, in the order of the file.
    pub hooks: IndexMap<String, Hook>,
    /// Where the hook log lives; `None`: in memory only.
    pub state_dir: Option<PathBuf>,
    /// The stream API; `None`: off.
    pub admin: Option<Admin>,
    /// Metrics and probes; `None`: off.
    pub telemetry: Option<SocketAddr>,
    /// What happens between SIGTERM and the end.
    pub drain: Drain,
    /// Worker threads; `auto` is resolved when the server starts.
    pub workers: Option<usize>,
    /// Log output.
    pub log: Log,
}

impl Config {
    /// Every file that the configuration names, in order: a change of one's content is a reason to load again.
    pub fn files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        for listener in self.listeners.values() {
            if let Some(tls) = &listener.tls {
                for pair in &tls.certificates {
                    files.extend([pair.cert.clone(), pair.key.clone()]);
                }
                files.extend(tls.client_ca.clone());
            }
            if let Some(tls) = &listener.upstream.tls {
                files.extend(tls.ca.clone());
                if let Some(pair) = &tls.identity {
                    files.extend([pair.cert.clone(), pair.key.clone()]);
                }
            }
        }
        for hook in self.hooks.values() {
            files.extend(hook.secret_file.clone());
            files.extend(hook.ca.clone());
            files.extend(hook.bearer_token_file.clone());
        }
        files.extend(self.admin.as_ref().and_then(|a| a.token_file.clone()));
        files
    }
}

/// A receiver of events.
#[derive(Debug, Clone, PartialEq)]
pub struct Hook {
    /// http or https, with a host.
    pub url: http::Uri,
    /// At least one, none twice.
    pub events: Vec<EventKind>,
    /// Of which listeners; `None`: all.
    pub listeners: Option<Vec<String>>,
    /// Standard Webhooks keys, one a line.
    pub secret_file: Option<PathBuf>,
    /// PEM file of the authorities to trust; `None`: the system's.
    pub ca: Option<PathBuf>,
    /// Holds a bearer token.
    pub bearer_token_file: Option<PathBuf>,
    /// The longest time for one request.
    pub timeout: Duration,
    /// Requests a second at most.
    pub rate: u32,
    /// How long an event is tried, from when it happened.
    pub give_up_after: Duration,
}

/// The kinds of events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    /// A stream opened.
    Opened,
    /// A stream is over.
    Closed,
    /// A limit ran out under `mode: observe`.
    Overdue,
    /// The process started.
    Started,
    /// A drain began.
    Draining,
}

impl EventKind {
    /// The word in the file and the last part of an event's type.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Opened => "opened",
            Self::Closed => "closed",
            Self::Overdue => "overdue",
            Self::Started => "started",
            Self::Draining => "draining",
        }
    }
}

/// The stream API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// Where it listens.
    pub listen: AdminAddress,
    /// Holds the token; always there unless the address is loopback or a unix socket.
    pub token_file: Option<PathBuf>,
    /// Host names accepted besides IP addresses and localhost, in lower case.
    pub hosts: Vec<String>,
}

/// Where the stream API listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AdminAddress {
    /// An IP socket.
    Tcp(SocketAddr),
    /// A socket in the file system (0660).
    Unix(PathBuf),
}

/// What happens between SIGTERM and the end; `off` is zero for delay and spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drain {
    /// How long openings are still served.
    pub delay: Duration,
    /// Over which time streams are closed.
    pub spread: Duration,
    /// 1000 to 1003, 1007 to 1013 or 3000 to 4999.
    pub close_code: u16,
    /// How long hooks may take to deliver what is left.
    pub hook_flush: Duration,
}

/// Log output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Log {
    /// How a line looks.
    pub format: LogFormat,
    /// The least severe level written.
    pub level: tracing::Level,
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    Auto,
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}
