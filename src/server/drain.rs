//! A drain: openings end, streams are closed spread over time, hooks are flushed.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rand::seq::SliceRandom;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};
use uuid::Uuid;

use super::workers::Handle;
use super::{Server, Shared};
use crate::admin::control::DrainReport;
use crate::config;
use crate::hook::Event;
use crate::registry::Entry;
use crate::worker::Command;

/// How often the end of the last streams is looked for.
const LOOK: Duration = Duration::from_millis(20);

/// A drain under way.
pub(super) struct Drain {
    report: DrainReport,
    /// How many events were left when it was over.
    task: JoinHandle<usize>,
    /// `None` while it runs.
    pub(super) events_left: Option<usize>,
    /// A signal asked for the end of the process.
    pub(super) exits: bool,
}

impl Server {
    /// Begins a drain; during one it changes nothing and reports the one under way.
    pub(super) fn begin_drain(
        &mut self,
        delay: Option<Duration>,
        spread: Option<Duration>,
    ) -> DrainReport {
        if let Some(drain) = &self.drain {
            return drain.report.clone();
        }
        let mut settings = self.reloads.config.drain;
        settings.delay = delay.unwrap_or(settings.delay);
        settings.spread = spread.unwrap_or(settings.spread);
        let streams = self.shared.registry.len() as u64;
        let report = DrainReport {
            streams,
            delay_ms: settings.delay.as_millis() as u64,
            spread_ms: settings.spread.as_millis() as u64,
        };
        tracing::info!(streams, delay = ?settings.delay, spread = ?settings.spread, "draining");
        self.shared.health.start_draining();
        self.shared.metrics.set_draining(true);
        let event = Event::Draining {
            streams,
            delay: settings.delay,
            spread: settings.spread,
        };
        self.shared
            .hooks
            .emit(event, SystemTime::now(), Instant::now());
        let listeners = self.reloads.config.listeners.values();
        let close_timeout = listeners
            .map(|listener| listener.heartbeat.close_timeout)
            .max()
            .unwrap_or_default();
        let task = tokio::spawn(run(
            Arc::clone(&self.shared),
            self.workers.handle(),
            settings,
            close_timeout,
        ));
        self.drain = Some(Drain {
            report: report.clone(),
            task,
            events_left: None,
            exits: false,
        });
        report
    }
}

/// Waits for the end of a drain under way, once.
pub(super) async fn drained(drain: &mut Option<Drain>) -> usize {
    match drain {
        Some(Drain {
            task,
            events_left: None,
            ..
        }) => task.await.unwrap_or(usize::MAX),
        Some(_) | None => std::future::pending().await,
    }
}

/// Runs a drain to its end; returns how many hook events are left.
async fn run(
    shared: Arc<Shared>,
    workers: Handle,
    settings: config::Drain,
    close_timeout: Duration,
) -> usize {
    sleep(settings.delay).await;
    shared.refuse();
    let spread_end = Instant::now() + settings.spread;
    let mut told = HashSet::new();
    close_spread(&shared, &workers, settings.spread, &mut told).await;
    // Openings that were under way when the delay ended become streams after the list was made.
    let limit = spread_end + close_timeout;
    while shared.streams() > 0 && Instant::now() < limit {
        for entry in shared.registry.all() {
            if told.insert(entry.id) {
                workers.command(entry.home, entry.id, Command::Close(shared.drain_cause()));
            }
        }
        sleep(LOOK).await;
    }
    shared.hooks.flush(settings.hook_flush).await
}

/// Closes what is open now, evenly over `spread` and in random order, so that the clients come back one by one.
async fn close_spread(
    shared: &Shared,
    workers: &Handle,
    spread: Duration,
    told: &mut HashSet<Uuid>,
) {
    let mut entries = shared.registry.all();
    entries.shuffle(&mut rand::rng());
    let (began, count) = (Instant::now(), entries.len() as u32);
    for (place, entry) in (0..).zip(entries) {
        // The first goes at once, the last at the end of the spread.
        sleep_until(began + spread * place / count).await;
        told.insert(entry.id);
        workers.command(entry.home, entry.id, Command::Close(shared.drain_cause()));
        if shared.registry.is_empty() {
            return;
        }
    }
}

/// Closes the streams of a listener that a reload took out, like a drain of its own, in random order.
pub(super) async fn close_all(
    shared: Arc<Shared>,
    workers: Handle,
    mut entries: Vec<Arc<Entry>>,
    spread: Duration,
) {
    entries.shuffle(&mut rand::rng());
    let (began, count) = (Instant::now(), entries.len() as u32);
    for (place, entry) in (0..).zip(entries) {
        sleep_until(began + spread * place / count).await;
        workers.command(entry.home, entry.id, Command::Close(shared.drain_cause()));
    }
}
