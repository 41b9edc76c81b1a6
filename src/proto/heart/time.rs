//! Instants of worker time.

use std::time::Duration;

/// An instant of a worker's clock: nanoseconds since the worker started, its own pauses left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub struct Time(pub u64);

impl Time {
    /// The end of all time; as a mark: not at all.
    pub(super) const NEVER: Self = Self(u64::MAX);

    /// `by` later, at most the end of all time.
    pub fn saturating_add(self, by: Duration) -> Self {
        self.saturating_add_nanos(nanos(by))
    }

    /// The time since `earlier`, zero if that is later.
    pub fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    pub(super) fn saturating_add_nanos(self, by: u64) -> Self {
        Self(self.0.saturating_add(by))
    }

    /// `by` later, unless that is never.
    pub(super) fn checked_add(self, by: u64) -> Option<Self> {
        let sum = self.saturating_add_nanos(by);
        (sum != Self::NEVER).then_some(sum)
    }

    /// Moves on to `now`; never back.
    pub(super) fn advance(&mut self, now: Self) {
        *self = (*self).max(now);
    }
}

/// `duration` in nanoseconds; 584 years are as good as more.
pub(super) fn nanos(duration: Duration) -> u64 {
    duration
        .as_secs()
        .saturating_mul(1_000_000_000)
        .saturating_add(u64::from(duration.subsec_nanos()))
}
