//! The families that carry a `listener` label: names, help texts, buckets.

use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry};

use super::register;
use crate::proto::cause::{Reason, Rejection};

/// The limits that `mode: observe` counts instead of closing.
pub(super) const LIMITS: [Reason; 8] = [
    Reason::ClientIdle,
    Reason::Quiet,
    Reason::NoFirstMessage,
    Reason::MaxAge,
    Reason::ClientStalled,
    Reason::UpstreamIdle,
    Reason::UpstreamStalled,
    Reason::HalfCloseTimeout,
];

/// How an attempt ends.
pub(super) const RESULTS: [&str; 3] = ["ok", "error", "timeout"];
/// Classes of final HTTP answers.
pub(super) const CLASSES: [&str; 4] = ["2xx", "3xx", "4xx", "5xx"];

/// From a peer in the same pod (under a millisecond) to the default limits of handshakes and connects.
const SETUP_SECONDS: &[f64] = &[
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];
/// From a LAN to a phone that wakes up for the answer.
const RTT_SECONDS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];
/// The timer wheel rounds up to a millisecond; seconds late mean a starved worker.
const LATENESS_SECONDS: &[f64] = &[
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0,
];
/// From a connection that failed at once to one of a day.
const DURATION_SECONDS: &[f64] = &[
    0.1, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0, 43_200.0, 86_400.0,
];
/// How much longer a limit would have had to be: from a second to a night.
const HEARD_AGAIN_SECONDS: &[f64] = &[
    1.0, 2.5, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3600.0, 28_800.0,
];

/// Every family with a `listener` label.
pub(super) struct ListenerFamilies {
    pub(super) accepted: IntCounterVec,
    pub(super) rejected: IntCounterVec,
    pub(super) tls_handshake: HistogramVec,
    pub(super) http_requests: IntCounterVec,
    pub(super) active: IntGaugeVec,
    pub(super) closing: IntGaugeVec,
    pub(super) opened: IntCounterVec,
    pub(super) closed: IntCounterVec,
    pub(super) overdue: IntCounterVec,
    pub(super) heard_again: HistogramVec,
    pub(super) duration: HistogramVec,
    pub(super) bytes: IntCounterVec,
    pub(super) messages: IntCounterVec,
    pub(super) silent: IntGaugeVec,
    pub(super) pings_sent: IntCounterVec,
    pub(super) pongs: IntCounterVec,
    pub(super) rtt: HistogramVec,
    pub(super) lateness: HistogramVec,
    pub(super) upstream_connect: HistogramVec,
}

impl ListenerFamilies {
    pub(super) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counter = |name: &str, help: &str, labels: &[&str]| {
            register(registry, IntCounterVec::new(Opts::new(name, help), labels)?)
        };
        let gauge = |name: &str, help: &str, labels: &[&str]| {
            register(registry, IntGaugeVec::new(Opts::new(name, help), labels)?)
        };
        let histogram = |name: &str, help: &str, labels: &[&str], buckets: &[f64]| {
            let opts = HistogramOpts::new(name, help).buckets(buckets.to_vec());
            register(registry, HistogramVec::new(opts, labels)?)
        };
        Ok(Self {
            accepted: counter(
                "sidebeat_connections_accepted_total",
                "Connections accepted.",
                &["listener"],
            )?,
            rejected: counter(
                "sidebeat_connections_rejected_total",
                "Connections refused before they became a stream.",
                &["listener", "reason"],
            )?,
            tls_handshake: histogram(
                "sidebeat_tls_handshake_duration_seconds",
                "Duration of TLS handshakes with clients.",
                &["listener", "result"],
                SETUP_SECONDS,
            )?,
            http_requests: counter(
                "sidebeat_http_requests_total",
                "Ordinary HTTP requests, which are no streams, by class of the answer.",
                &["listener", "code"],
            )?,
            active: gauge(
                "sidebeat_streams_active",
                "Streams that are open.",
                &["listener"],
            )?,
            closing: gauge(
                "sidebeat_streams_closing",
                "Streams that are over and whose sockets are not closed yet.",
                &["listener"],
            )?,
            opened: counter(
                "sidebeat_streams_opened_total",
                "Streams opened.",
                &["listener"],
            )?,
            closed: counter(
                "sidebeat_streams_closed_total",
                "Streams ended, by reason.",
                &["listener", "reason"],
            )?,
            overdue: counter(
                "sidebeat_streams_overdue_total",
                "Limits exceeded by streams that mode observe kept open.",
                &["listener", "reason"],
            )?,
            heard_again: histogram(
                "sidebeat_overdue_heard_again_seconds",
                "Time from an exceeded limit to the next sign of life under mode observe.",
                &["listener"],
                HEARD_AGAIN_SECONDS,
            )?,
            duration: histogram(
                "sidebeat_stream_duration_seconds",
                "Duration of ended streams.",
                &["listener"],
                DURATION_SECONDS,
            )?,
            bytes: counter(
                "sidebeat_stream_bytes_total",
                "Bytes read from one side of streams, below TLS.",
                &["listener", "from"],
            )?,
            messages: counter(
                "sidebeat_stream_messages_total",
                "Data messages read from one side of streams.",
                &["listener", "from"],
            )?,
            silent: gauge(
                "sidebeat_streams_silent",
                "Open streams of which one side has not been heard for longer than the label says.",
                &["listener", "from", "over"],
            )?,
            pings_sent: counter(
                "sidebeat_pings_sent_total",
                "Pings sent by sidebeat itself.",
                &["listener", "to"],
            )?,
            pongs: counter(
                "sidebeat_pongs_received_total",
                "Answers to pings of sidebeat itself.",
                &["listener", "from"],
            )?,
            rtt: histogram(
                "sidebeat_ping_rtt_seconds",
                "Time from a ping to its answer.",
                &["listener", "to"],
                RTT_SECONDS,
            )?,
            lateness: histogram(
                "sidebeat_deadline_lateness_seconds",
                "Time from a deadline of a stream to the turn that met it.",
                &["listener"],
                LATENESS_SECONDS,
            )?,
            upstream_connect: histogram(
                "sidebeat_upstream_connect_duration_seconds",
                "Duration of connects to the upstream.",
                &["listener", "result"],
                SETUP_SECONDS,
            )?,
        })
    }
}

pub(super) fn rejection_words() -> Vec<&'static str> {
    Rejection::ALL.iter().map(|word| word.as_str()).collect()
}

pub(super) fn reason_words() -> Vec<&'static str> {
    Reason::ALL.iter().map(|word| word.as_str()).collect()
}
