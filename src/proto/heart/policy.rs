//! The heartbeat rules of one listener, as the configuration gives them.

use std::time::Duration;

/// The heartbeat rules of one listener, validated. Every `None` is `off`.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// Rule 1.
    pub idle_limit: Option<Duration>,
    /// What moves `heard`.
    pub idle_counts: IdleCounts,
    /// Rule 2: heartbeats to the client.
    pub ping: Option<PingPolicy>,
    /// Masked Ping frames to a ws upstream: the interval.
    pub upstream_ping: Option<Duration>,
    /// Rule 5.
    pub upstream_idle_limit: Option<Duration>,
    /// Rule 6.
    pub quiet_limit: Option<Duration>,
    /// Rule 6.
    pub first_message_limit: Option<Duration>,
    /// Rule 7.
    pub max_age: Option<Duration>,
    /// Rule 7: 0.1 is 10 %.
    pub max_age_jitter: f64,
    /// Rule 8.
    pub stall_limit: Option<Duration>,
    /// Rule 9.
    pub half_close_limit: Option<Duration>,
    /// Rule 10.
    pub close_timeout: Duration,
    /// Rule 11.
    pub mode: Mode,
}

/// When and how often the client is asked.
#[derive(Debug, Clone, PartialEq)]
pub struct PingPolicy {
    /// Between two pings, before jitter.
    pub interval: Duration,
    /// 0.1 is 10 %.
    pub jitter: f64,
    /// Only to a silent client, or always.
    pub when: When,
}

/// `idle_counts`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdleCounts {
    /// Any byte from the client.
    Traffic,
    /// Only complete data messages.
    Messages,
}

/// `ping.when`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Only to a client not heard for `interval`.
    Idle,
    /// Every `interval`.
    Always,
}

/// `mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Close what exceeds a limit.
    Enforce,
    /// Only report it.
    Observe,
}
