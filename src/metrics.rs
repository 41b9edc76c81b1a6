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
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::sync::atomic::{AtomicU64, Ordering};

    use http::StatusCode;

    use super::*;
    use crate::proto::cause::{End, Reason, Rejection};

    /// Families with type, label names and, for counters and gauges, each sample.
    struct Scrape {
        types: BTreeMap<String, String>,
        samples: BTreeMap<String, f64>,
    }

    impl Scrape {
        /// A strict reading of the text format: HELP, then TYPE, then samples of that family only.
        fn parse(text: &str) -> Self {
            let mut types = BTreeMap::new();
            let mut samples = BTreeMap::new();
            let mut helped = String::new();
            let mut family = String::new();
            for line in text.lines() {
                if let Some(rest) = line.strip_prefix("# HELP ") {
                    let (name, help) = rest.split_once(' ').unwrap();
                    assert!(help.ends_with('.') && help.len() > 10, "help of {name}");
                    helped = name.to_owned();
                } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                    let (name, kind) = rest.split_once(' ').unwrap();
                    assert_eq!(name, helped, "TYPE follows HELP");
                    assert!(types.insert(name.to_owned(), kind.to_owned()).is_none());
                    family = name.to_owned();
                } else {
                    let (series, value) = line.rsplit_once(' ').unwrap();
                    let name = series.split('{').next().unwrap();
                    let base = ["_bucket", "_sum", "_count"]
                        .iter()
                        .find_map(|suffix| name.strip_suffix(suffix))
                        .filter(|_| types[&family] == "histogram")
                        .unwrap_or(name);
                    assert_eq!(base, family, "a sample stands under its family: {line}");
                    let known = samples.insert(series.to_owned(), value.parse::<f64>().unwrap());
                    assert!(known.is_none(), "{series} twice");
                }
            }
            Self { types, samples }
        }

        fn of(metrics: &Metrics) -> Self {
            Self::parse(&metrics.text().unwrap())
        }

        /// The values that `label` takes in `family` together with listener `chat`.
        fn words(&self, family: &str, label: &str) -> BTreeSet<&str> {
            let suffix = match self.types[family].as_str() {
                "histogram" => "_count",
                _ => "",
            };
            let head = format!("{family}{suffix}{{");
            self.samples
                .keys()
                .filter_map(|series| series.strip_prefix(&head))
                .filter(|labels| labels.contains("listener=\"chat\""))
                .map(|labels| {
                    let value = labels.split_once(&format!("{label}=\"")).unwrap().1;
                    value.split('"').next().unwrap()
                })
                .collect()
        }
    }

    const ENDS: &str = "client upstream";
    const RESULTS: &str = "error ok timeout";

    #[test]
    fn every_family_of_a_listener_is_there_before_the_first_connection() {
        let metrics = Metrics::new();
        metrics.listener("chat");
        let scrape = Scrape::of(&metrics);
        let reasons: Vec<_> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
        let rejections: Vec<_> = Rejection::ALL.iter().map(|word| word.as_str()).collect();
        let expected = [
            (
                "sidebeat_connections_accepted_total",
                "counter",
                "listener",
                "chat",
            ),
            (
                "sidebeat_connections_rejected_total",
                "counter",
                "reason",
                &rejections.join(" "),
            ),
            (
                "sidebeat_tls_handshake_duration_seconds",
                "histogram",
                "result",
                RESULTS,
            ),
            (
                "sidebeat_http_requests_total",
                "counter",
                "code",
                "2xx 3xx 4xx 5xx",
            ),
            ("sidebeat_streams_active", "gauge", "listener", "chat"),
            ("sidebeat_streams_closing", "gauge", "listener", "chat"),
            (
                "sidebeat_streams_opened_total",
                "counter",
                "listener",
                "chat",
            ),
            (
                "sidebeat_streams_closed_total",
                "counter",
                "reason",
                &reasons.join(" "),
            ),
            (
                "sidebeat_streams_overdue_total",
                "counter",
                "reason",
                "client_idle quiet no_first_message max_age client_stalled upstream_idle \
                 upstream_stalled half_close_timeout",
            ),
            (
                "sidebeat_overdue_heard_again_seconds",
                "histogram",
                "listener",
                "chat",
            ),
            (
                "sidebeat_stream_duration_seconds",
                "histogram",
                "listener",
                "chat",
            ),
            ("sidebeat_stream_bytes_total", "counter", "from", ENDS),
            ("sidebeat_stream_messages_total", "counter", "from", ENDS),
            ("sidebeat_streams_silent", "gauge", "from", ENDS),
            (
                "sidebeat_streams_silent",
                "gauge",
                "over",
                "5s 15s 30s 60s 5m 1h",
            ),
            ("sidebeat_pings_sent_total", "counter", "to", ENDS),
            ("sidebeat_pongs_received_total", "counter", "from", ENDS),
            ("sidebeat_ping_rtt_seconds", "histogram", "to", ENDS),
            (
                "sidebeat_deadline_lateness_seconds",
                "histogram",
                "listener",
                "chat",
            ),
            (
                "sidebeat_upstream_connect_duration_seconds",
                "histogram",
                "result",
                RESULTS,
            ),
        ];
        let mut seen = BTreeSet::new();
        for (family, kind, label, words) in expected {
            assert_eq!(scrape.types[family], kind, "{family}");
            let words: BTreeSet<_> = words.split_whitespace().collect();
            assert_eq!(scrape.words(family, label), words, "{family} {label}");
            seen.insert(family);
        }
        let all: BTreeSet<_> = scrape
            .samples
            .keys()
            .filter(|series| series.contains("listener="))
            .map(|series| series.split('{').next().unwrap())
            .filter(|name| scrape.types.contains_key(*name))
            .collect();
        assert!(all.is_subset(&seen), "families the contract does not name");
        assert!(
            scrape
                .samples
                .iter()
                .filter(|(series, _)| series.contains("listener="))
                .all(|(_, value)| *value == 0.0),
            "nothing has been counted yet"
        );
    }

    #[test]
    fn families_of_the_process_have_a_value_at_once() {
        let scrape = Scrape::of(&Metrics::new());
        let build = format!(
            "sidebeat_build_info{{revision=\"{}\",version=\"{}\"}}",
            option_env!("SIDEBEAT_REVISION").unwrap_or("unknown"),
            env!("CARGO_PKG_VERSION")
        );
        assert_eq!(scrape.samples[&build], 1.0);
        for (series, kind) in [
            ("sidebeat_own_pauses_seconds_total", "counter"),
            ("sidebeat_config_reloads_total{result=\"ok\"}", "counter"),
            ("sidebeat_config_reloads_total{result=\"error\"}", "counter"),
            ("sidebeat_config_last_reload_successful", "gauge"),
            (
                "sidebeat_config_last_reload_success_timestamp_seconds",
                "gauge",
            ),
            ("sidebeat_draining", "gauge"),
        ] {
            assert_eq!(scrape.samples[series], 0.0, "{series}");
            let family = series.split('{').next().unwrap();
            assert_eq!(scrape.types[family], kind, "{series}");
        }
        for series in [
            "process_open_fds",
            "process_max_fds",
            "process_resident_memory_bytes",
            "process_start_time_seconds",
        ] {
            assert!(scrape.samples[series] > 0.0, "{series}");
        }
        assert_eq!(scrape.types["process_cpu_seconds_total"], "counter");
    }

    #[test]
    fn children_count_under_their_own_label() {
        let metrics = Metrics::new();
        let chat = metrics.listener("chat");
        for (times, reason) in (1..).zip(Reason::ALL) {
            chat.closed(*reason).inc_by(times);
        }
        for (times, reason) in (1..).zip(Rejection::ALL) {
            chat.rejected(*reason).inc_by(times);
        }
        for status in [200, 302, 404, 503, 500] {
            chat.http_requests(StatusCode::from_u16(status).unwrap())
                .inc();
        }
        chat.http_requests(StatusCode::from_u16(101).unwrap()).inc();
        chat.http_requests(StatusCode::from_u16(999).unwrap()).inc();
        chat.bytes(End::Client).inc_by(7);
        chat.messages(End::Upstream).inc_by(2);
        chat.pings_sent(End::Client).inc();
        chat.pongs(End::Upstream).inc();
        chat.rtt(End::Upstream).observe(0.02);
        chat.tls_handshake.timeout.observe(10.0);
        chat.overdue(Reason::Quiet).unwrap().inc();
        assert!(chat.overdue(Reason::Drain).is_none());
        chat.set_silent(End::Upstream, [6, 5, 4, 3, 2, 1]);

        let samples = Scrape::of(&metrics).samples;
        for (times, reason) in (1..).zip(Reason::ALL) {
            let word = reason.as_str();
            let series =
                format!("sidebeat_streams_closed_total{{listener=\"chat\",reason=\"{word}\"}}");
            assert_eq!(samples[&series], f64::from(times), "{word}");
        }
        for (times, reason) in (1..).zip(Rejection::ALL) {
            let word = reason.as_str();
            let series = format!(
                "sidebeat_connections_rejected_total{{listener=\"chat\",reason=\"{word}\"}}"
            );
            assert_eq!(samples[&series], f64::from(times), "{word}");
        }
        for (series, value) in [
            ("http_requests_total{code=\"2xx\",listener=\"chat\"}", 2.0),
            ("http_requests_total{code=\"3xx\",listener=\"chat\"}", 1.0),
            ("http_requests_total{code=\"4xx\",listener=\"chat\"}", 1.0),
            ("http_requests_total{code=\"5xx\",listener=\"chat\"}", 3.0),
            ("stream_bytes_total{from=\"client\",listener=\"chat\"}", 7.0),
            (
                "stream_bytes_total{from=\"upstream\",listener=\"chat\"}",
                0.0,
            ),
            (
                "stream_messages_total{from=\"upstream\",listener=\"chat\"}",
                2.0,
            ),
            ("pings_sent_total{listener=\"chat\",to=\"client\"}", 1.0),
            (
                "pongs_received_total{from=\"upstream\",listener=\"chat\"}",
                1.0,
            ),
            (
                "ping_rtt_seconds_count{listener=\"chat\",to=\"upstream\"}",
                1.0,
            ),
            (
                "ping_rtt_seconds_count{listener=\"chat\",to=\"client\"}",
                0.0,
            ),
            (
                "tls_handshake_duration_seconds_count{listener=\"chat\",result=\"timeout\"}",
                1.0,
            ),
            (
                "streams_overdue_total{listener=\"chat\",reason=\"quiet\"}",
                1.0,
            ),
            (
                "streams_silent{from=\"upstream\",listener=\"chat\",over=\"5s\"}",
                6.0,
            ),
            (
                "streams_silent{from=\"upstream\",listener=\"chat\",over=\"1h\"}",
                1.0,
            ),
            (
                "streams_silent{from=\"client\",listener=\"chat\",over=\"1h\"}",
                0.0,
            ),
        ] {
            assert_eq!(samples[&format!("sidebeat_{series}")], value, "{series}");
        }
    }

    #[test]
    fn certificates_follow_the_list() {
        let metrics = Metrics::new();
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        metrics.set_certificates("chat", &[at(10), at(20)]);
        metrics.set_certificates("chat", &[at(30)]);
        let samples = Scrape::of(&metrics).samples;
        let series = |place| {
            format!(
                "sidebeat_tls_certificate_not_after_timestamp_seconds\
                 {{certificate=\"{place}\",listener=\"chat\"}}"
            )
        };
        assert_eq!(samples[&series(0)], 30.0);
        assert!(!samples.contains_key(&series(1)));
    }

    #[test]
    fn reloads_pauses_and_drain_are_told() {
        let metrics = Metrics::new();
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        let value = |series: &str| Scrape::of(&metrics).samples[&format!("sidebeat_{series}")];
        metrics.config_loaded(at(10));
        assert_eq!(value("config_reloads_total{result=\"ok\"}"), 0.0);
        assert_eq!(value("config_last_reload_successful"), 1.0);
        metrics.reload_failed();
        assert_eq!(value("config_reloads_total{result=\"error\"}"), 1.0);
        assert_eq!(value("config_last_reload_successful"), 0.0);
        assert_eq!(value("config_last_reload_success_timestamp_seconds"), 10.0);
        metrics.reload_succeeded(at(30));
        assert_eq!(value("config_reloads_total{result=\"ok\"}"), 1.0);
        assert_eq!(value("config_last_reload_successful"), 1.0);
        assert_eq!(value("config_last_reload_success_timestamp_seconds"), 30.0);
        metrics.paused(Duration::from_millis(2500));
        assert_eq!(value("own_pauses_seconds_total"), 2.5);
        metrics.set_draining(true);
        assert_eq!(value("draining"), 1.0);
    }

    #[test]
    fn callbacks_run_once_before_each_scrape() {
        let metrics = Metrics::new();
        let calls = Arc::new(AtomicU64::new(0));
        let seen = Arc::clone(&calls);
        metrics.on_scrape(Box::new(move |metrics| {
            let call = seen.fetch_add(1, Ordering::Relaxed) + 1;
            metrics.listener("chat").set_silent(End::Client, [call; 6]);
        }));
        for call in 1..=2 {
            let samples = Scrape::of(&metrics).samples;
            let series = "sidebeat_streams_silent{from=\"client\",listener=\"chat\",over=\"5s\"}";
            assert_eq!(samples[series], f64::from(call));
        }
        assert_eq!(calls.load(Ordering::Relaxed), 2);
    }
}
