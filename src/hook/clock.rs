//! The times of the hooks: a steady one for the schedule, the wall clock's for what is shown.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::{Instant, sleep_until};

/// Time since 1970 that goes on steadily when the wall clock is set.
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

    /// Where an instant of the wall clock lies, by its age.
    pub(super) fn place(&self, at: SystemTime) -> Duration {
        let age = SystemTime::now().duration_since(at).unwrap_or_default();
        self.now().saturating_sub(age)
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
