//! Heartbeats of our own (rules 2 and 3): when one is due and where it may go.

use super::policy::{PingPolicy, Policy, When};
use super::{Fin, Heart, Kind, Place, Time, draw, nanos};
use crate::proto::cause::End;

/// Pings to the upstream have no jitter of their own in the configuration; this is the default of those to the client.
const UPSTREAM_JITTER: f64 = 0.1;

/// A ping that is due, or what there is to wait for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asking {
    /// Where the ping may go now, if it is due.
    pub(super) place: Option<Place>,
    /// When `place` changes by itself, or `Time::NEVER`.
    pub(super) until: Time,
}

impl Heart {
    /// Whether `to` is to be asked at `now`.
    pub(super) fn asking(&self, to: End, policy: &Policy, now: Time) -> Asking {
        let Some((due, interval)) = self.ping_due(to, policy) else {
            return Asking {
                place: None,
                until: Time::NEVER,
            };
        };
        // Half an interval is how long a message may keep the direction busy before some clients' trouble with
        // control frames inside of messages (aiohttp#12988, tornado#3353) is the smaller evil.
        let between_frames = due.saturating_add_nanos(interval / 2);
        let unread_since = self.unread_since(to);
        let clock = unread_since.map_or(now, |since| since.min(now));
        let (place, change) = if due > clock {
            (None, due)
        } else if between_frames > clock {
            (Some(Place::BetweenMessages), between_frames)
        } else {
            (Some(Place::BetweenFrames), Time::NEVER)
        };
        Asking {
            place,
            until: unread_since.map_or(change, |_| Time::NEVER),
        }
    }

    /// When the next ping to `to` is due by its clock, and the interval in nanoseconds; `None`: not until something happens.
    fn ping_due(&self, to: End, policy: &Policy) -> Option<(Time, u64)> {
        let side = self.side(to);
        // A FIN of `to` ends its pings (rule 9), and after one of the other end nothing more can be written to `to`.
        if side.queued || self.fin != Fin::Neither {
            return None;
        }
        let (ping, limit) = match to {
            End::Client => (policy.ping.clone()?, policy.idle_limit),
            End::Upstream => (self.upstream_ping(policy)?, policy.upstream_idle_limit),
        };
        let interval = nanos(ping.interval).max(1);
        let wait = |draw| {
            if side.pinged_before {
                draw::wait(interval, ping.jitter, draw)
            } else {
                draw::first_wait(interval, draw)
            }
        };
        let heard = self.heard(to, policy.idle_counts);
        let asked_or_heard = match ping.when {
            When::Idle => heard.max(side.pinged),
            When::Always => side.pinged,
        };
        let due = asked_or_heard.checked_add(wait(side.draw))?;
        let least = asked_or_heard.saturating_add_nanos(wait(0).min(wait(u32::MAX)));
        let mut due = draw::together(due, least, interval);
        if self.kind == Kind::Raw && to == End::Client {
            // What waits for the client may be half of something; only silence of the app shows a boundary.
            if side.blocked {
                return None;
            }
            due = due.max(self.upstream_byte.checked_add(interval)?);
        }
        if side.held_off {
            let last_chance = nanos(limit?).saturating_sub(interval).max(1);
            due = due.max(heard.checked_add(last_chance)?);
        }
        Some((due, interval))
    }

    fn upstream_ping(&self, policy: &Policy) -> Option<PingPolicy> {
        let interval = policy.upstream_ping?;
        (self.kind == Kind::WebSocket).then_some(PingPolicy {
            interval,
            jitter: UPSTREAM_JITTER,
            when: When::Idle,
        })
    }
}
