//! Every metric family in one struct, built once; each stream works on children looked up when its listener started.

mod families;
mod listener;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus::core::Collector;
use prometheus::process_collector::ProcessCollector;
use prometheus::{
    Counter, Gauge, GaugeVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};

use families::ListenerFamilies;
pub use listener::{ListenerMetrics, Outcomes, SILENT_OVER};

/// Brings gauges up to date that are only computed when somebody asks.
pub type OnScrape = Box<dyn Fn(&Metrics) + Send + Sync>;

/// All families but those of the hooks, which the hook room registers in [`Metrics::registry`].
pub struct Metrics {
    registry: Registry,
    families: ListenerFamilies,
    listeners: Mutex<HashMap<String, Arc<ListenerMetrics>>>,
    certificate_expiry: GaugeVec,
    /// How many certificates of each listener have a child in `certificate_expiry`.
    certificates: Mutex<HashMap<String, usize>>,
    own_pauses: Counter,
    reloads_ok: IntCounter,
    reloads_failed: IntCounter,
    last_reload_successful: IntGauge,
    last_reload_success: Gauge,
    draining: IntGauge,
    on_scrape: RwLock<Vec<OnScrape>>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Builds every family with its help text; those without a listener label have a value from now on.
    pub fn new() -> Self {
        // Names and labels are literals: whether they are valid and distinct is settled by the first test that runs this.
        Self::build().expect("metric names are literals, valid and distinct")
    }

    fn build() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        registry.register(Box::new(ProcessCollector::for_self()))?;
        register(&registry, build_info()?)?;
        let reloads = register(
            &registry,
            IntCounterVec::new(
                Opts::new(
                    "sidebeat_config_reloads_total",
                    "Reloads of the configuration, by result.",
                ),
                &["result"],
            )?,
        )?;
        Ok(Self {
            families: ListenerFamilies::register(&registry)?,
            listeners: Mutex::default(),
            certificate_expiry: register(
                &registry,
                GaugeVec::new(
                    Opts::new(
                        "sidebeat_tls_certificate_not_after_timestamp_seconds",
                        "When a certificate of a listener expires, by its place in the list, from 0.",
                    ),
                    &["listener", "certificate"],
                )?,
            )?,
            certificates: Mutex::default(),
            own_pauses: register(
                &registry,
                Counter::new(
                    "sidebeat_own_pauses_seconds_total",
                    "Time in which a worker did not run although it should have, summed over workers.",
                )?,
            )?,
            reloads_ok: reloads.with_label_values(&["ok"]),
            reloads_failed: reloads.with_label_values(&["error"]),
            last_reload_successful: register(
                &registry,
                IntGauge::new(
                    "sidebeat_config_last_reload_successful",
                    "Whether the last load of the configuration succeeded.",
                )?,
            )?,
            last_reload_success: register(
                &registry,
                Gauge::new(
                    "sidebeat_config_last_reload_success_timestamp_seconds",
                    "When the configuration was last loaded successfully.",
                )?,
            )?,
            draining: register(
                &registry,
                IntGauge::new("sidebeat_draining", "Whether a drain is under way.")?,
            )?,
            on_scrape: RwLock::default(),
            registry,
        })
    }

    /// The registry behind the text, for rooms that own families of their own.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The children of `listener`, created on first use.
    pub fn listener(&self, listener: &str) -> Arc<ListenerMetrics> {
        let mut listeners = lock(&self.listeners);
        if let Some(children) = listeners.get(listener) {
            return Arc::clone(children);
        }
        let children = Arc::new(ListenerMetrics::new(&self.families, listener));
        listeners.insert(listener.to_owned(), Arc::clone(&children));
        children
    }

    /// Calls `look` with the name and the children of every listener.
    pub fn for_each_listener(&self, mut look: impl FnMut(&str, &ListenerMetrics)) {
        for (name, children) in lock(&self.listeners).iter() {
            look(name, children);
        }
    }

    /// Sets when each certificate of `listener` expires, in the order of its list; places beyond it vanish.
    pub fn set_certificates(&self, listener: &str, not_after: &[SystemTime]) {
        let mut certificates = lock(&self.certificates);
        for (place, at) in not_after.iter().enumerate() {
            self.certificate_expiry
                .with_label_values(&[listener, &place.to_string()])
                .set(unix_seconds(*at));
        }
        let known = certificates
            .insert(listener.to_owned(), not_after.len())
            .unwrap_or(0);
        for place in not_after.len()..known {
            // A child that is not there is what we want.
            let _ = self
                .certificate_expiry
                .remove_label_values(&[listener, &place.to_string()]);
        }
        if not_after.is_empty() {
            certificates.remove(listener);
        }
    }

    /// Adds a pause of one worker.
    pub fn paused(&self, gap: Duration) {
        self.own_pauses.inc_by(gap.as_secs_f64());
    }

    /// The configuration of the start took effect, which is no reload.
    pub fn config_loaded(&self, at: SystemTime) {
        self.last_reload_successful.set(1);
        self.last_reload_success.set(unix_seconds(at));
    }

    /// A reload took effect.
    pub fn reload_succeeded(&self, at: SystemTime) {
        self.reloads_ok.inc();
        self.config_loaded(at);
    }

    /// A reload was refused and everything old stayed.
    pub fn reload_failed(&self) {
        self.reloads_failed.inc();
        self.last_reload_successful.set(0);
    }

    /// Whether a drain is under way.
    pub fn set_draining(&self, draining: bool) {
        self.draining.set(draining.into());
    }

    /// Calls `update` before each scrape, on the thread of the scrape; it must be quick and must not scrape.
    pub fn on_scrape(&self, update: OnScrape) {
        self.on_scrape
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .push(update);
    }

    /// Everything in the Prometheus text format 0.0.4.
    pub fn text(&self) -> Result<String, prometheus::Error> {
        for update in self
            .on_scrape
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
        {
            update(self);
        }
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

fn register<C: Collector + Clone + 'static>(
    registry: &Registry,
    collector: C,
) -> Result<C, prometheus::Error> {
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}

fn build_info() -> Result<IntGaugeVec, prometheus::Error> {
    let info = IntGaugeVec::new(
        Opts::new(
            "sidebeat_build_info",
            "Always 1; the labels say what is running.",
        ),
        &["version", "revision"],
    )?;
    let revision = option_env!("SIDEBEAT_REVISION").unwrap_or("unknown");
    info.with_label_values(&[env!("CARGO_PKG_VERSION"), revision])
        .set(1);
    Ok(info)
}

fn unix_seconds(at: SystemTime) -> f64 {
    match at.duration_since(UNIX_EPOCH) {
        Ok(after) => after.as_secs_f64(),
        Err(before) => -before.duration().as_secs_f64(),
    }
}

/// The maps stay whole even if a holder panicked: each change is one insert or remove.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
