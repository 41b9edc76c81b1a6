//! What there is to tell.

use std::sync::Arc;
use std::time::Duration;

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

    pub(super) fn stream(&self) -> Option<&StreamRecord> {
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
