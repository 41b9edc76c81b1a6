//! The rules of interface.md, computed anew from everything that ever happened each time somebody asks.
//!
//! Nothing is kept but the history. "Stands still" is taken at its word: each clock has a reading, the time that passed
//! while it ran, and limits are compared with differences of readings. Shared with the heart are only the draws.

mod chance;
mod clock;
mod evidence;
mod pings;

use super::*;
use clock::Clock;
use evidence::Newest;

/// A limit that may be running.
#[derive(Debug)]
struct Rule {
    reason: Reason,
    clock: Clock,
    length: Option<Duration>,
    /// From where it counts, if it does.
    start: Option<i128>,
    /// When it was last heard, for `observe`.
    heard: Option<i128>,
}

/// A silence that was reported.
#[derive(Debug)]
struct Report {
    reason: Reason,
    /// The reading of the rule's clock at which the limit ran out.
    due: i128,
}

/// The naive heart.
#[derive(Debug)]
pub(super) struct Naive {
    kind: Kind,
    seed: u64,
    first_policy: Policy,
    history: Vec<(i128, Op)>,
    reports: Vec<Report>,
}

fn wall(time: Time) -> i128 {
    i128::from(time.0)
}

fn length(duration: Duration) -> i128 {
    duration.as_nanos() as i128
}

fn time(wall: i128) -> Time {
    Time(u64::try_from(wall).unwrap())
}

impl Naive {
    /// Opened at zero.
    pub(super) fn open(kind: Kind, policy: Policy, seed: u64) -> Self {
        Self {
            kind,
            seed,
            first_policy: policy,
            history: Vec::new(),
            reports: Vec::new(),
        }
    }

    pub(super) fn apply(&mut self, op: &Op, now: Time) {
        if let Op::Reload(new, _) = op
            && new.mode == Mode::Enforce
        {
            self.reports.clear();
        }
        self.history.push((wall(now), op.clone()));
    }

    /// What a pong of `from` with `number`, the newest event, is.
    pub(super) fn pong(&self, from: End, number: Option<u64>, now: Time) -> Pong {
        let ours = self.history.iter().rev().filter_map(|(when, op)| match op {
            Op::Sent(to, Some(sent)) if *to == from => Some((*when, *sent)),
            _ => None,
        });
        let mut last_four = ours.take(4);
        match last_four.find(|(_, sent)| Some(*sent) == number) {
            Some((when, _)) => Pong::Ours {
                rtt: Duration::from_nanos((wall(now) - when) as u64),
            },
            None => Pong::Theirs,
        }
    }

    pub(super) fn verdict(&mut self, now: Time) -> Verdict {
        let now = wall(now);
        let policy = self.policy().clone();
        let mut until = None;
        let mut earlier =
            |change: i128| until = Some(until.map_or(change, |until: i128| until.min(change)));
        let mut ran_out = Vec::new();
        for rule in self.rules() {
            if policy.mode == Mode::Observe
                && let Some(report) = self
                    .reports
                    .iter()
                    .position(|report| report.reason == rule.reason)
            {
                let due = self.reports[report].due;
                match rule.heard.map(|heard| self.reading(rule.clock, heard)) {
                    Some(heard) if heard >= due => {
                        self.reports.remove(report);
                        let after = Duration::from_nanos((heard - due) as u64);
                        return Verdict::HeardAgain {
                            reason: rule.reason,
                            after,
                        };
                    }
                    _ => continue,
                }
            }
            match self.due(&rule, now) {
                Some(due) if due <= now => ran_out.push((due, rule)),
                Some(due) => earlier(due),
                None => {}
            }
            if policy.mode == Mode::Observe
                && let Some((_, rule)) = ran_out.pop()
            {
                let start = self.reading(rule.clock, rule.start.unwrap());
                let floor = self.reading(rule.clock, self.floor(rule.reason).min(now));
                let due = (start + length(rule.length.unwrap())).max(floor);
                self.reports.push(Report {
                    reason: rule.reason,
                    due,
                });
                return Verdict::Overdue {
                    reason: rule.reason,
                };
            }
        }
        // min_by_key takes the first of several, and they are in the order of the rules
        if let Some((due, rule)) = ran_out.into_iter().min_by_key(|(due, _)| *due) {
            return Verdict::Close {
                reason: rule.reason,
                due: time(due),
            };
        }
        let [ping_client, ping_upstream] = End::BOTH.map(|to| {
            let (place, change) = self.ping(to, now);
            change.into_iter().for_each(&mut earlier);
            place
        });
        Verdict::Wait {
            until: until.map(time),
            ping_client,
            ping_upstream,
        }
    }

    pub(super) fn deadline(&self, now: Time) -> Option<(Time, Reason)> {
        let dues = self
            .rules()
            .into_iter()
            .filter_map(|rule| Some((time(self.due(&rule, wall(now))?), rule.reason)));
        dues.min_by_key(|(due, _)| *due)
    }

    /// The policy of the moment.
    fn policy(&self) -> &Policy {
        let reloads = self.history.iter().rev().find_map(|(_, op)| match op {
            Op::Reload(policy, _) => Some(&**policy),
            _ => None,
        });
        reloads.unwrap_or(&self.first_policy)
    }

    /// All limits, in the order of the rules.
    fn rules(&self) -> Vec<Rule> {
        let policy = self.policy();
        let idle = |reason, end, limit| {
            let heard = (!self.fin(end)).then(|| self.heard(end, policy.idle_counts));
            Rule {
                reason,
                clock: Clock::Of(end),
                length: limit,
                start: heard,
                heard,
            }
        };
        let stall = |reason, to| Rule {
            reason,
            clock: Clock::Wall,
            length: policy.stall_limit,
            start: self.is_blocked(to).then(|| self.taken(to)),
            heard: Some(self.taken(to)),
        };
        let data = Some(self.data());
        let first = self.newest_or_none(|op| *op == Op::Message(Client), Newest::First);
        let half_close = self.half_close();
        vec![
            idle(Reason::ClientIdle, Client, policy.idle_limit),
            idle(Reason::UpstreamIdle, Upstream, policy.upstream_idle_limit),
            Rule {
                reason: Reason::Quiet,
                clock: Clock::Quiet,
                length: policy.quiet_limit,
                start: data,
                heard: data,
            },
            Rule {
                reason: Reason::NoFirstMessage,
                clock: Clock::Wall,
                length: policy.first_message_limit,
                start: first.is_none().then_some(0),
                heard: first,
            },
            Rule {
                reason: Reason::MaxAge,
                clock: Clock::Wall,
                length: self.drawn_age(policy),
                start: Some(0),
                heard: None,
            },
            stall(Reason::ClientStalled, Client),
            stall(Reason::UpstreamStalled, Upstream),
            Rule {
                reason: Reason::HalfCloseTimeout,
                clock: Clock::Wall,
                length: policy.half_close_limit,
                start: half_close,
                heard: half_close,
            },
        ]
    }

    /// When `rule` runs out or ran out; `None` if it does not run towards its end.
    fn due(&self, rule: &Rule, now: i128) -> Option<i128> {
        let due = self.reading(rule.clock, rule.start?) + length(rule.length?);
        Some(
            self.wall_of(rule.clock, due, now)?
                .max(self.floor(rule.reason)),
        )
    }
}
