//! The limits as the contract has them, computed from what the sockets saw: no stream ends before its time, and none
//! stays beyond it.

use std::rc::Rc;
use std::time::Duration;

use super::messages::Messages;
use super::story::Story;
use super::trace::{Ms, What};
use super::wire::Wire;
use crate::proto::cause::{End, Reason};
use crate::proto::heart::{IdleCounts, Mode, Policy};

/// A timer fires within the next millisecond.
const LATE: Ms = 2;

/// Between the last look at the clock and a pause: that long the proxy may think it stood still although it did not.
const TICK: Ms = 502;

/// `drain.spread` of a reload.
const SPREAD: Ms = 10_000;

const REASONS: [Reason; 8] = [
    Reason::ClientIdle,
    Reason::UpstreamIdle,
    Reason::Quiet,
    Reason::NoFirstMessage,
    Reason::MaxAge,
    Reason::ClientStalled,
    Reason::UpstreamStalled,
    Reason::HalfCloseTimeout,
];

/// One limit of a stream.
#[derive(Debug, Clone, Copy)]
struct Rule {
    reason: Reason,
    /// How long its clock ran since it began to count; those of idleness by any byte and by whole messages.
    ran: [Ms; 2],
    /// Nothing happens before this instant of the proxy's time: a reload shortened it.
    floor: Ms,
    /// It was reported for this silence (observe).
    told: bool,
    /// By each way of counting: it was heard since it was reported.
    again: [bool; 2],
}

struct Judge<'a> {
    story: &'a Story,
    policy: Rc<Policy>,
    rules: [Rule; 8],
    /// The proxy's time: pauses are left out.
    now: Ms,
    pauses: Ms,
    blocked: [bool; 2],
    first_fin: Option<End>,
    fins: [bool; 2],
    first_message: bool,
    /// In the sockets, and not read.
    unread: [i64; 2],
    unread_end: [bool; 2],
    /// In real time: when the client was heard last.
    heard: Ms,
    /// Since then it took nothing for a while.
    hindered: bool,
}

fn ms(duration: Option<Duration>) -> Option<Ms> {
    duration.map(|duration| duration.as_millis() as Ms)
}

/// The longest that `reason` may take.
fn limit(policy: &Policy, reason: Reason) -> Option<Ms> {
    ms(match reason {
        Reason::ClientIdle => policy.idle_limit,
        Reason::UpstreamIdle => policy.upstream_idle_limit,
        Reason::Quiet => policy.quiet_limit,
        Reason::NoFirstMessage => policy.first_message_limit,
        Reason::MaxAge => policy.max_age,
        Reason::ClientStalled | Reason::UpstreamStalled => policy.stall_limit,
        Reason::HalfCloseTimeout => policy.half_close_limit,
        _ => None,
    })
}

/// Judges the whole story; returns the limits that held at its end, and since when the client
/// could have been asked in vain.
pub(super) fn judge(story: &Story) -> (Rc<Policy>, Option<Ms>) {
    let What::Limits(policy) = &story.trace[0].1 else {
        panic!("a stream begins with its limits")
    };
    let mut judge = Judge {
        story,
        policy: Rc::clone(policy),
        rules: REASONS.map(|reason| Rule {
            reason,
            ran: [0; 2],
            floor: 0,
            told: false,
            again: [false; 2],
        }),
        now: 0,
        pauses: 0,
        blocked: [false; 2],
        first_fin: None,
        fins: [false; 2],
        first_message: false,
        unread: [0; 2],
        unread_end: [false; 2],
        heard: story.trace[0].0,
        hindered: false,
    };
    judge.walk();
    let asked = judge.heard;
    (judge.policy, (!judge.hindered).then_some(asked))
}

impl Judge<'_> {
    fn walk(&mut self) {
        let story = self.story;
        let mut ends = End::BOTH.map(|end| Messages::of(story, end));
        let (mut last, mut paused) = (story.trace[0].0, 0);
        for (place, (at, what)) in story.trace[..=story.over].iter().enumerate().skip(1) {
            self.pass(at - last - paused, *at);
            (last, paused) = (*at, 0);
            match what {
                What::Limits(policy) => self.reload(policy),
                What::Arrived { from, bytes: 0 } => self.unread_end[*from as usize] = true,
                What::Arrived { from, bytes } => self.unread[*from as usize] += *bytes as i64,
                What::Read { from, raw, .. } => {
                    self.unread[*from as usize] -= *raw as i64;
                    self.read(*from, *at, ends[*from as usize].ended_at(place));
                }
                What::ReadEnd { from, .. } => self.unread_end[*from as usize] = false,
                What::Blocked { to } => {
                    self.blocked[*to as usize] = true;
                    self.hindered |= *to == End::Client;
                    self.start(stall(*to));
                }
                What::Progressed { to } => {
                    self.start(stall(*to));
                    self.heard(*to, IdleCounts::Traffic, *at);
                }
                What::Free { to } => {
                    self.blocked[*to as usize] = false;
                    self.start(stall(*to));
                }
                What::Fin { to } => {
                    self.fins[to.other() as usize] = true;
                    if self.first_fin.is_none() {
                        self.first_fin = Some(to.other());
                        self.start(Reason::HalfCloseTimeout);
                    }
                }
                What::Paused { by } => {
                    paused = *by;
                    self.pauses += 1;
                }
                What::Overdue(reason) => self.overdue(*reason),
                What::Over => self.over(),
                What::Took { .. } | What::WriteFailed { .. } | What::Dropped { .. } => {}
            }
        }
    }

    /// Time goes by; nobody may stay beyond a limit.
    fn pass(&mut self, by: Ms, at: Ms) {
        self.now += by;
        let late = LATE + self.pauses * TICK;
        for place in 0..self.rules.len() {
            let reason = self.rules[place].reason;
            if !self.runs(reason) {
                continue;
            }
            let counts = self.policy.idle_counts as usize;
            let rule = &mut self.rules[place];
            rule.ran = rule.ran.map(|ran| ran + by);
            rule.told &= !rule.again[counts];
            let Some(limit) = limit(&self.policy, reason) else {
                continue;
            };
            let due = rule.ran[counts] > limit + late && self.now > rule.floor + late;
            assert!(
                !due || by == 0 || self.policy.mode == Mode::Observe && rule.told,
                "{reason:?} was due before {at}: {rule:?}"
            );
        }
    }

    fn runs(&self, reason: Reason) -> bool {
        match reason {
            Reason::ClientIdle => !self.fins[0] && !self.blocked[1],
            Reason::UpstreamIdle => !self.fins[1] && !self.blocked[0],
            Reason::Quiet => self.blocked == [false; 2],
            Reason::NoFirstMessage => !self.first_message,
            Reason::ClientStalled => self.blocked[0],
            Reason::UpstreamStalled => self.blocked[1],
            Reason::HalfCloseTimeout => self.first_fin.is_some(),
            _ => true,
        }
    }

    fn rule(&mut self, reason: Reason) -> &mut Rule {
        let place = REASONS.iter().position(|known| *known == reason);
        &mut self.rules[place.expect("a limit")]
    }

    fn start(&mut self, reason: Reason) {
        let rule = self.rule(reason);
        (rule.ran, rule.told) = ([0; 2], false);
    }

    fn heard(&mut self, end: End, by: IdleCounts, at: Ms) {
        let rule = self.rule(match end {
            End::Client => Reason::ClientIdle,
            End::Upstream => Reason::UpstreamIdle,
        });
        (rule.ran[by as usize], rule.again[by as usize]) = (0, true);
        if end == End::Client && by == self.policy.idle_counts {
            (self.heard, self.hindered) = (at, self.blocked[0]);
        }
    }

    fn read(&mut self, from: End, at: Ms, (messages, replies): (usize, usize)) {
        self.heard(from, IdleCounts::Traffic, at);
        if messages + replies > 0 {
            self.heard(from, IdleCounts::Messages, at);
        }
        if messages > 0 || self.story.wire == Wire::Raw {
            self.start(Reason::Quiet);
        }
        if messages > 0 && from == End::Client {
            self.first_message = true;
        }
        if self.first_fin.is_some_and(|first| first != from) {
            self.start(Reason::HalfCloseTimeout);
        }
    }

    fn reload(&mut self, new: &Rc<Policy>) {
        let old = std::mem::replace(&mut self.policy, Rc::clone(new));
        let enforced = old.mode == Mode::Observe && new.mode == Mode::Enforce;
        let recounted =
            old.idle_counts == IdleCounts::Traffic && new.idle_counts == IdleCounts::Messages;
        for rule in &mut self.rules {
            if new.mode == Mode::Enforce {
                rule.told = false;
            }
            let (before, after) = (limit(&old, rule.reason), limit(new, rule.reason));
            let Some(after) = after else { continue };
            let idle = matches!(rule.reason, Reason::ClientIdle | Reason::UpstreamIdle);
            let shortened = before.is_none_or(|before| after < before);
            if rule.reason == Reason::MaxAge {
                rule.floor = self.now + SPREAD;
            } else if shortened || enforced || recounted && idle {
                rule.floor = self.now + after;
            }
        }
    }

    fn overdue(&mut self, reason: Reason) {
        assert_eq!(self.policy.mode, Mode::Observe, "told of {reason:?}");
        let counts = self.policy.idle_counts as usize;
        let rule = self.rule(reason);
        assert!(!rule.told || rule.again[counts], "told twice of {reason:?}");
        self.judge_due(reason);
        let rule = self.rule(reason);
        (rule.told, rule.again) = (true, [false; 2]);
    }

    fn over(&mut self) {
        let word = self.story.record.reason;
        if let Some(reason) = REASONS.into_iter().find(|reason| reason.as_str() == word) {
            assert_eq!(self.policy.mode, Mode::Enforce, "closed for {word}");
            self.judge_due(reason);
        }
    }

    /// `reason` ran out now, or some time ago.
    fn judge_due(&mut self, reason: Reason) {
        let least = limit(&self.policy, reason).expect("a limit that is on");
        let (least, floor) = if reason == Reason::MaxAge {
            let share = 1.0 - self.policy.max_age_jitter;
            ((least as f64 * share) as Ms, 0)
        } else {
            (least, self.rule(reason).floor)
        };
        let counts = self.policy.idle_counts as usize;
        let (now, rule) = (self.now, *self.rule(reason));
        assert!(
            rule.ran[counts] >= least && now >= floor,
            "{reason:?} before its time: {rule:?} of {least}"
        );
        let judged: &[End] = match reason {
            Reason::ClientIdle | Reason::NoFirstMessage => &[End::Client],
            Reason::UpstreamIdle => &[End::Upstream],
            Reason::Quiet | Reason::HalfCloseTimeout => &End::BOTH,
            _ => &[],
        };
        for end in judged
            .iter()
            .copied()
            .filter(|end| !self.blocked[end.other() as usize])
        {
            let waits = self.unread[end as usize] > 0 || self.unread_end[end as usize];
            assert!(!waits, "{reason:?}: {end:?} had sent what was not read");
        }
    }
}

fn stall(to: End) -> Reason {
    match to {
        End::Client => Reason::ClientStalled,
        End::Upstream => Reason::UpstreamStalled,
    }
}
