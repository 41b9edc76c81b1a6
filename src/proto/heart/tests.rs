//! The heart in virtual time.

mod blocked;
mod evidence;
mod gatewayworker;
mod naive;
mod observe;
mod pings;
mod random;
mod reload;
mod rules;

use std::time::Duration;

use super::*;
use End::{Client, Upstream};

const S: u64 = 1_000_000_000;

/// `seconds` after the worker started.
fn at(seconds: f64) -> Time {
    Time((seconds * S as f64).round() as u64)
}

fn secs(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

/// A policy without any rule.
fn off() -> Policy {
    Policy {
        idle_limit: None,
        idle_counts: IdleCounts::Traffic,
        ping: None,
        upstream_ping: None,
        upstream_idle_limit: None,
        quiet_limit: None,
        first_message_limit: None,
        max_age: None,
        max_age_jitter: 0.0,
        stall_limit: None,
        half_close_limit: None,
        close_timeout: secs(5.0),
        mode: Mode::Enforce,
    }
}

fn ping(interval: f64, jitter: f64, when: When) -> Option<PingPolicy> {
    Some(PingPolicy {
        interval: secs(interval),
        jitter,
        when,
    })
}

fn token(number: u64) -> [u8; 8] {
    number.to_be_bytes()
}

/// Something that happens to a stream.
#[derive(Debug, Clone, PartialEq)]
enum Op {
    Read(End),
    Message(End),
    Reply,
    AppPing(End),
    Pong(End, Option<u64>),
    Queued(End),
    Sent(End, Option<u64>),
    Blocked(End),
    Progressed(End),
    Unblocked(End),
    HalfClosed(End),
    Reload(Box<Policy>, Duration),
}

/// What the heart said to it.
#[derive(Debug, Clone, PartialEq)]
enum Said {
    Ping(End, Place),
    Overdue(Reason),
    HeardAgain(Reason, Duration),
    Close(Reason),
}

/// A heart, the policy of the moment and the clock of the test.
#[derive(Debug)]
struct Stream {
    heart: Heart,
    policy: Policy,
    now: Time,
}

impl Stream {
    fn open(kind: Kind, policy: Policy, seed: u64) -> Self {
        Self {
            heart: Heart::new(Time(0), kind, seed),
            policy,
            now: Time(0),
        }
    }

    /// The same, the first ping of each end behind it, so that jitter alone decides about the next.
    fn pinged(kind: Kind, policy: Policy) -> Self {
        let mut stream = Self::open(kind, policy, 1);
        for end in End::BOTH {
            stream.heart.ping_sent(end, None, Time(0));
        }
        stream
    }

    fn apply(&mut self, op: &Op) -> Option<Pong> {
        let (heart, now) = (&mut self.heart, self.now);
        match op {
            Op::Read(from) => heart.read(*from, now),
            Op::Message(from) => {
                heart.read(*from, now);
                heart.message(*from, now);
            }
            Op::Reply => drop(heart.reply(now)),
            Op::AppPing(to) => heart.app_ping_passed(*to),
            Op::Pong(from, number) => return Some(heart.pong(*from, number.map(token), now)),
            Op::Queued(to) => heart.ping_queued(*to),
            Op::Sent(to, number) => heart.ping_sent(*to, number.map(token), now),
            Op::Blocked(to) => heart.blocked(*to, now),
            Op::Progressed(to) => heart.progressed(*to, now),
            Op::Unblocked(to) => heart.unblocked(*to, now),
            Op::HalfClosed(from) => heart.half_closed(*from, now),
            Op::Reload(new, spread) => {
                heart.policy_changed(&self.policy, new, now, *spread);
                self.policy = (**new).clone();
            }
        }
        None
    }

    /// Lets `op` happen at `seconds` without asking on the way.
    fn on(&mut self, seconds: f64, op: Op) -> &mut Self {
        self.now = at(seconds);
        self.apply(&op);
        self
    }

    fn verdict(&mut self, seconds: f64) -> Verdict {
        self.now = at(seconds);
        self.heart.verdict(self.now, &self.policy)
    }

    /// The `Wait` that the heart must say at `seconds`: until, ping to the client, ping to the upstream.
    fn wait(&mut self, seconds: f64) -> (Option<Time>, Option<Place>, Option<Place>) {
        match self.verdict(seconds) {
            Verdict::Wait {
                until,
                ping_client,
                ping_upstream,
            } => {
                assert!(until.is_none_or(|until| until > self.now));
                (until, ping_client, ping_upstream)
            }
            other => panic!("{other:?} at {seconds} s instead of Wait"),
        }
    }

    /// Plays `script`, asking at each event and whenever the heart wants to be asked, up to `end`. Pings go out at once.
    fn play(&mut self, script: &[(f64, Op)], end: f64) -> Vec<(Time, Said)> {
        let mut said = Vec::new();
        let mut events = script.iter().peekable();
        loop {
            while let Some((_, op)) = events.next_if(|(when, _)| at(*when) <= self.now) {
                self.apply(op);
            }
            let until = match self.heart.verdict(self.now, &self.policy) {
                Verdict::Close { reason, due } => {
                    assert_eq!(due, self.now, "asked at every `until`, so never late");
                    said.push((self.now, Said::Close(reason)));
                    return said;
                }
                Verdict::Overdue { reason } => {
                    said.push((self.now, Said::Overdue(reason)));
                    continue;
                }
                Verdict::HeardAgain { reason, after } => {
                    said.push((self.now, Said::HeardAgain(reason, after)));
                    continue;
                }
                Verdict::Wait {
                    until,
                    ping_client,
                    ping_upstream,
                } => {
                    let pings = [(Client, ping_client), (Upstream, ping_upstream)];
                    if pings.iter().any(|(_, place)| place.is_some()) {
                        for (to, place) in pings {
                            if let Some(place) = place {
                                said.push((self.now, Said::Ping(to, place)));
                                self.apply(&Op::Queued(to));
                                self.apply(&Op::Sent(to, None));
                            }
                        }
                        continue;
                    }
                    until
                }
            };
            assert!(until.is_none_or(|until| until > self.now));
            let event = events.peek().map(|(when, _)| at(*when));
            let next = [until, event].into_iter().flatten().min();
            match next {
                Some(next) if next <= at(end) => self.now = next,
                _ => return said,
            }
        }
    }
}

#[test]
fn a_heart_is_small() {
    assert!(size_of::<Heart>() <= 200, "{} bytes", size_of::<Heart>());
}
