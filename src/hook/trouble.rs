//! What goes wrong with a hook: the last error, and when the log is told.

use std::time::{Duration, SystemTime};

use tracing::{info, warn};

/// Between two log lines of one sort about one hook.
const LOG_INTERVAL: Duration = Duration::from_secs(30);

/// The failures of one hook. The log gets the first failure, the recovery from a failure that it was told of, and
/// events that are lost; the metrics count what it is not told.
#[derive(Default)]
pub(super) struct Trouble {
    failing: bool,
    /// Whether the log was told of this outage.
    announced: bool,
    outages: Throttle,
    losses: Throttle,
    /// Events lost since the log was told.
    untold: u64,
    last: Option<(SystemTime, String)>,
}

/// Something for the log.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Notice {
    Failing { why: String, wait: Duration },
    Recovered,
    Disabled,
    Lost { events: u64 },
}

impl Trouble {
    /// What went wrong last, and when.
    pub(super) fn last(&self) -> Option<&(SystemTime, String)> {
        self.last.as_ref()
    }

    /// A try failed and its event waits for `wait`.
    pub(super) fn failed(&mut self, why: String, wait: Duration, now: Duration) -> Option<Notice> {
        let news = !self.failing && self.outages.allows(now);
        self.failing = true;
        self.announced |= news;
        self.last = Some((SystemTime::now(), why.clone()));
        news.then_some(Notice::Failing { why, wait })
    }

    /// A try succeeded.
    pub(super) fn recovered(&mut self) -> Option<Notice> {
        self.failing = false;
        std::mem::take(&mut self.announced).then_some(Notice::Recovered)
    }

    /// The receiver wants no more events.
    pub(super) fn disabled(&mut self) -> Notice {
        self.rejected("answer 410 Gone".to_owned());
        Notice::Disabled
    }

    /// The receiver will never take this event.
    pub(super) fn rejected(&mut self, why: String) {
        self.last = Some((SystemTime::now(), why));
    }

    /// An event left the queue undelivered.
    pub(super) fn lost(&mut self, now: Duration) -> Option<Notice> {
        self.untold += 1;
        let news = self.losses.allows(now);
        news.then(|| Notice::Lost {
            events: std::mem::take(&mut self.untold),
        })
    }
}

impl Notice {
    /// Writes it to the log; `url` is the hook's as it may be shown.
    pub(super) fn log(self, hook: &str, url: &str) {
        match self {
            Self::Failing { why, wait } => warn!(
                hook,
                url,
                error = why,
                retry_in = ?wait,
                "the hook fails; its events wait and are tried again"
            ),
            Self::Recovered => info!(hook, url, "the hook delivers again"),
            Self::Disabled => warn!(
                hook,
                url, "the receiver answered 410 Gone: nothing is sent to it until a reload"
            ),
            Self::Lost { events } => warn!(
                hook,
                url, events, "events are lost: see result in sidebeat_hook_events_total for why"
            ),
        }
    }
}

/// Lets one through per [`LOG_INTERVAL`].
#[derive(Default)]
pub(super) struct Throttle(Option<Duration>);

impl Throttle {
    pub(super) fn allows(&mut self, now: Duration) -> bool {
        let due = self.0.is_none_or(|last| last + LOG_INTERVAL <= now);
        if due {
            self.0 = Some(now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn refused(trouble: &mut Trouble, second: u64) -> Option<Notice> {
        trouble.failed("refused".to_owned(), secs(1), secs(second))
    }

    #[test]
    fn an_outage_is_told_once_at_each_end() {
        let mut trouble = Trouble::default();
        let told = (0..600).filter_map(|second| refused(&mut trouble, second));
        let failing = Notice::Failing {
            why: "refused".to_owned(),
            wait: secs(1),
        };
        assert_eq!(told.collect::<Vec<_>>(), [failing]);
        assert_eq!(trouble.recovered(), Some(Notice::Recovered));
        assert_eq!(trouble.recovered(), None);
        assert_eq!(trouble.last().unwrap().1, "refused");
    }

    #[test]
    fn a_flapping_hook_is_told_every_thirty_seconds() {
        let mut trouble = Trouble::default();
        let told: Vec<u64> = (0..90)
            .filter(|second| {
                let failing = refused(&mut trouble, *second).is_some();
                assert_eq!(trouble.recovered().is_some(), failing);
                failing
            })
            .collect();
        assert_eq!(told, [0, 30, 60]);
    }

    #[test]
    fn losses_are_added_up_between_lines() {
        let mut trouble = Trouble::default();
        let told: Vec<Notice> = (0..=30)
            .filter_map(|second| trouble.lost(secs(second)))
            .collect();
        let lost = |events| Notice::Lost { events };
        assert_eq!(told, [lost(1), lost(30)]);
    }
}
