//! How fast a hook may send.

use std::time::Duration;

/// How much of the rate may be spent at once. Longer than the timer's granularity of 1 ms plus a late wake-up, so
/// that the mean rate is reached; short, so that no second sees more than 2 % above it.
const BURST: Duration = Duration::from_millis(20);

/// A token bucket, kept as the instant at which the next token is there (GCRA, ITU-T I.371).
pub(super) struct Pace {
    interval: Duration,
    /// [`BURST`] in whole intervals: none at all for a slow rate, which is then kept to the letter.
    burst: Duration,
    next: Duration,
}

impl Pace {
    pub(super) fn new(rate: u32) -> Self {
        let interval = Duration::from_secs(1) / rate.max(1);
        let intervals = BURST.as_nanos() / interval.as_nanos().max(1);
        Self {
            interval,
            burst: interval * u32::try_from(intervals).unwrap_or(u32::MAX),
            next: Duration::ZERO,
        }
    }

    /// Takes a token, or says when there will be one.
    pub(super) fn take(&mut self, now: Duration) -> Result<(), Duration> {
        let next = self.next.max(now.saturating_sub(self.burst));
        if next > now {
            return Err(next);
        }
        self.next = next + self.interval;
        Ok(())
    }
}
