//! The rules of the heart, from as written to ready; rules by number are those of the heartbeat contract.

use std::time::Duration;

use super::error::ConfigError;
use super::kinds::{Off, Text};
use super::leaf::{Leaf, Maybe, OrMap};
use super::listener::{Nature, seconds};
use super::payload::parse_payload;
use super::raw::{RawHeartbeat, RawPing};
use super::reader::Reader;
use super::units::{format_duration, format_percent};
use crate::proto::framing::Payload;
use crate::proto::heart::{IdleCounts, Mode, PingPolicy, Policy, When};

/// Workerman's recommendation: below the minute after which middleboxes cut idle connections.
const IDLE_LIMIT: Duration = seconds(55);

/// Rule 8: also the least of the default.
const STALL_LIMIT: Duration = seconds(60);

const PING_INTERVAL: Duration = seconds(25);

const JITTER: f64 = 0.1;

/// The policy of a listener with `ping.data` and `ping.reply`.
type Heartbeat = (Policy, Option<Payload>, Option<Payload>);

/// Reads the heartbeat of a listener.
pub(super) fn heartbeat(
    reader: &Reader<'_>,
    nature: Nature,
    raw: Option<&RawHeartbeat>,
) -> Result<Heartbeat, ConfigError> {
    let none = RawHeartbeat::default();
    let raw = raw.unwrap_or(&none);
    applicable(reader, nature, raw)?;
    let idle_default = nature.is_websocket().then_some(IDLE_LIMIT);
    let idle_limit = reader.or(&raw.idle_limit, "idle_limit", idle_default)?;
    let (ping, ping_data, ping_reply) = ping(reader, nature, idle_limit, raw.ping.get())?;
    let upstream_idle_limit = reader.or(&raw.upstream_idle_limit, "upstream_idle_limit", None)?;
    let stall_default = idle_limit.unwrap_or(STALL_LIMIT).max(STALL_LIMIT);
    let policy = Policy {
        idle_limit,
        idle_counts: reader.or(&raw.idle_counts, "idle_counts", IdleCounts::Traffic)?,
        ping,
        upstream_ping: upstream_ping(reader, raw, upstream_idle_limit)?,
        upstream_idle_limit,
        quiet_limit: reader.or(&raw.quiet_limit, "quiet_limit", None)?,
        first_message_limit: reader.or(&raw.first_message_limit, "first_message_limit", None)?,
        max_age: reader.or(&raw.max_age, "max_age", None)?,
        max_age_jitter: reader.or(&raw.max_age_jitter, "max_age_jitter", JITTER)?,
        stall_limit: reader.or(&raw.stall_limit, "stall_limit", Some(stall_default))?,
        half_close_limit: reader.or(
            &raw.half_close_limit,
            "half_close_limit",
            Some(seconds(60)),
        )?,
        close_timeout: reader.or(&raw.close_timeout, "close_timeout", seconds(5))?,
        mode: reader.or(&raw.mode, "mode", Mode::Enforce)?,
    };
    no_messages(reader, nature, raw, &policy)?;
    Ok((policy, ping_data, ping_reply))
}

/// Keys of one protocol on a listener of the other.
fn applicable(reader: &Reader<'_>, nature: Nature, raw: &RawHeartbeat) -> Result<(), ConfigError> {
    if nature.is_websocket() {
        if let Some(leaf) = raw.half_close_limit.get() {
            let message = format!("{} has no half-close: remove it", nature.name());
            return Err(reader.misplaced(leaf.place, "half_close_limit", &message));
        }
    } else if let Some(leaf) = raw.upstream_ping.get() {
        let message = format!(
            "{} has no Ping frames for its upstream: remove it",
            nature.name()
        );
        return Err(reader.misplaced(leaf.place, "upstream_ping", &message));
    }
    Ok(())
}

/// Keys that need messages on a listener that knows none.
fn no_messages(
    reader: &Reader<'_>,
    nature: Nature,
    raw: &RawHeartbeat,
    policy: &Policy,
) -> Result<(), ConfigError> {
    if nature.has_messages() {
        return Ok(());
    }
    if let Some(leaf) = raw.idle_counts.get()
        && policy.idle_counts == IdleCounts::Messages
    {
        return Err(reader.wrong(
            leaf,
            "idle_counts",
            "raw framing knows no messages: write `traffic`, or set `framing`",
        ));
    }
    if let Some(leaf) = raw.first_message_limit.get()
        && policy.first_message_limit.is_some()
    {
        return Err(reader.misplaced(
            leaf.place,
            "first_message_limit",
            "raw framing knows no messages: remove it, or set `framing`",
        ));
    }
    Ok(())
}

type Ping = (Option<PingPolicy>, Option<Payload>, Option<Payload>);

fn ping(
    reader: &Reader<'_>,
    nature: Nature,
    idle_limit: Option<Duration>,
    raw: Option<&OrMap<Off, RawPing>>,
) -> Result<Ping, ConfigError> {
    let none = RawPing::default();
    let raw = match raw {
        None => &none,
        Some(OrMap::Map(map, _)) => map,
        Some(OrMap::Scalar(leaf)) => {
            reader.get(leaf, "ping")?;
            return Ok((None, None, None));
        }
    };
    let data = payload(reader, nature, &raw.data, "data")?;
    if let Some(leaf) = raw.reply.get().filter(|_| !nature.has_messages()) {
        return Err(reader.misplaced(
            leaf.place,
            "reply",
            "raw framing knows no messages: remove it, or set `framing`",
        ));
    }
    let reply = payload(reader, nature, &raw.reply, "reply")?;
    if !nature.is_websocket() && data.is_none() {
        let present = [
            ("interval", raw.interval.get().map(|l| l.place)),
            ("jitter", raw.jitter.get().map(|l| l.place)),
            ("when", raw.when.get().map(|l| l.place)),
        ];
        if let Some((key, place)) = present.iter().find_map(|(key, p)| p.map(|p| (key, p))) {
            let message = format!(
                "{} has no Ping frames: add `data`, or remove it",
                nature.name()
            );
            return Err(reader.misplaced(place, key, &message));
        }
        return Ok((None, None, reply));
    }
    let jitter = reader.or(&raw.jitter, "jitter", JITTER)?;
    let default = idle_limit.map_or(PING_INTERVAL, |limit| PING_INTERVAL.min(limit * 45 / 100));
    let policy = PingPolicy {
        interval: reader.or(&raw.interval, "interval", default)?,
        jitter,
        when: reader.or(&raw.when, "when", When::Idle)?,
    };
    if let (Some(limit), Some(leaf)) = (idle_limit, raw.interval.get()) {
        let most = last_call(limit);
        if policy.interval.mul_f64(1.0 + jitter) > most {
            let message = format!(
                "a ping every {} ± {} leaves less than {} to answer before idle_limit {}: write at most `{}`",
                format_duration(policy.interval),
                format_percent(jitter),
                format_duration(limit - most),
                format_duration(limit),
                format_duration(most.div_f64(1.0 + jitter)),
            );
            return Err(reader.wrong(leaf, "interval", &message));
        }
    }
    Ok((Some(policy), data, reply))
}

/// Rule 2: the latest a ping may go out after the last byte heard.
fn last_call(limit: Duration) -> Duration {
    limit - seconds(5).min(limit / 10)
}

fn payload(
    reader: &Reader<'_>,
    nature: Nature,
    leaf: &Maybe<Leaf<Text>>,
    key: &str,
) -> Result<Option<Payload>, ConfigError> {
    leaf.get()
        .map(|leaf| {
            reader.parse(leaf, key, |text| {
                parse_payload(text, nature.protocol, nature.framing)
            })
        })
        .transpose()
}

fn upstream_ping(
    reader: &Reader<'_>,
    raw: &RawHeartbeat,
    limit: Option<Duration>,
) -> Result<Option<Duration>, ConfigError> {
    let Some(leaf) = raw.upstream_ping.get() else {
        return Ok(None);
    };
    let interval = reader.get(leaf, "upstream_ping")?;
    if let (Some(interval), Some(limit)) = (interval, limit)
        && interval > last_call(limit)
    {
        let message = format!(
            "a ping every {} leaves less than {} to answer before upstream_idle_limit {}: write at most `{}`",
            format_duration(interval),
            format_duration(limit - last_call(limit)),
            format_duration(limit),
            format_duration(last_call(limit)),
        );
        return Err(reader.wrong(leaf, "upstream_ping", &message));
    }
    Ok(interval)
}
