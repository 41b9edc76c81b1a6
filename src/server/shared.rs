//! What all threads share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};

use crate::config;
use crate::health::Health;
use crate::hook::Hooks;
use crate::listener::Capacity;
use crate::metrics::Metrics;
use crate::proto::cause::{Cause, Reason};
use crate::registry::Registry;

/// The values that workers and control thread have in common.
pub struct Shared {
    /// All metric families.
    pub metrics: Arc<Metrics>,
    /// What the probes say.
    pub health: Arc<Health>,
    /// The open streams.
    pub registry: Arc<Registry>,
    /// The close hooks.
    pub hooks: Hooks,
    refuses: AtomicBool,
    drain_code: AtomicU16,
    capacity: Arc<Capacity>,
}

impl Shared {
    /// A process that takes openings.
    pub fn new(
        metrics: Arc<Metrics>,
        health: Arc<Health>,
        hooks: Hooks,
        drain: &config::Drain,
        capacity: Capacity,
    ) -> Arc<Self> {
        Arc::new(Self {
            metrics,
            health,
            registry: Arc::new(Registry::new(hooks.clone())),
            hooks,
            refuses: AtomicBool::new(false),
            drain_code: AtomicU16::new(drain.close_code),
            capacity: Arc::new(capacity),
        })
    }

    /// Refuses openings from now on.
    pub(super) fn refuse(&self) {
        self.refuses.store(true, Ordering::Relaxed);
    }

    /// Whether openings are refused: a drain is past its delay.
    pub fn refuses(&self) -> bool {
        self.refuses.load(Ordering::Relaxed)
    }

    /// Streams of all listeners, those included that are opening or whose sockets still live.
    pub fn streams(&self) -> usize {
        self.capacity.streams()
    }

    /// The file descriptors that clients share.
    pub fn capacity(&self) -> &Arc<Capacity> {
        &self.capacity
    }

    /// Replaces the close code of a drain.
    pub(super) fn set_drain_code(&self, code: u16) {
        self.drain_code.store(code, Ordering::Relaxed);
    }

    /// The cause of a stream that a drain ends.
    pub fn drain_cause(&self) -> Cause {
        Cause::new(Reason::Drain).with_code(Some(self.drain_code.load(Ordering::Relaxed)))
    }
}
