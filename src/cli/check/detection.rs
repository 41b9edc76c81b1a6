//! How soon a dead client is found, computed from the heartbeat rules.

use std::time::Duration;

use crate::config::{Listener, format_duration};
use crate::proto::heart::{IdleCounts, Mode, PingPolicy};

/// Rule 1: keepalive after this silence, then three probes.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(25);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_PROBES: u32 = 3;

/// Linux gives up unacknowledged data after about this (net.ipv4.tcp_retries2 = 15: 924.6 s).
const RETRANSMISSION: Duration = Duration::from_secs(925);

/// Rule 8 reckons with this where idle_limit is off.
const IDLE_LIMIT: Duration = Duration::from_secs(55);

/// From the death of a client to its detection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Detection {
    pub(super) earliest: Duration,
    pub(super) latest: Duration,
}

/// The longest wait between two pings.
pub(super) fn longest_wait(ping: &PingPolicy) -> Duration {
    ping.interval.mul_f64(1.0 + ping.jitter)
}

/// Whether answers to our pings keep an idle client heard.
pub(super) fn answers_count(listener: &Listener) -> bool {
    let policy = &listener.heartbeat;
    policy.ping.is_some()
        && match policy.idle_counts {
            IdleCounts::Traffic => true,
            IdleCounts::Messages => listener.ping_reply.is_some(),
        }
}

/// Rule 1: closed `idle_limit` after its last byte, which is at most one ping older than its death.
pub(super) fn by_idle_limit(listener: &Listener) -> Option<Detection> {
    let latest = listener.heartbeat.idle_limit?;
    let asked = listener.heartbeat.ping.as_ref().map(longest_wait);
    let earliest = match asked {
        Some(wait) if answers_count(listener) => latest.saturating_sub(wait),
        _ => Duration::ZERO,
    };
    Some(Detection { earliest, latest })
}

/// What the kernel finds of a client that vanished without a word; its coarse timers add up to a twentieth.
pub(super) fn by_kernel(listener: &Listener) -> Detection {
    let backstop = user_timeout(listener);
    if let Some(ping) = &listener.heartbeat.ping {
        // Keepalive rests while a heartbeat waits for its acknowledgement.
        let earliest = backstop.unwrap_or(RETRANSMISSION);
        return Detection {
            earliest,
            latest: earliest + longest_wait(ping),
        };
    }
    let latest = match backstop {
        // Linux counts probes only without TCP_USER_TIMEOUT; with it the first probe later decides (tcp_keepalive_timer).
        Some(backstop) => {
            let after = backstop.saturating_sub(KEEPALIVE_IDLE).as_millis();
            let probes = after.div_ceil(KEEPALIVE_INTERVAL.as_millis()).max(1);
            KEEPALIVE_IDLE + KEEPALIVE_INTERVAL * u32::try_from(probes).unwrap_or(u32::MAX)
        }
        None => KEEPALIVE_IDLE + KEEPALIVE_INTERVAL * KEEPALIVE_PROBES,
    };
    Detection {
        earliest: latest - KEEPALIVE_IDLE,
        latest,
    }
}

/// Rule 8: the backstop of the kernel.
fn user_timeout(listener: &Listener) -> Option<Duration> {
    let policy = &listener.heartbeat;
    match policy.mode {
        Mode::Observe => None,
        Mode::Enforce => {
            let stall = policy.stall_limit?;
            Some(policy.idle_limit.unwrap_or(IDLE_LIMIT).max(stall) + policy.close_timeout)
        }
    }
}

/// The sentences about one listener.
pub(super) fn lines(listener: &Listener) -> Vec<String> {
    let policy = &listener.heartbeat;
    match (by_idle_limit(listener), policy.mode) {
        (Some(found), Mode::Enforce) => vec![idle(listener, found, "closed")],
        (Some(found), Mode::Observe) => {
            vec![
                idle(listener, found, "reported as overdue, not closed,"),
                vanished(listener),
            ]
        }
        (None, Mode::Enforce | Mode::Observe) => vec![vanished(listener), hanging(listener)],
    }
}

fn idle(listener: &Listener, found: Detection, verb: &str) -> String {
    let last = format_duration(found.latest);
    let rule = match &listener.heartbeat.ping {
        Some(ping) if answers_count(listener) => format!(
            "{last} after its last byte, and it is asked at the latest {} after that",
            format_duration(longest_wait(ping))
        ),
        Some(_) | None => format!("{last} after its last byte, and nothing makes it send one"),
    };
    format!(
        "a dead client is {verb} {} to {last} after its death: {rule}",
        format_duration(found.earliest)
    )
}

fn vanished(listener: &Listener) -> String {
    let found = by_kernel(listener);
    let keepalive = format!(
        "keepalive after {}, then {KEEPALIVE_PROBES} x {}",
        format_duration(KEEPALIVE_IDLE),
        format_duration(KEEPALIVE_INTERVAL)
    );
    let by = match (user_timeout(listener), &listener.heartbeat.ping) {
        (Some(timeout), None) => {
            format!("{keepalive}, TCP_USER_TIMEOUT {}", format_duration(timeout))
        }
        (None, None) => keepalive,
        (Some(timeout), Some(_)) => format!(
            "a ping not acknowledged for TCP_USER_TIMEOUT {}",
            format_duration(timeout)
        ),
        (None, Some(_)) => "a ping not acknowledged, tcp_retries2".to_owned(),
    };
    format!(
        "a client whose host vanishes is found about {} to {} later, by TCP alone: {by}",
        format_duration(found.earliest),
        format_duration(found.latest)
    )
}

fn hanging(listener: &Listener) -> String {
    match (listener.heartbeat.stall_limit, listener.heartbeat.mode) {
        (Some(stall), Mode::Enforce) => format!(
            "a client that hangs with its connection open is found only if bytes wait for it for {} (stall_limit): set idle_limit",
            format_duration(stall)
        ),
        (Some(_) | None, Mode::Enforce | Mode::Observe) => {
            "a client that hangs with its connection open is never found: set idle_limit".to_owned()
        }
    }
}
