//! The clock of a stream: what was heard when, and what to do about it at `now`.

mod asked;
mod draw;
mod limit;
mod observe;
mod ping;
mod policy;
#[cfg(test)]
mod tests;
mod time;
mod verdict;

use std::time::Duration;

use super::cause::{End, Reason};
use asked::Asked;
use draw::Draws;
use limit::{Gap, Limit, Seldom};
pub use policy::{IdleCounts, Mode, PingPolicy, Policy, When};
pub use time::Time;
use time::nanos;
pub use verdict::{Place, Pong, Verdict};

/// What kind of direction the heart watches; it decides where a heartbeat may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// WebSocket: Ping frames or data heartbeats, between messages.
    WebSocket,
    /// tcp and tls with `line` or `length_prefix`: data heartbeats between records.
    Records,
    /// tcp and tls without framing: data heartbeats only in silence of the upstream.
    Raw,
}

/// What was heard when, for both ends of one stream.
///
/// It keeps instants, not counters: an unsolicited pong or a late answer cannot confuse it, and every question is answered
/// from `now` and the policy of the moment alone. Total: no order of calls panics, overflows or loops.
#[derive(Debug)]
pub struct Heart {
    sides: [Side; 2],
    opened: Time,
    /// The last data message either way; on raw the last byte (rule 6).
    data: Time,
    /// The FIN was passed on, or the newest byte of the other end since (rule 9). Meaningless while there is no FIN.
    half_close: Time,
    /// The last byte of the upstream, which alone tells where a heartbeat may go on raw.
    upstream_byte: Time,
    /// Pings to the client; those to the upstream are in `seldom`.
    asked: Asked,
    seldom: Option<Box<Seldom>>,
    draws: Draws,
    /// Where in its range this stream's max_age lies, whatever the policy makes of that range.
    age_draw: u32,
    kind: Kind,
    first_message_awaited: bool,
    fin: Fin,
}

/// One end, as the heart sees it.
#[derive(Debug)]
struct Side {
    /// heard(end) by `idle_counts: traffic`, moved on by what it stood still.
    traffic: Time,
    /// heard(end) by `idle_counts: messages`, likewise; never later than `traffic`.
    messages: Time,
    /// The last ping sent, the opening at first, likewise.
    pinged: Time,
    /// While blocked: since when it takes nothing. Then the other end's clocks read this instant, standing still. Later: when that ended.
    taken: Time,
    /// Where in its range the wait for the next ping lies.
    draw: u32,
    pinged_before: bool,
    queued: bool,
    /// A ping of the other end was passed on and is not answered (rule 3).
    held_off: bool,
    blocked: bool,
}

/// Which ends sent FIN; of two the first, by which rule 9 counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fin {
    Neither,
    One(End),
    Both(End),
}

impl Heart {
    /// A heart that starts to beat at `now`, the instant of the opening; both ends count as heard then.
    /// `seed` drives every draw (jitter, first ping, max_age): equal seeds give equal schedules.
    pub fn new(now: Time, kind: Kind, seed: u64) -> Self {
        let mut draws = Draws::new(seed);
        let age_draw = draws.draw();
        let sides = End::BOTH.map(|_| Side {
            traffic: now,
            messages: now,
            pinged: now,
            taken: now,
            draw: draws.draw(),
            pinged_before: false,
            queued: false,
            held_off: false,
            blocked: false,
        });
        Self {
            sides,
            opened: now,
            data: now,
            half_close: now,
            upstream_byte: now,
            asked: Asked::NOTHING,
            seldom: None,
            draws,
            age_draw,
            kind,
            first_message_awaited: true,
            fin: Fin::Neither,
        }
    }

    /// Any byte was read from `from` (below TLS, whole messages or not).
    pub fn read(&mut self, from: End, now: Time) {
        self.side_mut(from).traffic.advance(now);
        if self.kind == Kind::Raw {
            self.data.advance(now);
        }
        if from == End::Upstream {
            self.upstream_byte.advance(now);
        }
        match self.fin {
            Fin::One(first) | Fin::Both(first) if first != from => self.half_close.advance(now),
            Fin::Neither | Fin::One(_) | Fin::Both(_) => {}
        }
    }

    /// A data message from `from` ended (all fragments of it, a line, a record). Call `read` as well.
    pub fn message(&mut self, from: End, now: Time) {
        self.read(from, now);
        self.side_mut(from).messages.advance(now);
        self.data.advance(now);
        if from == End::Client && self.first_message_awaited {
            self.first_message_awaited = false;
            if let Some(seldom) = &mut self.seldom {
                seldom.first_message = now;
            }
        }
    }

    /// The client's configured `reply` arrived: heard, but no data message (rule 6).
    /// Returns the round trip if it answers a heartbeat of data.
    pub fn reply(&mut self, now: Time) -> Option<Duration> {
        self.read(End::Client, now);
        self.side_mut(End::Client).messages.advance(now);
        self.seldom.as_mut()?.beats.replied(now)
    }

    /// A Ping frame of the opposite end was passed on to `to` (rule 3: hold off).
    pub fn app_ping_passed(&mut self, to: End) {
        self.side_mut(to).held_off = true;
    }

    /// Whether an unanswered ping of the opposite end forbids one of ours to `to` for now (rule 3).
    pub fn holds_off(&self, to: End) -> bool {
        self.side(to).held_off
    }

    /// A Pong frame came from `from`; `token` is its payload if that has eight bytes.
    pub fn pong(&mut self, from: End, token: Option<[u8; 8]>, now: Time) -> Pong {
        self.side_mut(from).held_off = false;
        let asked = match from {
            End::Client => Some(&self.asked),
            End::Upstream => self.seldom.as_ref().map(|seldom| &seldom.asked),
        };
        let rtt = asked
            .zip(token)
            .and_then(|(asked, token)| asked.round_trip(token, now));
        rtt.map_or(Pong::Theirs, |rtt| Pong::Ours { rtt })
    }

    /// A heartbeat for `to` was put into its outbox: none other is due until `ping_sent`.
    pub fn ping_queued(&mut self, to: End) {
        self.side_mut(to).queued = true;
    }

    /// The last byte of the queued heartbeat was taken by the socket at `now`; `token` is that of a Ping frame, `None` for data.
    pub fn ping_sent(&mut self, to: End, token: Option<[u8; 8]>, now: Time) {
        let draw = self.draws.draw();
        let side = self.side_mut(to);
        side.draw = draw;
        side.pinged_before = true;
        side.queued = false;
        side.pinged.advance(now);
        match (to, token) {
            (End::Client, Some(token)) => self.asked.push(token, now),
            (End::Client, None) => self.seldom_mut().beats.push(now),
            (End::Upstream, Some(token)) => self.seldom_mut().asked.push(token, now),
            // There is no heartbeat of data for the app.
            (End::Upstream, None) => {}
        }
    }

    /// Bytes wait for `to` and it takes none. Repeated calls change nothing.
    /// From here the *other* end is not read, so that end's idle, quiet and ping clocks stand still (rule 8).
    pub fn blocked(&mut self, to: End, now: Time) {
        let side = self.side_mut(to);
        if !side.blocked {
            side.blocked = true;
            side.taken = now;
        }
    }

    /// A blocked `to` took some bytes, others still wait: its stall clock starts anew, and it was heard.
    pub fn progressed(&mut self, to: End, now: Time) {
        let side = self.side(to);
        if !side.blocked {
            return;
        }
        let from = side.taken;
        let quiet_from = self.quiet_unread_since().unwrap_or(from);
        let side = self.side_mut(to);
        side.taken = now;
        side.traffic.advance(now);
        let quiet_to = self.quiet_unread_since().unwrap_or(now);
        let quiet = Gap {
            from: quiet_from,
            to: quiet_to,
        };
        self.carry(to.other(), Gap { from, to: now }, quiet);
    }

    /// Nothing waits for `to` any more: the clocks of the other end go on. Was it blocked, it was heard.
    pub fn unblocked(&mut self, to: End, now: Time) {
        self.progressed(to, now);
        self.side_mut(to).blocked = false;
    }

    /// `from` sent FIN on raw TCP and it was passed on (rule 9).
    pub fn half_closed(&mut self, from: End, now: Time) {
        self.fin = match self.fin {
            Fin::Neither => {
                self.half_close = now;
                Fin::One(from)
            }
            Fin::One(first) if first != from => Fin::Both(first),
            Fin::One(_) | Fin::Both(_) => self.fin,
        };
    }

    /// The policy was replaced by a reload at `now`: a shortened limit ends no stream earlier than `now` + new limit, and a
    /// stream beyond a lowered max_age ends at a random instant within `spread` from now.
    ///
    /// `observe` turned to `enforce`, and `idle_counts` from traffic to messages, shorten a limit just as well.
    pub fn policy_changed(&mut self, old: &Policy, new: &Policy, now: Time, spread: Duration) {
        self.raise_floors(old, new, now, spread);
    }

    /// What to do at `now`.
    ///
    /// In `enforce`, after a `Wait` without a ping and before its `until`, being heard (`read`, `message`, `reply`) changes nothing but
    /// to make `until` later: there is no need to ask again after such a turn.
    pub fn verdict(&mut self, now: Time, policy: &Policy) -> Verdict {
        let mut dues = self.dues(policy);
        if policy.mode == Mode::Observe
            && let Some(told) = self.observe(&mut dues, policy.idle_counts, now)
        {
            return told;
        }
        let (due, limit) = earliest(dues);
        if due <= now && due != Time::NEVER {
            let reason = limit.reason();
            return Verdict::Close { reason, due };
        }
        let client = self.asking(End::Client, policy, now);
        let upstream = self.asking(End::Upstream, policy, now);
        let until = due.min(client.until).min(upstream.until);
        Verdict::Wait {
            until: (until != Time::NEVER).then_some(until),
            ping_client: client.place,
            ping_upstream: upstream.place,
        }
    }

    /// The instant at which the stream will be closed if nothing more is heard, and why; for the stream API.
    /// In `observe` the instant at which it is, or was, overdue.
    pub fn deadline(&self, policy: &Policy) -> Option<(Time, Reason)> {
        let (due, limit) = earliest(self.dues(policy));
        (due != Time::NEVER).then(|| (due, limit.reason()))
    }

    /// How long nothing was heard from `end`, and after how much of that it was asked in vain: the last four
    /// times at most.
    pub fn silence(&self, end: End, policy: &Policy, now: Time) -> (Duration, Vec<Duration>) {
        let heard = self.heard(end, policy.idle_counts);
        let seldom = self.seldom.as_deref();
        let mut asked = match end {
            End::Client => self.asked.since(heard),
            End::Upstream => seldom.map_or_else(Vec::new, |seldom| seldom.asked.since(heard)),
        };
        if let (End::Client, Some(seldom)) = (end, seldom) {
            asked.extend(seldom.beats.since(heard));
        }
        let after = |time: &Time| time.saturating_since(heard);
        (after(&now), asked.iter().map(after).collect())
    }

    /// heard(`end`) as `counts` has it, moved on by what its clock stood still.
    fn heard(&self, end: End, counts: IdleCounts) -> Time {
        match counts {
            IdleCounts::Traffic => self.side(end).traffic,
            IdleCounts::Messages => self.side(end).messages,
        }
    }

    fn half_closed_by(&self, end: End) -> bool {
        match self.fin {
            Fin::Neither => false,
            Fin::One(first) => first == end,
            Fin::Both(_) => true,
        }
    }

    fn side(&self, end: End) -> &Side {
        &self.sides[end as usize]
    }

    fn side_mut(&mut self, end: End) -> &mut Side {
        &mut self.sides[end as usize]
    }
}

/// The first of `dues`, of several at once the first in the order of the rules.
fn earliest(dues: [Time; Limit::ALL.len()]) -> (Time, Limit) {
    let mut first = (dues[0], Limit::ALL[0]);
    for (due, limit) in dues.into_iter().zip(Limit::ALL) {
        if due < first.0 {
            first = (due, limit);
        }
    }
    first
}
