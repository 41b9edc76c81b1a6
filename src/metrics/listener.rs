//! The children of one listener.

use std::time::Duration;

use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge};

use super::families::{CLASSES, LIMITS, ListenerFamilies, RESULTS, reason_words, rejection_words};
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
    /// Creates every child of `listener`, so that no series is missing before its first event.
    pub(super) fn new(families: &ListenerFamilies, listener: &str) -> Self {
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
        Self {
            accepted: families.accepted.with_label_values(&[listener]),
            tls_handshake: outcomes(&families.tls_handshake),
            active: families.active.with_label_values(&[listener]),
            closing: families.closing.with_label_values(&[listener]),
            opened: families.opened.with_label_values(&[listener]),
            heard_again: families.heard_again.with_label_values(&[listener]),
            duration: families.duration.with_label_values(&[listener]),
            lateness: families.lateness.with_label_values(&[listener]),
            upstream_connect: outcomes(&families.upstream_connect),
            rejected: words(&families.rejected, &rejection_words()),
            http_requests: words(&families.http_requests, &CLASSES),
            closed: words(&families.closed, &reason_words()),
            overdue: LIMITS
                .map(|limit| {
                    let child = families
                        .overdue
                        .with_label_values(&[listener, limit.as_str()]);
                    (limit, child)
                })
                .into(),
            bytes: ends(&families.bytes),
            messages: ends(&families.messages),
            pings_sent: ends(&families.pings_sent),
            pongs: ends(&families.pongs),
            rtt: End::BOTH.map(|to| families.rtt.with_label_values(&[listener, to.as_str()])),
            silent: End::BOTH.map(|from| {
                SILENT_OVER.map(|(_, over)| {
                    families
                        .silent
                        .with_label_values(&[listener, from.as_str(), over])
                })
            }),
        }
    }

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
