//! Close hooks: events in, signed and ordered HTTP requests out. Nothing here ever makes a stream wait.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use indexmap::IndexMap;

use crate::config;
use crate::metrics::Metrics;
use crate::registry::record::{ClosedRecord, OverdueRecord, StreamRecord};

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
        former_boot_id: Option<String>,
        recovered: u64,
    },
    /// A drain began.
    Draining {
        streams: u64,
        delay: Duration,
        spread: Duration,
    },
}

/// The hooks of this process; cheap to clone, callable from every thread.
#[derive(Clone)]
pub struct Hooks {}

impl Hooks {
    /// Starts delivery on `runtime`. Secrets, tokens and CAs are read here: a file that cannot be read is an error.
    pub fn start(
        _hooks: &IndexMap<String, config::Hook>,
        _metrics: Arc<Metrics>,
        _runtime: &tokio::runtime::Handle,
    ) -> Result<Self, HookError> {
        unimplemented!()
    }
    /// Replaces the hooks after a reload, all or nothing; queued events stay.
    pub fn reload(&self, _hooks: &IndexMap<String, config::Hook>) -> Result<(), HookError> {
        unimplemented!()
    }
    /// Whether any hook wants events of this kind from this listener: a stream asks before it makes a record.
    pub fn wants(&self, _kind: config::EventKind, _listener: &str) -> bool {
        false
    }
    /// Takes an event that happened at `at`; never blocks.
    pub fn emit(&self, _event: Event, _at: SystemTime) {}
    /// Waits until every event is settled, at most `limit`; returns how many are left.
    pub async fn flush(&self, _limit: Duration) -> usize {
        0
    }
}

#[derive(Debug, thiserror::Error)]
pub enum HookError {
    #[error("hook {hook}: cannot read {path}: {source}")]
    Read {
        hook: String,
        path: std::path::PathBuf,
        source: std::io::Error,
    },
}
