//! The rules of interface.md, computed anew from everything that ever happened each time somebody asks.
//!
//! Nothing is kept but the history. "Stands still" is taken at its word: each clock has a reading, the time that passed
//! while it ran, and limits are compared with differences of readings. Shared with the heart are only the draws.

use super::*;
use crate::proto::heart::draw::{self, Draws};

/// Which clock a rule goes by.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Clock {
    /// That of an end: it stands still while the other end is blocked.
    Of(End),
    /// It stands still while any end is blocked.
    Quiet,
    /// It never stands still.
    Wall,
}

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

    /// The instant at which `clock` read or will read `reading`; `None` if it stands still before.
    fn wall_of(&self, clock: Clock, reading: i128, now: i128) -> Option<i128> {
        let passed = self.reading(clock, now) - reading;
        let stands = self.standing(clock);
        (stands.is_none() || passed >= 0).then(|| stands.unwrap_or(now) - passed)
    }

    /// The time that passed on `clock` up to `at`.
    fn reading(&self, clock: Clock, at: i128) -> i128 {
        let stills: &[End] = match clock {
            Clock::Of(end) => &[end.other()],
            Clock::Quiet => &[Client, Upstream],
            Clock::Wall => &[],
        };
        let spans: Vec<(i128, i128)> = stills.iter().flat_map(|end| self.spans(*end)).collect();
        let mut edges: Vec<i128> = spans
            .iter()
            .flat_map(|(from, to)| [*from, *to])
            .chain([0, at])
            .collect();
        edges.retain(|edge| (0..=at).contains(edge));
        edges.sort_unstable();
        let runs = |from: i128| {
            !spans
                .iter()
                .any(|(start, end)| *start <= from && from < *end)
        };
        edges
            .windows(2)
            .filter(|pair| runs(pair[0]))
            .map(|pair| pair[1] - pair[0])
            .sum()
    }

    /// If `clock` stands still: the newest instant up to which that is known to go on, its taker's last sign of life.
    fn standing(&self, clock: Clock) -> Option<i128> {
        let taken = |to: End| self.is_blocked(to).then(|| self.taken(to));
        match clock {
            Clock::Of(end) => taken(end.other()),
            Clock::Quiet => End::BOTH.into_iter().filter_map(taken).min(),
            Clock::Wall => None,
        }
    }

    /// From when to when `to` was blocked.
    fn spans(&self, to: End) -> Vec<(i128, i128)> {
        let mut spans: Vec<(i128, i128)> = Vec::new();
        for (when, op) in &self.history {
            let open = spans.last().is_some_and(|span| span.1 == i128::MAX);
            if *op == Op::Blocked(to) && !open {
                spans.push((*when, i128::MAX));
            } else if *op == Op::Unblocked(to) && open {
                spans.last_mut().unwrap().1 = *when;
            }
        }
        spans
    }

    fn is_blocked(&self, to: End) -> bool {
        self.spans(to)
            .last()
            .is_some_and(|span| span.1 == i128::MAX)
    }

    /// The instants at which blocked output to `to` made progress.
    fn progress(&self, to: End) -> Vec<i128> {
        let mut blocked = false;
        let mut instants = Vec::new();
        for (when, op) in &self.history {
            match op {
                Op::Blocked(end) if *end == to => blocked = true,
                Op::Progressed(end) if *end == to && blocked => instants.push(*when),
                Op::Unblocked(end) if *end == to && blocked => {
                    instants.push(*when);
                    blocked = false;
                }
                _ => {}
            }
        }
        instants
    }

    /// When `to` last began to take nothing or took something.
    fn taken(&self, to: End) -> i128 {
        let starts = self.spans(to).into_iter().map(|span| span.0);
        starts.chain(self.progress(to)).max().unwrap_or(0)
    }

    fn heard(&self, end: End, counts: IdleCounts) -> i128 {
        let reply = |op: &Op| end == Client && *op == Op::Reply;
        let message = self.newest(|op| *op == Op::Message(end) || reply(op));
        match counts {
            IdleCounts::Messages => message,
            IdleCounts::Traffic => {
                let read = self.newest(|op| *op == Op::Read(end));
                let progress = self.progress(end).into_iter().max().unwrap_or(0);
                message.max(read).max(progress)
            }
        }
    }

    fn data(&self) -> i128 {
        let raw = self.kind == Kind::Raw;
        self.newest(|op| match op {
            Op::Message(_) => true,
            Op::Read(_) | Op::Reply => raw,
            _ => false,
        })
    }

    /// The last byte of `end`.
    fn byte(&self, end: End) -> i128 {
        self.newest(|op| {
            *op == Op::Read(end) || *op == Op::Message(end) || end == Client && *op == Op::Reply
        })
    }

    fn fin(&self, end: End) -> bool {
        self.history
            .iter()
            .any(|(_, op)| *op == Op::HalfClosed(end))
    }

    /// From where rule 9 counts: the first FIN, or the newest byte of the other end after it.
    fn half_close(&self) -> Option<i128> {
        let (place, (when, from)) =
            self.history
                .iter()
                .enumerate()
                .find_map(|(place, (when, op))| match op {
                    Op::HalfClosed(from) => Some((place, (*when, *from))),
                    _ => None,
                })?;
        let later = Self {
            history: self.history[place..].to_vec(),
            first_policy: self.first_policy.clone(),
            reports: Vec::new(),
            ..*self
        };
        Some(when.max(later.byte(from.other())))
    }

    /// Where the ping to `to` may go now, and when that changes.
    fn ping(&self, to: End, now: i128) -> (Option<Place>, Option<i128>) {
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

    fn ping_due(&self, to: End, now: i128) -> Option<(i128, i128)> {
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

    /// The draws and floors that the history led to.
    fn chance(&self) -> Chance {
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
    fn shortened(
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

    fn floor(&self, reason: Reason) -> i128 {
        let floors = self.chance().floors;
        floors
            .into_iter()
            .find_map(|(of, floor)| (of == reason).then_some(floor))
            .unwrap_or(0)
    }

    fn drawn_age(&self, policy: &Policy) -> Option<Duration> {
        age_of(policy, self.chance().age)
    }

    fn newest(&self, counts: impl Fn(&Op) -> bool) -> i128 {
        self.newest_or_none(counts, Newest::Last).unwrap_or(0)
    }

    fn newest_or_none(&self, counts: impl Fn(&Op) -> bool, which: Newest) -> Option<i128> {
        let mut instants = self
            .history
            .iter()
            .filter(|(_, op)| counts(op))
            .map(|(when, _)| *when);
        match which {
            Newest::First => instants.next(),
            Newest::Last => instants.last(),
        }
    }
}

/// Which of the events that count.
enum Newest {
    First,
    Last,
}

/// Everything that was drawn.
#[derive(Debug)]
struct Chance {
    age: u32,
    pings: [u32; 2],
    floors: Vec<(Reason, i128)>,
}

fn age_of(policy: &Policy, draw: u32) -> Option<Duration> {
    let age = policy.max_age?.as_nanos() as u64;
    Some(Duration::from_nanos(draw::age(
        age,
        policy.max_age_jitter,
        draw,
    )))
}
