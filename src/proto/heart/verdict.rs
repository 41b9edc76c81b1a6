//! What the heart answers.

use std::time::Duration;

use super::Time;
use crate::proto::cause::Reason;

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
        /// When to ask again at the latest.
        until: Option<Time>,
        /// A ping to the client is due.
        ping_client: Option<Place>,
        /// A ping to the upstream is due.
        ping_upstream: Option<Place>,
    },
    /// End the stream; the limit ran out at `due` (≤ now). In `observe` never for rules 1, 5, 6, 8, 9 and max_age.
    Close {
        /// The rule that ran out first.
        reason: Reason,
        /// When it did.
        due: Time,
    },
    /// Observe only: the limit of `reason` ran out, reported once per silence unless `not_overdue` takes it back.
    Overdue {
        /// The rule that ran out.
        reason: Reason,
    },
    /// Observe only: the stream was heard again `after` its limit of `reason` had run out.
    HeardAgain {
        /// The rule that had run out.
        reason: Reason,
        /// How much longer a limit would have kept the stream, standing still left out.
        after: Duration,
    },
}

/// A pong, as the heart judges it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pong {
    /// It answers one of our last four pings: keep it back.
    Ours {
        /// From the last byte of the ping taken by the socket to now.
        rtt: Duration,
    },
    /// It is the peer's own or answers the other end's ping: pass it on.
    Theirs,
}
