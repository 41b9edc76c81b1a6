//! The Ping frames of ours that an end may still answer.

use std::time::Duration;

use super::Time;

/// The last four tokens sent to one end, newest first (rule 4). Four, because a peer may answer late, out of order or only
/// the newest of several pings (RFC 6455 section 5.5.3), and because what is older is not ours to keep back for ever.
#[derive(Debug)]
pub(super) struct Asked {
    tokens: [[u8; 8]; 4],
    /// When the ping of each token was sent; `Time::NEVER` marks a free place.
    sent: [Time; 4],
}

impl Asked {
    pub(super) const NOTHING: Self = Self {
        tokens: [[0; 8]; 4],
        sent: [Time::NEVER; 4],
    };

    /// A ping with `token` was sent; the oldest of four is forgotten.
    pub(super) fn push(&mut self, token: [u8; 8], now: Time) {
        self.tokens.rotate_right(1);
        self.sent.rotate_right(1);
        self.tokens[0] = token;
        self.sent[0] = now;
    }

    /// The round trip of the ping with `token`, if it is one of the last four.
    pub(super) fn round_trip(&self, token: [u8; 8], now: Time) -> Option<Duration> {
        let answered = |(known, sent): (&[u8; 8], &Time)| *known == token && *sent != Time::NEVER;
        let place = self.tokens.iter().zip(&self.sent).position(answered)?;
        Some(now.saturating_since(self.sent[place]))
    }

    /// When the pings were sent that came after `heard`, the oldest first.
    pub(super) fn since(&self, heard: Time) -> Vec<Time> {
        since(&self.sent, heard)
    }
}

/// The last four heartbeats of data to the client: they carry no token, so one reply answers all of them.
#[derive(Debug)]
pub(super) struct Beats([Time; 4]);

impl Beats {
    pub(super) const NOTHING: Self = Self([Time::NEVER; 4]);

    pub(super) fn push(&mut self, now: Time) {
        self.0.rotate_right(1);
        self.0[0] = now;
    }

    /// The round trip of the newest unanswered one; from here all are answered.
    pub(super) fn replied(&mut self, now: Time) -> Option<Duration> {
        let newest = std::mem::replace(self, Self::NOTHING).0[0];
        (newest != Time::NEVER).then(|| now.saturating_since(newest))
    }

    /// When those were sent that came after `heard`, the oldest first.
    pub(super) fn since(&self, heard: Time) -> Vec<Time> {
        since(&self.0, heard)
    }
}

fn since(newest_first: &[Time], heard: Time) -> Vec<Time> {
    let sent = newest_first.iter().rev().copied();
    sent.filter(|sent| *sent > heard && *sent != Time::NEVER)
        .collect()
}
