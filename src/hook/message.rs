//! Events as they go out: CloudEvents 1.0, structured JSON, built once and never again.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use super::clock::Moment;
use super::event::{Event, type_name};
use super::queue::{Keys, Worth};
use crate::config::EventKind;
use crate::registry::record::{ClosedRecord, OverdueRecord, StreamRecord};

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
    pub(super) at: Moment,
    /// Of its stream; `None` for an event of the whole process.
    pub(super) listener: Option<Arc<str>>,
    /// The CloudEvent; the same bytes at every try.
    pub(super) body: Bytes,
}

impl Message {
    /// Writes the CloudEvent. `sequence` rises per `source`.
    pub(super) fn new(event: &Event, at: Moment, source: &str, sequence: u64) -> Self {
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
        at: Moment,
        source: &str,
        sequence: u64,
    ) -> Self {
        Self::write(subject, Data::Crashed(record), at, source, sequence)
    }

    fn write(
        subject: Subject<'_>,
        data: Data<'_>,
        at: Moment,
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
            time: humantime::format_rfc3339_millis(at.wall.max(UNIX_EPOCH)).to_string(),
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

#[cfg(test)]
pub(super) mod tests;
