mod scrape;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};

use http::StatusCode;

use super::*;
use crate::proto::cause::{End, Reason, Rejection};
use scrape::Scrape;

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
        let series =
            format!("sidebeat_connections_rejected_total{{listener=\"chat\",reason=\"{word}\"}}");
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
