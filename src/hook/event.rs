//! Events as they go out: CloudEvents 1.0, structured JSON, built once and never again.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use serde::Serialize;
use serde_json::Value;
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

/// An event ready to be sent: what the request needs and what orders it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    /// Its place in the log; 0 without one.
    pub(super) number: u64,
    /// The duplicate key; no dot, which separates the parts that a webhook signature covers.
    pub(super) id: String,
    pub(super) kind: EventKind,
    pub(super) keys: Keys,
    /// When it happened.
    pub(super) at: SystemTime,
    /// Of its stream; `None` for an event of the whole process.
    pub(super) listener: Option<Arc<str>>,
    /// The CloudEvent; the same bytes at every try.
    pub(super) body: Bytes,
}

impl Message {
    /// Writes the CloudEvent. `sequence` rises per `source`.
    pub(super) fn new(event: &Event, at: SystemTime, source: &str, sequence: u64) -> Self {
        let stream = event.stream();
        let subject = Subject {
            kind: event.kind(),
            stream: stream.map(|stream| stream.id),
            uid: stream.and_then(|stream| stream.uid.as_deref()),
            listener: stream.map(|stream| stream.listener.clone()),
        };
        Self::write(subject, Data::of(event), at, source, sequence)
    }

    /// Writes the `closed` event of a stream whose process is gone; `record` is its closing record.
    pub(super) fn of_crash(
        subject: Subject<'_>,
        record: &Value,
        at: SystemTime,
        source: &str,
        sequence: u64,
    ) -> Self {
        Self::write(subject, Data::Crashed(record), at, source, sequence)
    }

    fn write(
        subject: Subject<'_>,
        data: Data<'_>,
        at: SystemTime,
        source: &str,
        sequence: u64,
    ) -> Self {
        let Subject {
            kind,
            stream,
            uid,
            listener,
        } = subject;
        let id = id(kind, stream);
        let subject = stream.map(|stream| stream.to_string());
        let envelope = Envelope {
            specversion: "1.0",
            kind: type_name(kind),
            source,
            id: &id,
            time: humantime::format_rfc3339_millis(at.max(UNIX_EPOCH)).to_string(),
            sequence: format!("{sequence:020}"),
            partitionkey: uid.or(subject.as_deref()),
            subject: subject.as_deref(),
            datacontenttype: "application/json",
            data,
        };
        let body = serde_json::to_vec(&envelope)
            .expect("records have only string keys and writing to memory cannot fail");
        Self {
            number: 0,
            kind,
            keys: Keys {
                stream,
                uid: uid.map(Arc::from),
            },
            at,
            listener,
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

/// What an event is about.
pub(super) struct Subject<'a> {
    pub(super) kind: EventKind,
    pub(super) stream: Option<Uuid>,
    pub(super) uid: Option<&'a str>,
    pub(super) listener: Option<Arc<str>>,
}

/// The duplicate key of an event. What happens to a stream once has a key made of the stream's id: if its log is lost
/// or damaged between two processes, what both report is still one event to the receiver.
fn id(kind: EventKind, stream: Option<Uuid>) -> String {
    match (kind, stream) {
        (EventKind::Opened, Some(stream)) => format!("evt_{}_opened", stream.simple()),
        (EventKind::Closed, Some(stream)) => format!("evt_{}_closed", stream.simple()),
        _ => format!("evt_{}", Uuid::now_v7().simple()),
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
    Crashed(&'a Value),
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
pub(super) mod tests;
