//! Close hooks: events in, signed and ordered HTTP requests out. Nothing here ever makes a stream wait.
//!
//! ```text
//! any thread        control runtime
//! emit ─ channel ─▶ dispatch ─ Message (JSON, built once) ─┬─▶ queue of hook a ─▶ task ─▶ endpoint
//!                                                          └─▶ queue of hook b ─▶ task ─▶ endpoint
//! ```
//! With a `state_dir` the thread of the log stands in the place of dispatch (`log.rs`).

mod clock;
mod credentials;
mod deliver;
mod dispatch;
mod endpoint;
mod error;
mod event;
mod log;
mod message;
mod metrics;
mod pace;
mod queue;
mod schema;
mod shared;
pub mod sign;
mod source;
mod trouble;

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use indexmap::IndexMap;
use tokio::runtime::Handle;
use tokio::sync::mpsc::{self, UnboundedSender};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

pub use self::deliver::HookStatus;
pub use self::error::HookError;
pub use self::event::{Event, type_name};
pub use self::log::LogError;
pub use self::metrics::HookMetrics;
pub use self::schema::schema;

use self::clock::Clock;
use self::deliver::Delivery;
use self::dispatch::{Command, LogLine, dispatch};
use self::log::{BoundEntry, Log};
use self::queue::CAPACITY;
use self::shared::Shared;
use crate::config::{self, EventKind};
use crate::registry::{Entry, UidSource};

/// Events on their way to the queues from which on new `opened` ones, and at twice as many all new ones, are dropped:
/// reached only when the control runtime stands still. Twice what a queue holds, so that the queue's own rule, which
/// drops the oldest, is the one that applies as long as anything moves.
const INTAKE: usize = 2 * CAPACITY;
/// What a flush waits at least for the log to write that everything is settled: milliseconds on any disk that works.
const LAST_WRITE: Duration = Duration::from_millis(250);

/// The log in `state_dir`, as it is now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogStatus {
    /// Size of the file in bytes.
    pub bytes: u64,
    /// Whether it cannot be written: new events would not survive a crash.
    pub failing: bool,
    /// Damaged bytes that were skipped when it was read.
    pub skipped_bytes: u64,
}

/// The hooks of this process; cheap to clone, callable from every thread.
#[derive(Clone)]
pub struct Hooks {
    shared: Arc<Shared>,
    intake: UnboundedSender<Command>,
}

impl Hooks {
    /// Starts delivery on `runtime`. Secrets, tokens and CAs are read here: a file that cannot be read is an error.
    pub fn start(
        hooks: &IndexMap<String, config::Hook>,
        metrics: HookMetrics,
        runtime: &Handle,
    ) -> Result<Self, HookError> {
        Self::start_with(hooks, None, metrics, runtime)
    }

    /// Starts delivery with a log in `state_dir`. What a former process left there is sent from now on; a directory
    /// that cannot be used is an error.
    pub fn start_with(
        hooks: &IndexMap<String, config::Hook>,
        state_dir: Option<&Path>,
        metrics: HookMetrics,
        runtime: &Handle,
    ) -> Result<Self, HookError> {
        let boot = Uuid::now_v7();
        let log = state_dir.map(|path| Log::open(path, boot)).transpose()?;
        let (intake, commands) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            metrics,
            runtime: runtime.clone(),
            clock: Clock::new(),
            log: log.is_some().then(|| LogLine::new(&intake)),
            routes: ArcSwap::default(),
            deliveries: Mutex::default(),
            pending: AtomicUsize::new(0),
            progress: Arc::default(),
        });
        shared.configure(hooks)?;
        let source = source::of(boot);
        match log {
            Some(log) => log.start(shared.clone(), source, commands)?,
            None => drop(runtime.spawn(dispatch(shared.clone(), source, commands))),
        }
        Ok(Self { shared, intake })
    }

    /// Tells of the start of the process, which is now, and of the streams that a former one left open. To be called
    /// before the first stream opens, so that a user who is back is told of after he was gone.
    pub fn begin(&self) {
        let now = self.shared.clock.moment(SystemTime::now(), Instant::now());
        self.shared.pending.fetch_add(1, Ordering::AcqRel);
        self.send(Command::Begin(now));
    }

    /// Replaces the hooks after a reload, all or nothing; queued events stay. A hook that answered 410 begins again,
    /// one that is gone from the configuration gets no new events and ends when its queue is empty.
    pub fn reload(&self, hooks: &IndexMap<String, config::Hook>) -> Result<(), HookError> {
        self.shared.configure(hooks)
    }

    /// Whether any hook wants events of this kind from this listener, or the log has to know of them: a stream asks
    /// before it makes a record.
    pub fn wants(&self, kind: EventKind, listener: &str) -> bool {
        let routes = self.shared.routes.load();
        let wants = |kind| routes.iter().any(|route| route.wants(kind, Some(listener)));
        wants(kind)
            || self.shared.log.is_some()
                && match kind {
                    EventKind::Opened => wants(EventKind::Closed),
                    // Also of a stream that opened when another configuration was loaded.
                    EventKind::Closed => true,
                    EventKind::Overdue | EventKind::Started | EventKind::Draining => false,
                }
    }

    /// Takes an event that happened at `instant`, when the wall clock said `at`; never blocks. A wall clock that is set
    /// makes no event older.
    pub fn emit(&self, event: Event, at: SystemTime, instant: Instant) {
        let shared = &*self.shared;
        let (kind, listener) = (event.kind(), event.listener());
        let routes = shared.routes.load();
        let mut wanting = routes.iter().filter(|route| route.wants(kind, listener));
        let first = wanting.next();
        let logged = shared.log.is_some() && matches!(kind, EventKind::Opened | EventKind::Closed);
        if first.is_none() && !logged {
            return;
        }
        let bound = match kind {
            EventKind::Opened => INTAKE,
            EventKind::Closed | EventKind::Overdue | EventKind::Started | EventKind::Draining => {
                2 * INTAKE
            }
        };
        if shared.pending.fetch_add(1, Ordering::AcqRel) >= bound || self.intake.is_closed() {
            shared.pending.fetch_sub(1, Ordering::AcqRel);
            for route in first.into_iter().chain(wanting) {
                route.delivery.refuse(kind);
            }
        } else {
            self.send(Command::Event(event, shared.clock.moment(at, instant)));
        }
    }

    /// Tells the log that a stream has another identity than it opened with: if the process is killed, the next one
    /// reports the stream under its last uid.
    pub fn rebound(&self, entry: &Entry) {
        let shared = &*self.shared;
        if shared.log.is_none() {
            return;
        }
        let identity = entry.identity();
        let bound = BoundEntry {
            number: 0,
            stream: entry.id,
            uid: identity.uid.as_deref().map(Arc::from),
            uid_source: identity
                .uid_source
                .map(|source| UidSource::as_str(source).to_owned()),
            tags: identity.tags.iter().map(|tag| tag.to_string()).collect(),
        };
        if shared.pending.fetch_add(1, Ordering::AcqRel) >= 2 * INTAKE {
            shared.pending.fetch_sub(1, Ordering::AcqRel);
        } else {
            self.send(Command::Bound(bound));
        }
    }

    /// Whether events that are not delivered survive this process: there is a log and it can be written.
    pub fn survive(&self) -> bool {
        self.shared.log.is_some() && self.shared.metrics.log_failing.get() == 0
    }

    /// Takes a command that is counted as pending.
    fn send(&self, command: Command) {
        if self.intake.send(command).is_err() {
            // Its receiver is gone, and with it every hook.
            self.shared.pending.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// Waits until every event is settled, at most `limit`; returns how many are left. Waits between tries are kept.
    /// Events of a disabled hook are counted but not waited for: only a reload could settle them.
    pub async fn flush(&self, limit: Duration) -> usize {
        let deadline = Instant::now() + limit;
        loop {
            let mut progress = std::pin::pin!(self.shared.progress.notified());
            // Listens from here on, so that no progress between the look and the wait is missed.
            progress.as_mut().enable();
            if self.shared.unsettled(Delivery::hopeful) == 0
                || timeout_at(deadline, progress).await.is_err()
            {
                break;
            }
        }
        if self.shared.log.is_some() {
            let (done, written) = oneshot::channel();
            let _ = self.intake.send(Command::Sync(done));
            // What is not on record as settled is sent again by the next process.
            let _ = timeout_at(deadline.max(Instant::now() + LAST_WRITE), written).await;
        }
        self.shared.unsettled(Delivery::left)
    }

    /// Every hook as it is now, in the order of the configuration; removed ones that still have events come too.
    pub fn status(&self) -> Vec<HookStatus> {
        let deliveries = self.shared.deliveries();
        deliveries
            .iter()
            .map(|delivery| delivery.status())
            .collect()
    }

    /// How the log fares; `None` without one.
    pub fn log_status(&self) -> Option<LogStatus> {
        let metrics = &self.shared.metrics;
        self.shared.log.as_ref().map(|_| LogStatus {
            bytes: metrics.log_bytes.get().max(0) as u64,
            failing: metrics.log_failing.get() > 0,
            skipped_bytes: metrics.log_skipped.get(),
        })
    }
}

#[cfg(test)]
pub(crate) mod tests;
