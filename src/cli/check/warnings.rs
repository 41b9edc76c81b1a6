//! What a valid configuration may surprise with.

use std::time::Duration;

use super::detection::{answers_count, longest_wait};
use crate::config::{Config, Hook, IdentityRule, Listener, format_duration};
use crate::proto::framing::Framing;
use crate::proto::heart::{IdleCounts, Mode};

/// What cuts a connection on which nothing moves, by default and after how long.
const HTTP_MIDDLEBOXES: [(&str, Duration); 4] = [
    ("nginx", Duration::from_secs(60)),
    ("Cloudflare", Duration::from_secs(100)),
    ("AWS API Gateway", Duration::from_secs(600)),
    ("Envoy", Duration::from_secs(3600)),
];

/// The same for plain TCP.
const TCP_MIDDLEBOXES: [(&str, Duration); 3] = [
    ("AWS NLB", Duration::from_secs(350)),
    ("nginx", Duration::from_secs(600)),
    ("Envoy", Duration::from_secs(3600)),
];

/// AWS API Gateway ends every WebSocket connection after this.
const API_GATEWAY_AGE: Duration = Duration::from_secs(2 * 3600);

/// The warnings about a listener.
pub(super) fn of_listener(listener: &Listener) -> Vec<String> {
    [
        outpaced(listener),
        unanswered(listener),
        uncounted(listener),
        only_in_silence(listener),
        upstream_unasked(listener),
        forgeable(listener),
        uncompressed(listener),
        outlived(listener),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Nothing is sent to a quiet client often enough for what stands between.
fn outpaced(listener: &Listener) -> Option<String> {
    let wait = listener.heartbeat.ping.as_ref().map(longest_wait);
    let boxes: &[_] = if listener.protocol.is_websocket() {
        &HTTP_MIDDLEBOXES
    } else {
        &TCP_MIDDLEBOXES
    };
    let faster: Vec<String> = boxes
        .iter()
        .filter(|(_, limit)| wait.is_none_or(|wait| wait >= *limit))
        .map(|(name, limit)| format!("{name} {}", format_duration(*limit)))
        .collect();
    if faster.is_empty() {
        return None;
    }
    let often = wait.map_or_else(
        || "nothing is sent to a quiet client".to_owned(),
        |wait| {
            format!(
                "a quiet client is sent something only every {}",
                format_duration(wait)
            )
        },
    );
    let fix = match (wait, listener.protocol.is_websocket()) {
        (Some(_), _) => "lower ping.interval",
        (None, true) => "turn ping on",
        (None, false) => "set ping.data",
    };
    Some(format!(
        "{often}; by default these cut an idle connection sooner: {}. If one is on the way, {fix}",
        faster.join(", ")
    ))
}

/// Clients that cannot answer would all be closed.
fn unanswered(listener: &Listener) -> Option<String> {
    let policy = &listener.heartbeat;
    match policy.mode {
        Mode::Observe => return None,
        Mode::Enforce => policy.idle_limit?,
    };
    if policy.ping.is_none() {
        return Some(
            "a client that is alive but quiet is closed like a dead one, since it is not asked: turn ping on, or make clients send heartbeats"
                .to_owned(),
        );
    }
    answers_count(listener).then(|| {
        "a client that never answers pings is closed: start with `mode: observe` and look at sidebeat_streams_overdue_total"
            .to_owned()
    })
}

/// Pings whose answers do not count.
fn uncounted(listener: &Listener) -> Option<String> {
    let policy = &listener.heartbeat;
    let pointless = policy.idle_counts == IdleCounts::Messages
        && policy.idle_limit.is_some()
        && policy.ping.is_some()
        && listener.ping_reply.is_none();
    pointless.then(|| {
        "`idle_counts: messages` does not count what answers a ping: set ping.reply, or a client must send messages of its own"
            .to_owned()
    })
}

/// Rule 3: raw framing is pinged only when the app is silent.
fn only_in_silence(listener: &Listener) -> Option<String> {
    let raw = !listener.protocol.is_websocket() && listener.framing == Framing::Raw;
    let limit = listener.heartbeat.idle_limit?;
    (raw && listener.heartbeat.ping.is_some()).then(|| {
        format!(
            "on raw framing a client is asked only while the app is silent: one that listens to a busy app without a word is closed after {}",
            format_duration(limit)
        )
    })
}

fn upstream_unasked(listener: &Listener) -> Option<String> {
    let policy = &listener.heartbeat;
    let limit = policy.upstream_idle_limit?;
    if policy.upstream_ping.is_some() {
        return None;
    }
    let fix = if listener.protocol.is_websocket() {
        "set upstream_ping"
    } else {
        "turn it off unless the app sends heartbeats"
    };
    Some(format!(
        "an app that has nothing to say for {} ends the stream (upstream_idle_limit): {fix}",
        format_duration(limit)
    ))
}

fn forgeable(listener: &Listener) -> Option<String> {
    let rules: Vec<String> = listener
        .identity
        .iter()
        .filter_map(|rule| match rule {
            IdentityRule::ResponseHeader(_) => None,
            IdentityRule::Query(name) => Some(format!("query {name}")),
            IdentityRule::Header(name) => Some(format!("header {name}")),
            IdentityRule::Cookie(name) => Some(format!("cookie {name}")),
            IdentityRule::FirstMessage => Some("first_message".to_owned()),
        })
        .collect();
    if rules.is_empty() {
        return None;
    }
    Some(format!(
        "a client can forge its uid by {}: let the app answer with a header (response_header) or bind the uid by the API",
        rules.join(", ")
    ))
}

fn uncompressed(listener: &Listener) -> Option<String> {
    let reads = [
        (listener.ping_reply.is_some(), "ping.reply"),
        (
            listener.identity.contains(&IdentityRule::FirstMessage),
            "identity first_message",
        ),
    ];
    let keys: Vec<&str> = reads
        .iter()
        .filter(|(on, _)| *on)
        .map(|(_, key)| *key)
        .collect();
    if keys.is_empty() || !listener.protocol.is_websocket() {
        return None;
    }
    Some(format!(
        "messages are read for {}: permessage-deflate is taken out of what clients offer",
        keys.join(" and ")
    ))
}

fn outlived(listener: &Listener) -> Option<String> {
    let age = listener.heartbeat.max_age?;
    (listener.protocol.is_websocket() && age > API_GATEWAY_AGE).then(|| {
        format!(
            "max_age {} is longer than AWS API Gateway allows: it ends every connection after {}",
            format_duration(age),
            format_duration(API_GATEWAY_AGE)
        )
    })
}

/// The warnings about a hook.
pub(super) fn of_hook(config: &Config, hook: &Hook) -> Vec<String> {
    let mut warnings = Vec::new();
    if hook.secret_file.is_none() {
        warnings.push(
            "requests are not signed, so the app cannot tell them from forged ones: set secret_file"
                .to_owned(),
        );
    }
    if config.state_dir.is_none() {
        warnings
            .push("events that wait are lost when the process crashes: set state_dir".to_owned());
    }
    warnings
}
