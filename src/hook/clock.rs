//! The times of the hooks: a steady one for the schedule, the wall clock's for what is shown.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::{Instant, sleep_until};

/// When something happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Moment {
    /// What the wall clock said, which is what is shown.
    pub(super) wall: SystemTime,
    /// By the [`Clock`] of the process, which is what its age counts from.
    pub(super) steady: Duration,
}

/// Time since 1970 that goes on steadily when the wall clock is set.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    started: Instant,
    offset: Duration,
}

impl Clock {
    pub(super) fn new() -> Self {
        Self {
            started: Instant::now(),
            offset: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default(),
        }
    }

    /// The instant on the axis of the queue.
    pub(super) fn now(&self) -> Duration {
        self.offset + self.started.elapsed()
    }

    /// What happened at `instant`, when the wall clock said `wall`.
    pub(super) fn moment(&self, wall: SystemTime, instant: Instant) -> Moment {
        let later = self.offset + instant.saturating_duration_since(self.started);
        let earlier = self.started.saturating_duration_since(instant);
        Moment {
            wall,
            steady: later.saturating_sub(earlier),
        }
    }

    /// Where an instant of a former process lies, whose steady time is not ours: nothing happened later than now.
    pub(super) fn place_former(&self, wall: SystemTime) -> Duration {
        let wall = wall.duration_since(UNIX_EPOCH).unwrap_or_default();
        wall.min(self.now())
    }

    /// Sleeps to an instant of this clock; `None` is for ever.
    pub(super) async fn sleep_until(&self, until: Option<Duration>) {
        match until {
            Some(until) => sleep_until(self.started + until.saturating_sub(self.offset)).await,
            None => std::future::pending().await,
        }
    }
}

/// The form of every time that is shown; a time before 1970 is shown as 1970.
pub(super) fn rfc3339(at: SystemTime) -> String {
    humantime::format_rfc3339_millis(at.max(UNIX_EPOCH)).to_string()
}

/// Seconds since 1970, as Prometheus counts them.
pub(super) fn seconds(at: SystemTime) -> f64 {
    at.duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3_600);

    #[tokio::test(start_paused = true)]
    async fn age_is_what_passed_whatever_the_wall_clock_says() {
        let early = Instant::now();
        tokio::time::advance(HOUR).await;
        let clock = Clock::new();
        let begun = clock.now();
        assert_eq!(clock.moment(UNIX_EPOCH, early).steady, begun - HOUR);
        tokio::time::advance(HOUR).await;
        for wall in [UNIX_EPOCH, SystemTime::now() + 24 * HOUR] {
            let moment = clock.moment(wall, Instant::now());
            assert_eq!((moment.wall, moment.steady), (wall, begun + HOUR));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_former_process_saw_lies_where_the_wall_clock_has_it_but_not_later_than_now() {
        let clock = Clock::new();
        let now = clock.now();
        for (wall, place) in [(now - HOUR, now - HOUR), (now + HOUR, now)] {
            assert_eq!(clock.place_former(UNIX_EPOCH + wall), place);
        }
        assert_eq!(clock.place_former(UNIX_EPOCH - HOUR), Duration::ZERO);
    }
}
