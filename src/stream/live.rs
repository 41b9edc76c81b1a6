//! The guard of an open stream: what entered leaves exactly once, with one cause, whatever happens in between.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::pump::Turn;
use crate::config::EventKind;
use crate::hook::Event;
use crate::listener::{Local, Permit};
use crate::log;
use crate::proto::cause::{Cause, End, Reason};
use crate::proto::heart::{Policy, Time};
use crate::registry::record::{ClosedRecord, Ended, Evidence, OverdueRecord};
use crate::registry::{Entry, Happening, PingRound};
use crate::server::Shared;
use crate::worker::Worker;

/// An entered stream.
pub(super) struct Live {
    pub(super) entry: Arc<Entry>,
    pub(super) local: Rc<Local>,
    pub(super) worker: Rc<Worker>,
    over: bool,
    _permit: Permit,
}

impl Live {
    /// Enters the stream: registry, metrics, `opened` event.
    pub(super) fn enter(
        entry: Arc<Entry>,
        local: Rc<Local>,
        worker: Rc<Worker>,
        permit: Permit,
    ) -> Self {
        let hooks = &worker.shared.hooks;
        worker.shared.registry.enter(Arc::clone(&entry), || {
            if hooks.wants(EventKind::Opened, &entry.opening.listener) {
                let record = Arc::new(entry.record());
                hooks.emit(
                    Event::Opened(record),
                    entry.opening.at,
                    entry.opening.instant,
                );
            }
        });
        local.shared.metrics.opened.inc();
        local.shared.metrics.active.inc();
        Self {
            entry,
            local,
            worker,
            over: false,
            _permit: permit,
        }
    }

    /// Fixes the cause: from here the stream is in no list. Only the first call counts.
    pub(super) fn over(
        &mut self,
        cause: Cause,
        lateness: Option<Duration>,
        idle_limit: Option<Duration>,
        evidence: Evidence,
    ) {
        if std::mem::replace(&mut self.over, true) {
            return;
        }
        let shared = &self.worker.shared;
        let metrics = &self.local.shared.metrics;
        self.local.publish();
        metrics.active.dec();
        metrics.closing.inc();
        metrics.closed(cause.reason).inc();
        self.local.shared.ended(cause.reason);
        metrics.duration.observe(self.entry.age().as_secs_f64());
        if let Some(lateness) = lateness {
            metrics.lateness.observe(lateness.as_secs_f64());
        }
        let (now, instant) = (SystemTime::now(), Instant::now());
        shared.registry.leave(&self.entry, |left| {
            let record = Arc::new(self.closed_record(cause, now, lateness, idle_limit, left));
            let hooks = &shared.hooks;
            if hooks.wants(EventKind::Closed, &record.stream.listener) {
                hooks.emit(Event::Closed(Arc::clone(&record)), now, instant);
            }
            log::stream_closed(&record);
            Ended { record, evidence }
        });
    }

    /// Reports a limit that ran out under `mode: observe`.
    pub(super) fn overdue(&self, reason: Reason, policy: &Policy) {
        self.entry.figures.set_overdue(true);
        if let Some(overdue) = self.local.shared.metrics.overdue(reason) {
            overdue.inc();
        }
        let record = || {
            Arc::new(OverdueRecord {
                stream: self.entry.record(),
                reason,
                idle_limit_ms: policy.idle_limit.map(|limit| limit.as_millis() as u64),
            })
        };
        let Shared {
            hooks, registry, ..
        } = &*self.worker.shared;
        if hooks.wants(EventKind::Overdue, &self.entry.opening.listener) {
            hooks.emit(Event::Overdue(record()), SystemTime::now(), Instant::now());
        }
        registry.feed.publish(|| Happening::Overdue(record()));
    }

    /// Whether the end of the app is part of a drain.
    pub(super) fn draining(&self) -> bool {
        self.worker.shared.health.is_draining() || self.local.shared.removed()
    }

    /// The cause of an end that a drain makes.
    pub(super) fn drain_cause(&self) -> Cause {
        self.worker.shared.drain_cause()
    }

    /// The stream was heard again `after` its limit had run out (observe).
    pub(super) fn heard_again(&self, after: Duration) {
        self.entry.figures.set_overdue(false);
        self.local
            .shared
            .metrics
            .heard_again
            .observe(after.as_secs_f64());
    }

    /// Stores what one turn heard, counted and sent.
    pub(super) fn tell(&self, turn: &Turn<'_>, instant: Instant) {
        for from in End::BOTH {
            let tally = turn.tally[from as usize];
            if tally.heard {
                let at = instant.duration_since(self.entry.opening.instant);
                self.entry
                    .figures
                    .heard(from, at, tally.bytes, tally.messages);
                self.local.count(from, tally.bytes, tally.messages);
            }
        }
        for (from, rtt) in &turn.rtts {
            tracing::trace!(
                target: log::HEARTBEAT,
                what = "pong",
                listener = &*self.entry.opening.listener,
                end = from.as_str(),
                id = %self.entry.id,
                rtt_ms = rtt.as_secs_f64() * 1000.0,
                "heartbeat answered"
            );
            self.local.shared.metrics.pongs(*from).inc();
            self.local
                .shared
                .metrics
                .rtt(*from)
                .observe(rtt.as_secs_f64());
            if *from == End::Client {
                self.entry.figures.answered(*rtt);
                let feed = &self.worker.shared.registry.feed;
                feed.publish(|| Happening::Pong(PingRound::new(&self.entry, *rtt)));
            }
        }
        if let Some(uid) = &turn.uid {
            let registry = &self.worker.shared.registry;
            registry.bind_first_message(self.entry.id, uid);
        }
        self.count_pings(turn);
    }

    /// Counts the heartbeats whose last byte went out in this turn.
    pub(super) fn count_pings(&self, turn: &Turn<'_>) {
        for to in End::BOTH {
            let sent = turn.sent[to as usize];
            if sent > 0 {
                tracing::trace!(
                    target: log::HEARTBEAT,
                    what = "ping",
                    listener = &*self.entry.opening.listener,
                    end = to.as_str(),
                    id = %self.entry.id,
                    "heartbeat sent"
                );
                self.local.shared.metrics.pings_sent(to).inc_by(sent);
                if to == End::Client {
                    self.entry.figures.pinged(sent);
                }
            }
        }
    }

    /// Stores the instant at which the stream ends if nothing more is heard. Under `simple` limits an idle deadline
    /// moves with every byte, and is not stored anew for each.
    pub(super) fn note_deadline(&self, deadline: Option<(Time, Reason)>, simple: bool) {
        let since = |time| {
            self.worker
                .clock
                .instant(time)
                .saturating_duration_since(self.entry.opening.instant)
        };
        let deadline = deadline.map(|(time, reason)| (since(time), reason));
        self.entry.figures.set_deadline(deadline, simple);
    }

    fn closed_record(
        &self,
        cause: Cause,
        at: SystemTime,
        lateness: Option<Duration>,
        idle_limit: Option<Duration>,
        uid_streams_left: Option<usize>,
    ) -> ClosedRecord {
        let stream = self.entry.record();
        ClosedRecord {
            stream,
            closed_at: humantime::format_rfc3339_millis(at).to_string(),
            duration_ms: self.entry.age().as_millis() as u64,
            reason: cause.reason.as_str(),
            by: cause.by.as_str(),
            close_code: cause.code,
            close_reason: cause.code.map(|_| cause.text.to_string()),
            detail: cause.detail.as_deref().map(str::to_owned),
            idle_limit_ms: idle_limit.map(|limit| limit.as_millis() as u64),
            lateness_ms: lateness.map(|lateness| lateness.as_secs_f64() * 1000.0),
            uid_streams_left,
            cause,
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        // Only a panic in the stream's own task (or a bug like it) gets here without a cause.
        let cause = Cause::new(Reason::InternalError);
        self.over(cause, None, None, Evidence::default());
        self.local.shared.metrics.closing.dec();
        self.worker.vacate(self.entry.home);
    }
}
