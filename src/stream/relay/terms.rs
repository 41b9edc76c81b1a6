//! The limits of a listener, as its open streams use them.

use std::time::Duration;

use crate::config::{self, Protocol};
use crate::proto::heart::{IdleCounts, Mode, Policy};
use crate::stream::pump::Beat;

/// The limits of a listener as open streams use them; a reload replaces them as a whole.
#[derive(Debug)]
pub struct Terms {
    /// The heartbeat rules.
    pub policy: Policy,
    /// `ping.data`, ready for the wire.
    pub(crate) beat: Option<Beat>,
    /// How long a reload spreads the ends of streams beyond a lowered `max_age`.
    pub spread: Duration,
    /// The client's idle limit is the only deadline that can come nearer or go further by what is heard.
    pub(super) simple: bool,
}

impl Terms {
    /// The limits of `config`; `spread` is `drain.spread`.
    pub fn new(config: &config::Listener, spread: Duration) -> Self {
        let websocket = matches!(config.protocol, Protocol::Ws | Protocol::Wss);
        let beat = config.ping_data.as_ref();
        Self {
            beat: beat.map(|data| Beat::new(data, websocket)),
            ..Self::of(config.heartbeat.clone(), spread)
        }
    }

    /// Limits without an application heartbeat.
    pub(crate) fn of(policy: Policy, spread: Duration) -> Self {
        let simple = is_simple(&policy);
        Self {
            policy,
            beat: None,
            spread,
            simple,
        }
    }
}

fn is_simple(policy: &Policy) -> bool {
    let others = [
        policy.quiet_limit,
        policy.upstream_idle_limit,
        policy.first_message_limit,
        policy.max_age,
    ];
    policy.mode == Mode::Enforce
        && policy.idle_counts == IdleCounts::Traffic
        && policy.upstream_ping.is_none()
        && others.iter().all(Option::is_none)
}
