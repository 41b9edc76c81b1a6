//! One hook: what waits for it, where it is sent and how that goes.

mod spill;
mod task;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::Notify;

pub(super) use self::spill::{Offer, Origin};

use super::clock::{Clock, rfc3339, seconds};
use super::dispatch::LogLine;
use super::endpoint::Endpoint;
use super::message::Message;
use super::metrics::{Series, Settled};
use super::queue::{CAPACITY, Queue, Rules};
use super::shared::Shared;
use super::trouble::{Notice, Trouble};
use crate::config::EventKind;

/// A hook as `/v1/status` shows it; every field always present, unknown is null.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HookStatus {
    /// The key in the configuration.
    pub name: String,
    /// Without userinfo and query.
    pub url: String,
    /// Events not settled.
    pub queued: usize,
    /// When the oldest of them happened, RFC 3339 with milliseconds.
    pub oldest_event_at: Option<String>,
    /// Whether the receiver answered 410 and no reload came since.
    pub disabled: bool,
    /// What went wrong last since the hook was there.
    pub last_error: Option<String>,
    /// When that was, RFC 3339 with milliseconds.
    pub last_error_at: Option<String>,
}

/// One hook: its queue, its receiver and its figures. Never touched by a worker.
pub(super) struct Delivery {
    name: Arc<str>,
    clock: Clock,
    series: Series,
    log: Option<LogLine>,
    state: Mutex<State>,
    /// Wakes the task after a push or a new configuration.
    changed: Notify,
    /// Wakes who waits for the queues to be empty.
    progress: Arc<Notify>,
}

struct State {
    queue: Queue<Arc<Message>>,
    endpoint: Arc<Endpoint>,
    life: Life,
    trouble: Trouble,
    rules: Rules,
    /// Events behind those of the queue, which are only in the log.
    spilled: usize,
    /// Whether the log was asked for some of them.
    refilling: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Life {
    Configured,
    /// No longer configured: gets no new events and ends with the last one that it has.
    Removed,
    /// The task is over.
    Ended,
}

impl Delivery {
    pub(super) fn new(
        name: &str,
        endpoint: Arc<Endpoint>,
        rules: Rules,
        series: Series,
        shared: &Shared,
    ) -> Self {
        Self {
            name: Arc::from(name),
            clock: shared.clock,
            series,
            log: shared.log.clone(),
            state: Mutex::new(State {
                queue: Queue::new(rules),
                endpoint,
                life: Life::Configured,
                trouble: Trouble::default(),
                rules,
                spilled: 0,
                refilling: false,
            }),
            changed: Notify::new(),
            progress: shared.progress.clone(),
        }
    }

    pub(super) fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Queues an event; a full queue drops another for it.
    pub(super) fn push(&self, message: Arc<Message>) {
        self.series.queued(message.kind);
        let occurred = message.at.steady;
        self.enqueue(self.state(), message, occurred);
    }

    fn enqueue(&self, mut state: MutexGuard<'_, State>, message: Arc<Message>, occurred: Duration) {
        let (keys, worth) = (message.keys.clone(), message.worth());
        if let Some(dropped) = state.queue.push(keys, worth, occurred, message) {
            self.leave(&mut state, &dropped, Settled::Dropped);
        }
        self.show(&state);
        drop(state);
        self.changed.notify_one();
    }

    /// Counts an event that was dropped before it came to the queue.
    pub(super) fn refuse(&self, kind: EventKind) {
        self.series.queued(kind);
        self.series.settled(kind, Settled::Dropped);
    }

    /// Takes a new configuration and, if it was disabled, begins again. Returns false if its task is over.
    pub(super) fn configure(&self, endpoint: &Arc<Endpoint>, rules: Rules) -> bool {
        let mut state = self.state();
        if state.life == Life::Ended {
            return false;
        }
        state.life = Life::Configured;
        state.endpoint = endpoint.clone();
        state.queue.enable(rules);
        state.rules = rules;
        self.show(&state);
        drop(state);
        self.changed.notify_one();
        true
    }

    /// Lets the task end once the queue is empty.
    pub(super) fn retire(&self) {
        let mut state = self.state();
        if state.life == Life::Configured {
            state.life = Life::Removed;
        }
        drop(state);
        self.changed.notify_one();
    }

    /// Events not settled.
    pub(super) fn left(&self) -> usize {
        self.state().left()
    }

    /// Events not settled that may be without a reload.
    pub(super) fn hopeful(&self) -> usize {
        let state = self.state();
        if state.queue.is_enabled() {
            state.left()
        } else {
            0
        }
    }

    pub(super) fn status(&self) -> HookStatus {
        let state = self.state();
        let last = state.trouble.last();
        HookStatus {
            name: self.name.to_string(),
            url: state.endpoint.shown(),
            queued: state.left(),
            oldest_event_at: state.queue.oldest().map(|oldest| rfc3339(oldest.at.wall)),
            disabled: !state.queue.is_enabled(),
            last_error: last.map(|(_, why)| why.clone()),
            last_error_at: last.map(|(at, _)| rfc3339(*at)),
        }
    }

    /// Takes the hook's series out of the metrics.
    pub(super) fn forget(&self) {
        self.series.remove();
    }

    /// An event has left the queue. This is the one place that every event passes in the end.
    fn leave(&self, state: &mut State, message: &Arc<Message>, how: Settled) {
        self.series.settled(message.kind, how);
        if let Some(log) = &self.log {
            log.settled(message, &self.name, how);
            if state.spilled > 0 && !state.refilling && state.queue.len() <= CAPACITY / 2 {
                state.refilling = true;
                log.refill(&self.name);
            }
        }
        if how != Settled::Delivered {
            let notice = state.trouble.lost(self.clock.now());
            self.tell(state, notice);
        }
    }

    fn tell(&self, state: &State, notice: Option<Notice>) {
        if let Some(notice) = notice {
            notice.log(&self.name, &state.endpoint.shown());
        }
    }

    /// Brings the gauges up to date and wakes who waits for the end.
    fn show(&self, state: &State) {
        let queue = &state.queue;
        let oldest = queue.oldest().map_or(0.0, |oldest| seconds(oldest.at.wall));
        self.series.queue.set(state.left() as i64);
        self.series.oldest.set(oldest);
        self.series.disabled.set(i64::from(!queue.is_enabled()));
        if state.left() == 0 || !queue.is_enabled() {
            self.progress.notify_waiters();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Events not settled.
    fn left(&self) -> usize {
        self.queue.len() + self.spilled
    }
}
