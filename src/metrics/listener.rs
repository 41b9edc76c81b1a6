//! The families that carry a `listener` label, and their children for one listener.

use std::time::Duration;

use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry,
};

use super::register;
use crate::proto::cause::{End, Reason, Rejection};

/// What a silence must exceed to be counted in `sidebeat_streams_silent`, with the word of its label.
pub const SILENT_OVER: [(Duration, &str); 6] = [
    (Duration::from_secs(5), "5s"),
    (Duration::from_secs(15), "15s"),
    (Duration::from_secs(30), "30s"),
    (Duration::from_secs(60), "60s"),
    (Duration::from_secs(300), "5m"),
    (Duration::from_secs(3600), "1h"),
];

/// The limits that `mode: observe` counts instead of closing.
const LIMITS: [Reason; 8] = [
    Reason::ClientIdle,
    Reason::Quiet,
    Reason::NoFirstMessage,
    Reason::MaxAge,
    Reason::ClientStalled,
    Reason::UpstreamIdle,
    Reason::UpstreamStalled,
    Reason::HalfCloseTimeout,
];

const RESULTS: [&str; 3] = ["ok", "error", "timeout"];
const CLASSES: [&str; 4] = ["2xx", "3xx", "4xx", "5xx"];

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

/// One histogram for each way in which an attempt ends.
pub struct Outcomes {
    /// It worked; seconds.
    pub ok: Histogram,
    /// It failed; seconds until then.
    pub error: Histogram,
    /// It took longer than its limit; seconds, which are about that limit.
    pub timeout: Histogram,
}

/// The children of one listener, looked up once: counting on them takes no lock and no look-up.
pub struct ListenerMetrics {
    /// Connections taken from the listening socket.
    pub accepted: IntCounter,
    /// TLS handshakes with clients, in seconds.
    pub tls_handshake: Outcomes,
    /// Streams that are open.
    pub active: IntGauge,
    /// Streams that are over and whose sockets are still being closed.
    pub closing: IntGauge,
    /// Streams that opened.
    pub opened: IntCounter,
    /// Seconds after a limit at which an overdue client was heard again (`mode: observe`).
    pub heard_again: Histogram,
    /// Seconds from opening to cause.
    pub duration: Histogram,
    /// Seconds between a deadline and the turn that met it.
    pub lateness: Histogram,
    /// Connects to the app, in seconds.
    pub upstream_connect: Outcomes,
    rejected: Vec<IntCounter>,
    http_requests: Vec<IntCounter>,
    closed: Vec<IntCounter>,
    overdue: Vec<(Reason, IntCounter)>,
    bytes: [IntCounter; 2],
    messages: [IntCounter; 2],
    pings_sent: [IntCounter; 2],
    pongs: [IntCounter; 2],
    rtt: [Histogram; 2],
    silent: [[IntGauge; SILENT_OVER.len()]; 2],
}

impl ListenerMetrics {
    /// Connections refused for `reason` before they became a stream.
    pub fn rejected(&self, reason: Rejection) -> &IntCounter {
        &self.rejected[reason as usize]
    }

    /// Ordinary HTTP requests answered with a status of the class of `status`.
    pub fn http_requests(&self, status: http::StatusCode) -> &IntCounter {
        // 1xx is no final answer and 6xx is no status: both fall on the nearest class.
        let class = usize::from(status.as_u16() / 100).clamp(2, 5);
        &self.http_requests[class - 2]
    }

    /// Streams that ended for `reason`.
    pub fn closed(&self, reason: Reason) -> &IntCounter {
        &self.closed[reason as usize]
    }

    /// Streams that exceeded the limit of `reason` under `mode: observe`; `None` if `reason` is no limit.
    pub fn overdue(&self, reason: Reason) -> Option<&IntCounter> {
        self.overdue
            .iter()
            .find(|(limit, _)| *limit == reason)
            .map(|(_, counter)| counter)
    }

    /// Bytes read from `from`, below TLS.
    pub fn bytes(&self, from: End) -> &IntCounter {
        &self.bytes[from as usize]
    }

    /// Data messages read from `from`.
    pub fn messages(&self, from: End) -> &IntCounter {
        &self.messages[from as usize]
    }

    /// Pings of our own sent to `to`.
    pub fn pings_sent(&self, to: End) -> &IntCounter {
        &self.pings_sent[to as usize]
    }

    /// Answers of `from` to pings of our own.
    pub fn pongs(&self, from: End) -> &IntCounter {
        &self.pongs[from as usize]
    }

    /// Seconds from the last byte of a ping to `to` to its answer.
    pub fn rtt(&self, to: End) -> &Histogram {
        &self.rtt[to as usize]
    }

    /// Sets how many open streams have not heard `from` for longer than each entry of [`SILENT_OVER`].
    pub fn set_silent(&self, from: End, streams: [u64; SILENT_OVER.len()]) {
        for (gauge, count) in self.silent[from as usize].iter().zip(streams) {
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }
}

/// Every family with a `listener` label.
pub(super) struct ListenerFamilies {
    accepted: IntCounterVec,
    rejected: IntCounterVec,
    tls_handshake: HistogramVec,
    http_requests: IntCounterVec,
    active: IntGaugeVec,
    closing: IntGaugeVec,
    opened: IntCounterVec,
    closed: IntCounterVec,
    overdue: IntCounterVec,
    heard_again: HistogramVec,
    duration: HistogramVec,
    bytes: IntCounterVec,
    messages: IntCounterVec,
    silent: IntGaugeVec,
    pings_sent: IntCounterVec,
    pongs: IntCounterVec,
    rtt: HistogramVec,
    lateness: HistogramVec,
    upstream_connect: HistogramVec,
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

    /// Creates every child of `listener`, so that no series is missing before its first event.
    pub(super) fn children(&self, listener: &str) -> ListenerMetrics {
        let words = |family: &IntCounterVec, words: &[&str]| -> Vec<IntCounter> {
            words
                .iter()
                .map(|word| family.with_label_values(&[listener, word]))
                .collect()
        };
        let ends = |family: &IntCounterVec| {
            End::BOTH.map(|end| family.with_label_values(&[listener, end.as_str()]))
        };
        let outcomes = |family: &HistogramVec| {
            let [ok, error, timeout] =
                RESULTS.map(|result| family.with_label_values(&[listener, result]));
            Outcomes { ok, error, timeout }
        };
        ListenerMetrics {
            accepted: self.accepted.with_label_values(&[listener]),
            tls_handshake: outcomes(&self.tls_handshake),
            active: self.active.with_label_values(&[listener]),
            closing: self.closing.with_label_values(&[listener]),
            opened: self.opened.with_label_values(&[listener]),
            heard_again: self.heard_again.with_label_values(&[listener]),
            duration: self.duration.with_label_values(&[listener]),
            lateness: self.lateness.with_label_values(&[listener]),
            upstream_connect: outcomes(&self.upstream_connect),
            rejected: words(&self.rejected, &rejection_words()),
            http_requests: words(&self.http_requests, &CLASSES),
            closed: words(&self.closed, &reason_words()),
            overdue: LIMITS
                .map(|limit| {
                    let child = self.overdue.with_label_values(&[listener, limit.as_str()]);
                    (limit, child)
                })
                .into(),
            bytes: ends(&self.bytes),
            messages: ends(&self.messages),
            pings_sent: ends(&self.pings_sent),
            pongs: ends(&self.pongs),
            rtt: End::BOTH.map(|to| self.rtt.with_label_values(&[listener, to.as_str()])),
            silent: End::BOTH.map(|from| {
                SILENT_OVER.map(|(_, over)| {
                    self.silent
                        .with_label_values(&[listener, from.as_str(), over])
                })
            }),
        }
    }

    /// Removes every child of `listener`.
    pub(super) fn remove(&self, listener: &str) {
        // A child that is not there is what we want: every error below is that one.
        for family in [&self.accepted, &self.opened] {
            let _ = family.remove_label_values(&[listener]);
        }
        for family in [&self.active, &self.closing] {
            let _ = family.remove_label_values(&[listener]);
        }
        for family in [&self.heard_again, &self.duration, &self.lateness] {
            let _ = family.remove_label_values(&[listener]);
        }
        for family in [&self.tls_handshake, &self.upstream_connect] {
            for result in RESULTS {
                let _ = family.remove_label_values(&[listener, result]);
            }
        }
        let limits = LIMITS.map(Reason::as_str);
        let ends = End::BOTH.map(End::as_str);
        for (family, words) in [
            (&self.rejected, &rejection_words()[..]),
            (&self.http_requests, &CLASSES),
            (&self.closed, &reason_words()),
            (&self.overdue, &limits),
            (&self.bytes, &ends),
            (&self.messages, &ends),
            (&self.pings_sent, &ends),
            (&self.pongs, &ends),
        ] {
            for word in words {
                let _ = family.remove_label_values(&[listener, word]);
            }
        }
        for end in ends {
            let _ = self.rtt.remove_label_values(&[listener, end]);
            for (_, over) in SILENT_OVER {
                let _ = self.silent.remove_label_values(&[listener, end, over]);
            }
        }
    }
}

fn rejection_words() -> Vec<&'static str> {
    Rejection::ALL.iter().map(|word| word.as_str()).collect()
}

fn reason_words() -> Vec<&'static str> {
    Reason::ALL.iter().map(|word| word.as_str()).collect()
}
