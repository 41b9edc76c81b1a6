//! A drain: openings end, streams are closed spread over time, hooks are flushed.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rand::seq::SliceRandom;
use tokio::time::{Instant, sleep, sleep_until};
use uuid::Uuid;

use super::Shared;
use super::workers::Handle;
use crate::config;
use crate::registry::Entry;
use crate::worker::Command;

/// How often the end of the last streams is looked for.
const LOOK: Duration = Duration::from_millis(20);

/// Runs a drain to its end; returns how many hook events are left.
pub(super) async fn run(
    shared: Arc<Shared>,
    workers: Handle,
    settings: config::Drain,
    close_timeout: Duration,
) -> usize {
    sleep(settings.delay).await;
    shared.refuses.store(true, Ordering::Relaxed);
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
