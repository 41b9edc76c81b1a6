//! When a ping is due, and where it may go.

use super::*;
use crate::proto::heart::draw;

impl Naive {
    /// Where the ping to `to` may go now, and when that changes.
    pub(super) fn ping(&self, to: End, now: i128) -> (Option<Place>, Option<i128>) {
        let Some((due, interval)) = self.ping_due(to, now) else {
            return (None, None);
        };
        let stands = self.standing(Clock::Of(to));
        let clock = stands.unwrap_or(now);
        let frames = due + interval / 2;
        let (place, change) = match (due <= clock, frames <= clock) {
            (false, _) => (None, Some(due)),
            (true, false) => (Some(Place::BetweenMessages), Some(frames)),
            (true, true) => (Some(Place::BetweenFrames), None),
        };
        (place, change.filter(|_| stands.is_none()))
    }

    pub(super) fn ping_due(&self, to: End, now: i128) -> Option<(i128, i128)> {
        let policy = self.policy();
        let (ping, limit) = match to {
            Client => (policy.ping.clone(), policy.idle_limit),
            Upstream => {
                let interval = policy
                    .upstream_ping
                    .filter(|_| self.kind == Kind::WebSocket);
                let ping = interval.map(|interval| PingPolicy {
                    interval,
                    jitter: 0.1,
                    when: When::Idle,
                });
                (ping, policy.upstream_idle_limit)
            }
        };
        let PingPolicy {
            interval,
            jitter,
            when,
        } = ping?;
        let raw_client = self.kind == Kind::Raw && to == Client;
        let last = |mine: &dyn Fn(&Op) -> bool| self.history.iter().rposition(|(_, op)| mine(op));
        let sent = |op: &Op| matches!(op, Op::Sent(end, _) if *end == to);
        let queued = last(&|op| *op == Op::Queued(to)) > last(&sent);
        if End::BOTH.iter().any(|end| self.fin(*end))
            || queued
            || raw_client && self.is_blocked(Client)
        {
            return None;
        }
        let nanos = interval.as_nanos() as u64;
        let (draw, interval) = (self.chance().pings[to as usize], length(interval));
        let (wait, least) = match last(&sent) {
            None => (
                draw::first_wait(nanos, draw),
                draw::first_wait(nanos, u32::MAX),
            ),
            Some(_) => (
                draw::wait(nanos, jitter, draw),
                draw::wait(nanos, jitter, 0),
            ),
        };
        let clock = Clock::Of(to);
        // what it would be if the clock ran on: the place of a ping that is not due does not matter
        let stands = self.standing(clock).unwrap_or(now);
        let instant = |reading: i128| stands - (self.reading(clock, now) - reading);
        let heard = self.reading(clock, self.heard(to, policy.idle_counts));
        let asked = self.reading(clock, self.newest(sent));
        let start = instant(match when {
            When::Idle => heard.max(asked),
            When::Always => asked,
        });
        let mut due = start + i128::from(wait);
        let step = (interval / 1024).max(1);
        let common = due.div_euclid(step) * step;
        if common - start >= i128::from(least) {
            due = common;
        }
        let held = last(&|op| *op == Op::AppPing(to))
            > last(&|op| matches!(op, Op::Pong(end, _) if *end == to));
        if held {
            due = due.max(instant(heard) + (length(limit?) - interval).max(1));
        }
        if raw_client {
            due = due.max(self.byte(Upstream) + interval);
        }
        Some((due, interval))
    }
}
