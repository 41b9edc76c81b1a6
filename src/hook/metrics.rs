//! The metric families of the hooks.

use prometheus::{
    Gauge, GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
    Opts, Registry,
};

use super::event::{KINDS, type_name};
use crate::config::EventKind;

/// Seconds; from a receiver in the same pod to beyond the default timeout.
const BUCKETS: [f64; 12] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];

/// How an event left the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Settled {
    Delivered,
    Rejected,
    Expired,
    Dropped,
}

impl Settled {
    const ALL: [Self; 4] = [
        Self::Delivered,
        Self::Rejected,
        Self::Expired,
        Self::Dropped,
    ];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Rejected => "rejected",
            Self::Expired => "expired",
            Self::Dropped => "dropped",
        }
    }
}

/// All `sidebeat_hook_…` families; cheap to clone.
#[derive(Clone)]
pub struct HookMetrics {
    queued: IntCounterVec,
    settled: IntCounterVec,
    retries: IntCounterVec,
    duration: HistogramVec,
    queue: IntGaugeVec,
    oldest: GaugeVec,
    disabled: IntGaugeVec,
    pub(super) log_bytes: IntGauge,
    pub(super) log_failing: IntGauge,
    pub(super) log_skipped: IntCounter,
}

impl HookMetrics {
    /// Creates the families in `registry`.
    ///
    /// # Panics
    /// If they are there already: a registry belongs to one process and takes them once.
    pub fn register(registry: &Registry) -> Self {
        let counter = |name: &str, help: &str, labels: &[&str]| {
            added(registry, IntCounterVec::new(Opts::new(name, help), labels))
        };
        let gauge = |name: &str, help: &str| {
            added(registry, IntGaugeVec::new(Opts::new(name, help), &["hook"]))
        };
        Self {
            queued: counter(
                "sidebeat_hook_events_queued_total",
                "Events taken for a hook.",
                &["hook", "type"],
            ),
            settled: counter(
                "sidebeat_hook_events_total",
                "Events that left the queue of a hook, by how they ended.",
                &["hook", "type", "result"],
            ),
            retries: counter(
                "sidebeat_hook_retries_total",
                "Requests of a hook that were not the first for their event.",
                &["hook"],
            ),
            duration: added(
                registry,
                HistogramVec::new(
                    HistogramOpts::new(
                        "sidebeat_hook_request_duration_seconds",
                        "Time of one request of a hook, to the end of its answer.",
                    )
                    .buckets(BUCKETS.to_vec()),
                    &["hook"],
                ),
            ),
            queue: gauge(
                "sidebeat_hook_queue_events",
                "Events of a hook that are not settled.",
            ),
            oldest: added(
                registry,
                GaugeVec::new(
                    Opts::new(
                        "sidebeat_hook_oldest_event_timestamp_seconds",
                        "When the oldest event happened that is not settled; 0 when all are.",
                    ),
                    &["hook"],
                ),
            ),
            disabled: gauge(
                "sidebeat_hook_disabled",
                "1 if the receiver of a hook answered 410 and no reload came since.",
            ),
            log_bytes: added(
                registry,
                IntGauge::new(
                    "sidebeat_hook_log_bytes",
                    "Size of the hook log in state_dir.",
                ),
            ),
            log_failing: added(
                registry,
                IntGauge::new(
                    "sidebeat_hook_log_failing",
                    "1 while the hook log cannot be written, so that new events would not survive a crash.",
                ),
            ),
            log_skipped: added(
                registry,
                IntCounter::new(
                    "sidebeat_hook_log_skipped_bytes_total",
                    "Damaged bytes of the hook log that were skipped.",
                ),
            ),
        }
    }

    /// The series of one hook, created at 0 for every kind of event that it takes.
    pub(super) fn hook(&self, name: &str, kinds: &[EventKind]) -> Series {
        for kind in kinds.iter().copied().map(type_name) {
            self.queued.with_label_values(&[name, kind]);
            for result in Settled::ALL {
                let labels = [name, kind, result.as_str()];
                self.settled.with_label_values(&labels);
            }
        }
        Series {
            retries: self.retries.with_label_values(&[name]),
            duration: self.duration.with_label_values(&[name]),
            queue: self.queue.with_label_values(&[name]),
            oldest: self.oldest.with_label_values(&[name]),
            disabled: self.disabled.with_label_values(&[name]),
            families: self.clone(),
            hook: name.to_owned(),
        }
    }
}

/// The series of one hook.
pub(super) struct Series {
    pub(super) retries: prometheus::IntCounter,
    /// In seconds.
    pub(super) duration: prometheus::Histogram,
    pub(super) queue: prometheus::IntGauge,
    /// In seconds since 1970.
    pub(super) oldest: Gauge,
    pub(super) disabled: prometheus::IntGauge,
    families: HookMetrics,
    hook: String,
}

impl Series {
    pub(super) fn queued(&self, kind: EventKind) {
        let labels = [self.hook.as_str(), type_name(kind)];
        self.families.queued.with_label_values(&labels).inc();
    }

    pub(super) fn settled(&self, kind: EventKind, how: Settled) {
        let labels = [self.hook.as_str(), type_name(kind), how.as_str()];
        self.families.settled.with_label_values(&labels).inc();
    }

    /// Takes the series out of the families: the hook is gone.
    pub(super) fn remove(&self) {
        let hook = [self.hook.as_str()];
        for kind in KINDS.map(type_name) {
            // An error means that this kind had no series.
            let _ = self.families.queued.remove_label_values(&[hook[0], kind]);
            for result in Settled::ALL {
                let labels = [hook[0], kind, result.as_str()];
                let _ = self.families.settled.remove_label_values(&labels);
            }
        }
        let _ = self.families.retries.remove_label_values(&hook);
        let _ = self.families.duration.remove_label_values(&hook);
        let _ = self.families.queue.remove_label_values(&hook);
        let _ = self.families.oldest.remove_label_values(&hook);
        let _ = self.families.disabled.remove_label_values(&hook);
    }
}

fn added<M>(registry: &Registry, family: prometheus::Result<M>) -> M
where
    M: prometheus::core::Collector + Clone + 'static,
{
    let family = family.expect("names and labels are valid");
    registry
        .register(Box::new(family.clone()))
        .expect("each family is registered once");
    family
}
