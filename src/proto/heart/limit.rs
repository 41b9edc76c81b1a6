//! The limits (rules 1, 5 to 9): from where each clock counts, when it runs out, and what a reload leaves it.

use std::time::Duration;

use super::asked::{Asked, Beats};
use super::policy::{IdleCounts, Mode, Policy};
use super::{Fin, Heart, Time, draw, nanos};
use crate::proto::cause::{End, Reason};

/// One limit of a stream, in the order of the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Limit {
    ClientIdle,
    UpstreamIdle,
    Quiet,
    FirstMessage,
    Age,
    ClientStall,
    UpstreamStall,
    HalfClose,
}

impl Limit {
    pub(super) const ALL: [Self; 8] = [
        Self::ClientIdle,
        Self::UpstreamIdle,
        Self::Quiet,
        Self::FirstMessage,
        Self::Age,
        Self::ClientStall,
        Self::UpstreamStall,
        Self::HalfClose,
    ];

    /// The reason for which a stream ends when this limit ran out.
    pub(super) fn reason(self) -> Reason {
        match self {
            Self::ClientIdle => Reason::ClientIdle,
            Self::UpstreamIdle => Reason::UpstreamIdle,
            Self::Quiet => Reason::Quiet,
            Self::FirstMessage => Reason::NoFirstMessage,
            Self::Age => Reason::MaxAge,
            Self::ClientStall => Reason::ClientStalled,
            Self::UpstreamStall => Reason::UpstreamStalled,
            Self::HalfClose => Reason::HalfCloseTimeout,
        }
    }

    fn of_idleness(self) -> bool {
        matches!(self, Self::ClientIdle | Self::UpstreamIdle)
    }
}

/// What few streams need, kept out of the others: pings to the upstream, a shortened limit, a limit exceeded in `observe`.
#[derive(Debug)]
pub(super) struct Seldom {
    /// Pings to the upstream.
    pub(super) asked: Asked,
    /// By limit: it closes nothing before this instant, whatever was heard when.
    floors: [Time; Limit::ALL.len()],
    /// By limit: when it ran out for the silence that was reported as overdue and goes on; else `Time::NEVER`.
    pub(super) overdue: [Time; Limit::ALL.len()],
    /// When the client's first message came, if this was here to see it; else `Time::NEVER`.
    pub(super) first_message: Time,
    /// Heartbeats of data to the client.
    pub(super) beats: Beats,
}

impl Seldom {
    const NOTHING: Self = Self {
        asked: Asked::NOTHING,
        floors: [Time(0); Limit::ALL.len()],
        overdue: [Time::NEVER; Limit::ALL.len()],
        first_message: Time::NEVER,
        beats: Beats::NOTHING,
    };
}

/// A clock stood still from `from` to `to`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Gap {
    pub(super) from: Time,
    pub(super) to: Time,
}

impl Gap {
    /// Moves `instant` so that as much time lies between it and `to` as lay between it and `from`.
    pub(super) fn carry(self, instant: &mut Time) {
        *instant = Time(
            self.to
                .0
                .saturating_sub(self.from.0.saturating_sub(instant.0)),
        );
    }
}

impl Heart {
    /// When each limit, in the order of `Limit::ALL`, runs out if nothing more happens.
    /// `Time::NEVER`: not at all, it is off, not running, or standing still.
    ///
    /// Asked on every turn of a stream, so it is written out and what is off costs one comparison: with a loop a verdict took
    /// 1.6 times the instructions.
    pub(super) fn dues(&self, policy: &Policy) -> [Time; Limit::ALL.len()] {
        let mut dues = [
            self.due(Limit::ClientIdle, policy),
            self.due(Limit::UpstreamIdle, policy),
            self.due(Limit::Quiet, policy),
            self.due(Limit::FirstMessage, policy),
            self.due(Limit::Age, policy),
            self.due(Limit::ClientStall, policy),
            self.due(Limit::UpstreamStall, policy),
            self.due(Limit::HalfClose, policy),
        ];
        if let Some(seldom) = &self.seldom {
            for (due, floor) in dues.iter_mut().zip(seldom.floors) {
                due.advance(floor);
            }
        }
        dues
    }

    #[inline(always)]
    fn due(&self, limit: Limit, policy: &Policy) -> Time {
        let Some(length) = self.length(limit, policy) else {
            return Time::NEVER;
        };
        let Some(start) = self.start(limit, policy.idle_counts) else {
            return Time::NEVER;
        };
        let due = start.saturating_add_nanos(length);
        match self.stands_still(limit) {
            Some(since) if due > since => Time::NEVER,
            Some(_) | None => due,
        }
    }

    /// The length of `limit` in nanoseconds. Never zero: what ran out later than it began can be told from what began anew.
    #[inline(always)]
    fn length(&self, limit: Limit, policy: &Policy) -> Option<u64> {
        let length = match limit {
            Limit::ClientIdle => policy.idle_limit,
            Limit::UpstreamIdle => policy.upstream_idle_limit,
            Limit::Quiet => policy.quiet_limit,
            Limit::FirstMessage => policy.first_message_limit,
            Limit::Age => {
                let drawn = draw::age(nanos(policy.max_age?), policy.max_age_jitter, self.age_draw);
                return Some(drawn.max(1));
            }
            Limit::ClientStall | Limit::UpstreamStall => policy.stall_limit,
            Limit::HalfClose => policy.half_close_limit,
        };
        length.map(|length| nanos(length).max(1))
    }

    /// The instant from which `limit` counts, `None` while it has nothing to count.
    #[inline(always)]
    pub(super) fn start(&self, limit: Limit, counts: IdleCounts) -> Option<Time> {
        match limit {
            Limit::ClientIdle => self.idle_start(End::Client, counts),
            Limit::UpstreamIdle => self.idle_start(End::Upstream, counts),
            Limit::Quiet => Some(self.data),
            Limit::FirstMessage => self.first_message_awaited.then_some(self.opened),
            Limit::Age => Some(self.opened),
            Limit::ClientStall => self.stalled_since(End::Client),
            Limit::UpstreamStall => self.stalled_since(End::Upstream),
            Limit::HalfClose => (self.fin != Fin::Neither).then_some(self.half_close),
        }
    }

    fn idle_start(&self, of: End, counts: IdleCounts) -> Option<Time> {
        (!self.half_closed_by(of)).then(|| self.heard(of, counts))
    }

    /// Since when the clock of `limit` stands still (rule 8).
    #[inline(always)]
    pub(super) fn stands_still(&self, limit: Limit) -> Option<Time> {
        match limit {
            Limit::ClientIdle => self.unread_since(End::Client),
            Limit::UpstreamIdle => self.unread_since(End::Upstream),
            Limit::Quiet => self.quiet_unread_since(),
            Limit::FirstMessage
            | Limit::Age
            | Limit::ClientStall
            | Limit::UpstreamStall
            | Limit::HalfClose => None,
        }
    }

    /// Since when `end` is not read because the other takes nothing.
    pub(super) fn unread_since(&self, end: End) -> Option<Time> {
        self.stalled_since(end.other())
    }

    /// Since when at least one end is not read: data of that end might wait for us.
    pub(super) fn quiet_unread_since(&self) -> Option<Time> {
        let [client, upstream] = End::BOTH.map(|end| self.unread_since(end));
        match (client, upstream) {
            (Some(client), Some(upstream)) => Some(client.min(upstream)),
            (since, None) | (None, since) => since,
        }
    }

    fn stalled_since(&self, to: End) -> Option<Time> {
        let side = self.side(to);
        side.blocked.then_some(side.taken)
    }

    /// The clocks of `end` stood still for `gap`, the quiet clock for `quiet`.
    pub(super) fn carry(&mut self, end: End, gap: Gap, quiet: Gap) {
        let side = self.side_mut(end);
        gap.carry(&mut side.traffic);
        gap.carry(&mut side.messages);
        gap.carry(&mut side.pinged);
        quiet.carry(&mut self.data);
        let idle = match end {
            End::Client => Limit::ClientIdle,
            End::Upstream => Limit::UpstreamIdle,
        };
        for (limit, gap) in [(idle, gap), (Limit::Quiet, quiet)] {
            if let Some(mut due) = self.overdue(limit) {
                gap.carry(&mut due);
                self.set_overdue(limit, due);
            }
        }
    }

    /// What a reload at `now` leaves open streams, see `policy_changed`.
    pub(super) fn raise_floors(&mut self, old: &Policy, new: &Policy, now: Time, spread: Duration) {
        let enforced = old.mode == Mode::Observe && new.mode == Mode::Enforce;
        let recounted =
            old.idle_counts == IdleCounts::Traffic && new.idle_counts == IdleCounts::Messages;
        for limit in Limit::ALL {
            let Some(length) = self.length(limit, new) else {
                continue;
            };
            let shortened = self.length(limit, old).is_none_or(|before| length < before);
            if !(shortened || enforced || recounted && limit.of_idleness()) {
                continue;
            }
            let floor = match limit {
                Limit::Age if self.opened.saturating_add_nanos(length) > now => Time(0),
                Limit::Age => {
                    now.saturating_add_nanos(draw::spread(nanos(spread), self.draws.draw()))
                }
                Limit::ClientIdle
                | Limit::UpstreamIdle
                | Limit::Quiet
                | Limit::FirstMessage
                | Limit::ClientStall
                | Limit::UpstreamStall
                | Limit::HalfClose => now.saturating_add_nanos(length),
            };
            self.seldom_mut().floors[limit as usize] = floor;
        }
        if let (Mode::Enforce, Some(seldom)) = (new.mode, &mut self.seldom) {
            seldom.overdue = Seldom::NOTHING.overdue;
        }
    }

    pub(super) fn seldom_mut(&mut self) -> &mut Seldom {
        self.seldom.get_or_insert_with(|| Box::new(Seldom::NOTHING))
    }
}
