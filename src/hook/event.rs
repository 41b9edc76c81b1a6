//! Events as they go out: CloudEvents 1.0, structured JSON, built once and never again.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use serde::Serialize;
use uuid::Uuid;

use super::queue::{Keys, Worth};
use crate::config::EventKind;
use crate::registry::record::{ClosedRecord, OverdueRecord, StreamRecord};

/// Every kind of event, in the order of the documentation.
pub(super) const KINDS: [EventKind; 5] = [
    EventKind::Opened,
    EventKind::Closed,
    EventKind::Overdue,
    EventKind::Started,
    EventKind::Draining,
];

/// What happened.
#[derive(Debug, Clone)]
pub enum Event {
    /// A stream opened.
    Opened(Arc<StreamRecord>),
    /// A stream is over.
    Closed(Arc<ClosedRecord>),
    /// A limit ran out under `mode: observe`.
    Overdue(Arc<OverdueRecord>),
    /// This process started.
    Started {
        /// The boot id of the process before, found in the log.
        former_boot_id: Option<String>,
        /// Streams that the former process left open.
        recovered: u64,
    },
    /// A drain began.
    Draining {
        /// Streams open at its start.
        streams: u64,
        /// How long openings are still served.
        delay: Duration,
        /// Over how long the streams are closed.
        spread: Duration,
    },
}

impl Event {
    /// The word of `events:` for it.
    pub fn kind(&self) -> EventKind {
        match self {
            Self::Opened(_) => EventKind::Opened,
            Self::Closed(_) => EventKind::Closed,
            Self::Overdue(_) => EventKind::Overdue,
            Self::Started { .. } => EventKind::Started,
            Self::Draining { .. } => EventKind::Draining,
        }
    }

    /// The listener of its stream; `None` for an event of the whole process.
    pub fn listener(&self) -> Option<&str> {
        self.stream().map(|stream| &*stream.listener)
    }

    fn stream(&self) -> Option<&StreamRecord> {
        match self {
            Self::Opened(stream) => Some(stream),
            Self::Closed(record) => Some(&record.stream),
            Self::Overdue(record) => Some(&record.stream),
            Self::Started { .. } | Self::Draining { .. } => None,
        }
    }
}

/// The CloudEvents `type` of a kind of event.
pub fn type_name(kind: EventKind) -> &'static str {
    match kind {
        EventKind::Opened => "sidebeat.stream.opened",
        EventKind::Closed => "sidebeat.stream.closed",
        EventKind::Overdue => "sidebeat.stream.overdue",
        EventKind::Started => "sidebeat.proxy.started",
        EventKind::Draining => "sidebeat.proxy.draining",
    }
}

/// An event ready to be sent: what the request needs and what orders it. Together with its listener it is all that a
/// log has to keep.
#[derive(Debug)]
pub(super) struct Message {
    /// The duplicate key, `evt_` and a UUID; no dot, which separates the parts that a webhook signature covers.
    pub(super) id: String,
    pub(super) kind: EventKind,
    pub(super) keys: Keys,
    /// When it happened.
    pub(super) at: SystemTime,
    /// The CloudEvent; the same bytes at every try.
    pub(super) body: Bytes,
}

impl Message {
    /// Writes the CloudEvent. `sequence` rises per `source`.
    pub(super) fn new(event: &Event, at: SystemTime, source: &str, sequence: u64) -> Self {
        let id = format!("evt_{}", Uuid::now_v7().simple());
        let stream = event.stream();
        let subject = stream.map(|stream| stream.id.to_string());
        let uid = stream.and_then(|stream| stream.uid.as_deref());
        let envelope = Envelope {
            specversion: "1.0",
            kind: type_name(event.kind()),
            source,
            id: &id,
            time: humantime::format_rfc3339_millis(at.max(UNIX_EPOCH)).to_string(),
            sequence: format!("{sequence:020}"),
            partitionkey: uid.or(subject.as_deref()),
            subject: subject.as_deref(),
            datacontenttype: "application/json",
            data: Data::of(event),
        };
        let body = serde_json::to_vec(&envelope)
            .expect("records have only string keys and writing to memory cannot fail");
        Self {
            kind: event.kind(),
            keys: Keys {
                stream: stream.map(|stream| stream.id),
                uid: uid.map(Arc::from),
            },
            at,
            body: Bytes::from(body),
            id,
        }
    }

    pub(super) fn worth(&self) -> Worth {
        match self.kind {
            EventKind::Opened => Worth::Least,
            EventKind::Closed | EventKind::Overdue | EventKind::Started | EventKind::Draining => {
                Worth::Plain
            }
        }
    }
}

#[derive(Serialize)]
struct Envelope<'a> {
    specversion: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    source: &'a str,
    id: &'a str,
    time: String,
    sequence: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    partitionkey: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<&'a str>,
    datacontenttype: &'a str,
    data: Data<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Data<'a> {
    Opened(&'a StreamRecord),
    Closed(&'a ClosedRecord),
    Overdue(&'a OverdueRecord),
    Started {
        version: &'a str,
        former_boot_id: Option<&'a str>,
        recovered: u64,
    },
    Draining {
        streams: u64,
        delay: String,
        spread: String,
    },
}

impl<'a> Data<'a> {
    fn of(event: &'a Event) -> Self {
        match event {
            Event::Opened(record) => Self::Opened(record),
            Event::Closed(record) => Self::Closed(record),
            Event::Overdue(record) => Self::Overdue(record),
            Event::Started {
                former_boot_id,
                recovered,
            } => Self::Started {
                version: env!("CARGO_PKG_VERSION"),
                former_boot_id: former_boot_id.as_deref(),
                recovered: *recovered,
            },
            Event::Draining {
                streams,
                delay,
                spread,
            } => Self::Draining {
                streams: *streams,
                delay: written(*delay),
                spread: written(*spread),
            },
        }
    }
}

/// A duration as the configuration writes it.
fn written(duration: Duration) -> String {
    humantime::format_duration(duration)
        .to_string()
        .replace(' ', "")
}

/// The CloudEvents `source` of this process: `/sidebeat/{namespace}/{pod}/{boot id}`.
///
/// Namespace: `SIDEBEAT_POD_NAMESPACE` or `POD_NAMESPACE`, else `-`. Pod: `SIDEBEAT_POD_NAME` or `POD_NAME`, else the
/// host name, else `-`. What is not allowed in a segment of a URI is percent-encoded.
pub(super) fn source(boot_id: Uuid) -> String {
    source_from(boot_id, |name| std::env::var(name).ok(), host_name)
}

fn source_from(
    boot_id: Uuid,
    variable: impl Fn(&str) -> Option<String>,
    host: impl Fn() -> Option<String>,
) -> String {
    let first = |names: [&str; 2]| {
        let mut values = names.into_iter().filter_map(&variable);
        values.find(|value| !value.is_empty())
    };
    let namespace = first(["SIDEBEAT_POD_NAMESPACE", "POD_NAMESPACE"]);
    let pod = first(["SIDEBEAT_POD_NAME", "POD_NAME"]).or_else(host);
    let segment = |text: Option<String>| text.map_or_else(|| "-".to_owned(), |text| encode(&text));
    format!(
        "/sidebeat/{}/{}/{boot_id}",
        segment(namespace),
        segment(pod)
    )
}

fn host_name() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    let name = name.trim();
    (!name.is_empty()).then(|| name.to_owned())
}

/// Percent-encodes what is not unreserved (RFC 3986 section 2.3).
fn encode(segment: &str) -> String {
    let mut encoded = String::with_capacity(segment.len());
    for byte in segment.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
#[path = "event_tests.rs"]
mod tests;
