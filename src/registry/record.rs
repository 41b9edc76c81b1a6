//! A stream as the API, the events and the log show it.

#![expect(
    missing_docs,
    reason = "the fields are the contract's own words; each struct and every unit is explained"
)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::proto::cause::{Cause, Reason};

/// One stream at one instant; every field always present, unknown is null.
#[derive(Debug, Clone, Serialize)]
pub struct StreamRecord {
    pub id: Uuid,
    pub listener: Arc<str>,
    /// `ws`, `wss`, `tcp`, `tls`.
    pub protocol: &'static str,
    /// `open`, `half_closed`, `overdue`.
    pub state: &'static str,
    pub uid: Option<String>,
    /// `response_header`, `query`, `header`, `cookie`, `first_message`, `api`.
    pub uid_source: Option<&'static str>,
    pub tags: Vec<String>,
    pub client: ClientRecord,
    pub upstream: UpstreamRecord,
    pub host: Option<String>,
    pub path: Option<String>,
    pub subprotocol: Option<String>,
    pub user_agent: Option<String>,
    /// RFC 3339 with milliseconds, as every time here.
    pub opened_at: String,
    pub last_client_at: Option<String>,
    pub last_upstream_at: Option<String>,
    pub idle_ms: Option<u64>,
    pub deadline_at: Option<String>,
    pub deadline_reason: Option<&'static str>,
    pub bytes: Both,
    pub messages: Both,
    pub pings: PingRecord,
}

/// The client's side.
#[derive(Debug, Clone, Serialize)]
pub struct ClientRecord {
    pub address: SocketAddr,
    /// `socket`, `proxy_protocol`, `forwarded`.
    pub source: &'static str,
}

/// The app's side.
#[derive(Debug, Clone, Serialize)]
pub struct UpstreamRecord {
    pub address: String,
    pub local_address: Option<SocketAddr>,
}

/// A figure of each side; `None` (null) after a crash.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Both {
    pub client: Option<u64>,
    pub upstream: Option<u64>,
}

/// Heartbeats to the client; the round trip is that of the last answered one, in milliseconds.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct PingRecord {
    pub sent: Option<u64>,
    pub answered: Option<u64>,
    pub rtt_ms: Option<f64>,
}

/// The closing record of a stream: the stream as it was in the instant in which its cause was fixed.
#[derive(Debug, Clone, Serialize)]
pub struct ClosedRecord {
    #[serde(flatten)]
    pub stream: StreamRecord,
    pub closed_at: String,
    pub duration_ms: u64,
    /// The word of `Reason`.
    pub reason: &'static str,
    pub by: &'static str,
    pub close_code: Option<u16>,
    pub close_reason: Option<String>,
    pub detail: Option<String>,
    pub idle_limit_ms: Option<u64>,
    /// How late the deadline that ended the stream was met; null when no deadline did.
    pub lateness_ms: Option<f64>,
    /// Open streams of the same uid that are left in this process.
    pub uid_streams_left: Option<usize>,
    /// The cause behind `reason`, for metrics and logs.
    #[serde(skip)]
    pub cause: Cause,
}

/// A stream that has ended, as the API remembers it.
#[derive(Debug, Clone, Serialize)]
pub struct Ended {
    #[serde(flatten)]
    pub record: Arc<ClosedRecord>,
    pub evidence: Evidence,
}

/// What a verdict about a silent side rests on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// How long nothing had been heard from the side that was judged, the client in doubt.
    pub silent_ms: Option<u64>,
    /// After how much of that silence it was asked, at most the last four times; it answered none of them.
    pub unanswered_pings_ms: Vec<u64>,
}

impl Evidence {
    /// The evidence of a silence in which the side was asked after these times.
    pub fn new(silent: Duration, asked_after: &[Duration]) -> Self {
        let ms = |duration: &Duration| duration.as_millis() as u64;
        Self {
            silent_ms: Some(ms(&silent)),
            unanswered_pings_ms: asked_after.iter().map(ms).collect(),
        }
    }
}

/// A stream that exceeded a limit under `mode: observe`.
#[derive(Debug, Clone, Serialize)]
pub struct OverdueRecord {
    #[serde(flatten)]
    pub stream: StreamRecord,
    #[serde(serialize_with = "word")]
    pub reason: Reason,
    pub idle_limit_ms: Option<u64>,
}

fn word<S: serde::Serializer>(reason: &Reason, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(reason.as_str())
}
