//! The clock of a stream: what was heard when, and what to do about it at `now`.

use std::time::Duration;

use super::cause::{End, Reason};

/// An instant of a worker's clock: nanoseconds since the worker started, its own pauses left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub struct Time(pub u64);

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

/// The heartbeat rules of one listener, validated. Every `None` is `off`.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// Rule 1.
    pub idle_limit: Option<Duration>,
    /// What moves `heard`.
    pub idle_counts: IdleCounts,
    /// Rule 2: heartbeats to the client.
    pub ping: Option<PingPolicy>,
    /// Masked Ping frames to a ws upstream: the interval.
    pub upstream_ping: Option<Duration>,
    /// Rule 5.
    pub upstream_idle_limit: Option<Duration>,
    /// Rule 6.
    pub quiet_limit: Option<Duration>,
    /// Rule 6.
    pub first_message_limit: Option<Duration>,
    /// Rule 7.
    pub max_age: Option<Duration>,
    /// Rule 7: 0.1 is 10 %.
    pub max_age_jitter: f64,
    /// Rule 8.
    pub stall_limit: Option<Duration>,
    /// Rule 9.
    pub half_close_limit: Option<Duration>,
    /// Rule 10.
    pub close_timeout: Duration,
    /// Rule 11.
    pub mode: Mode,
}

/// When and how often the client is asked.
#[derive(Debug, Clone, PartialEq)]
pub struct PingPolicy {
    /// Between two pings, before jitter.
    pub interval: Duration,
    /// 0.1 is 10 %.
    pub jitter: f64,
    /// Only to a silent client, or always.
    pub when: When,
}

/// `idle_counts`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdleCounts {
    /// Any byte from the client.
    Traffic,
    /// Only complete data messages.
    Messages,
}

/// `ping.when`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Only to a client not heard for `interval`.
    Idle,
    /// Every `interval`.
    Always,
}

/// `mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Close what exceeds a limit.
    Enforce,
    /// Only report it.
    Observe,
}

/// Where a ping may be put into the byte stream (rule 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// Only between two messages.
    BetweenMessages,
    /// Between two frames of one message, too: the ping has been due for half an interval.
    BetweenFrames,
}

/// What the heart wants at `now`. Ask again until it says `Wait`.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// Nothing more to do before `until` (always later than `now`; `None`: only an event changes anything).
    /// A ping to an end is due now at `place`; the heart repeats it until `ping_queued`.
    Wait {
        until: Option<Time>,
        ping_client: Option<Place>,
        ping_upstream: Option<Place>,
    },
    /// End the stream; the limit ran out at `due` (≤ now). In `observe` never for rules 1, 5, 6, 8, 9 and max_age.
    Close { reason: Reason, due: Time },
    /// Observe only: the limit of `reason` ran out, reported once per silence.
    Overdue { reason: Reason },
    /// Observe only: the stream was heard again `after` its limit of `reason` had run out.
    HeardAgain { reason: Reason, after: Duration },
}

/// A pong, as the heart judges it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pong {
    /// It answers one of our last four pings: keep it back.
    Ours { rtt: Duration },
    /// It is the peer's own or answers the other end's ping: pass it on.
    Theirs,
}

/// What was heard when, for both ends of one stream.
#[derive(Debug)]
pub struct Heart {
    _todo: End,
}

impl Heart {
    /// A heart that starts to beat at `now`, the instant of the opening; both ends count as heard then.
    /// `seed` drives every draw (jitter, first ping, max_age): equal seeds give equal schedules.
    pub fn new(_now: Time, _kind: Kind, _seed: u64) -> Self {
        unimplemented!()
    }
    /// Any byte was read from `from` (below TLS, whole messages or not).
    pub fn read(&mut self, _from: End, _now: Time) {}
    /// A data message from `from` ended (all fragments of it, a line, a record). Call `read` as well.
    pub fn message(&mut self, _from: End, _now: Time) {}
    /// The client's configured `reply` arrived: heard, but no data message (rule 6).
    pub fn reply(&mut self, _now: Time) {}
    /// A Ping frame of the opposite end was passed on to `to` (rule 3: hold off).
    pub fn app_ping_passed(&mut self, _to: End) {}
    /// A Pong frame came from `from`; `token` is its payload if that has eight bytes.
    pub fn pong(&mut self, _from: End, _token: Option<[u8; 8]>, _now: Time) -> Pong {
        unimplemented!()
    }
    /// A heartbeat for `to` was put into its outbox: none other is due until `ping_sent`.
    pub fn ping_queued(&mut self, _to: End) {}
    /// The last byte of the queued heartbeat was taken by the socket at `now`; `token` is that of a Ping frame, `None` for data.
    pub fn ping_sent(&mut self, _to: End, _token: Option<[u8; 8]>, _now: Time) {}
    /// Bytes wait for `to` and it takes none. Repeated calls change nothing.
    /// From here the *other* end is not read, so that end's idle, quiet and ping clocks stand still (rule 8).
    pub fn blocked(&mut self, _to: End, _now: Time) {}
    /// A blocked `to` took some bytes, others still wait: its stall clock starts anew, and it was heard.
    pub fn progressed(&mut self, _to: End, _now: Time) {}
    /// Nothing waits for `to` any more: the clocks of the other end go on. Was it blocked, it was heard.
    pub fn unblocked(&mut self, _to: End, _now: Time) {}
    /// `from` sent FIN on raw TCP and it was passed on (rule 9).
    pub fn half_closed(&mut self, _from: End, _now: Time) {}
    /// The policy was replaced by a reload at `now`: a shortened limit ends no stream earlier than `now` + new limit, and a
    /// stream beyond a lowered max_age ends at a random instant within `spread` from now.
    pub fn policy_changed(&mut self, _old: &Policy, _new: &Policy, _now: Time, _spread: Duration) {}
    /// What to do at `now`.
    pub fn verdict(&mut self, _now: Time, _policy: &Policy) -> Verdict {
        unimplemented!()
    }
    /// The instant at which the stream will be closed if nothing more is heard, and why; for the stream API.
    pub fn deadline(&self, _policy: &Policy) -> Option<(Time, Reason)> {
        None
    }
}
