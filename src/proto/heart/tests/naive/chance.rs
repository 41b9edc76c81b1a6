//! What was drawn, and what a shortened limit leaves.

use super::*;
use crate::proto::heart::draw::{self, Draws};

/// Everything that was drawn.
#[derive(Debug)]
pub(super) struct Chance {
    age: u32,
    pub(super) pings: [u32; 2],
    floors: Vec<(Reason, i128)>,
}

impl Naive {
    /// The draws and floors that the history led to.
    pub(super) fn chance(&self) -> Chance {
        let mut draws = Draws::new(self.seed);
        let age = draws.draw();
        let mut chance = Chance {
            age,
            pings: [draws.draw(), draws.draw()],
            floors: Vec::new(),
        };
        let mut old = &self.first_policy;
        for (when, op) in &self.history {
            match op {
                Op::Sent(to, _) => chance.pings[*to as usize] = draws.draw(),
                Op::Reload(new, spread) => {
                    for (reason, floor) in self.shortened(old, new, *when, age) {
                        let floor = floor.unwrap_or_else(|| {
                            when + i128::from(draw::spread(spread.as_nanos() as u64, draws.draw()))
                        });
                        chance.floors.retain(|(other, _)| *other != reason);
                        chance.floors.push((reason, floor));
                    }
                    old = new;
                }
                _ => {}
            }
        }
        chance
    }

    /// Which limits a reload at `when` shortened, and before when they end nothing; `None`: drawn within the spread.
    pub(super) fn shortened(
        &self,
        old: &Policy,
        new: &Policy,
        when: i128,
        age: u32,
    ) -> Vec<(Reason, Option<i128>)> {
        let enforced = old.mode == Mode::Observe && new.mode == Mode::Enforce;
        let recounted =
            old.idle_counts == IdleCounts::Traffic && new.idle_counts == IdleCounts::Messages;
        let shorter = |old: Option<Duration>, new: Option<Duration>| {
            new.is_some() && (old.is_none() || new < old)
        };
        let limits = [
            (
                Reason::ClientIdle,
                old.idle_limit,
                new.idle_limit,
                recounted,
            ),
            (
                Reason::UpstreamIdle,
                old.upstream_idle_limit,
                new.upstream_idle_limit,
                recounted,
            ),
            (Reason::Quiet, old.quiet_limit, new.quiet_limit, false),
            (
                Reason::NoFirstMessage,
                old.first_message_limit,
                new.first_message_limit,
                false,
            ),
            (
                Reason::ClientStalled,
                old.stall_limit,
                new.stall_limit,
                false,
            ),
            (
                Reason::UpstreamStalled,
                old.stall_limit,
                new.stall_limit,
                false,
            ),
            (
                Reason::HalfCloseTimeout,
                old.half_close_limit,
                new.half_close_limit,
                false,
            ),
        ];
        let mut floors = Vec::new();
        for (reason, old, new, recounted) in limits {
            if let Some(limit) = new
                && (shorter(old, new) || enforced || recounted)
            {
                floors.push((reason, Some(when + length(limit))));
            }
        }
        let [old, new] = [old, new].map(|policy| age_of(policy, age));
        if let Some(limit) = new
            && (shorter(old, new) || enforced)
        {
            let beyond = length(limit) <= when;
            floors.push((Reason::MaxAge, (!beyond).then_some(0)));
        }
        floors
    }

    pub(super) fn floor(&self, reason: Reason) -> i128 {
        let floors = self.chance().floors;
        floors
            .into_iter()
            .find_map(|(of, floor)| (of == reason).then_some(floor))
            .unwrap_or(0)
    }

    pub(super) fn drawn_age(&self, policy: &Policy) -> Option<Duration> {
        age_of(policy, self.chance().age)
    }
}

fn age_of(policy: &Policy, draw: u32) -> Option<Duration> {
    let age = policy.max_age?.as_nanos() as u64;
    Some(Duration::from_nanos(draw::age(
        age,
        policy.max_age_jitter,
        draw,
    )))
}
