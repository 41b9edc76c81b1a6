//! Many streams that die within a second: each of them on time, but one cause is likelier than as many.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::proto::cause::{End, Reason};

/// Deaths are added up over this many slots, a second together.
const SLOTS: usize = 10;
const SLOT: Duration = Duration::from_millis(100);

/// Fewer than this are chance: a train in a tunnel.
const LEAST: u64 = 10;

/// One of so many has to die, or it is the churn of a large crowd. Clients that a network takes all at once do not die
/// all at once: what they said last was said over the longest wait between two pings, 27.5 s by default, and so one in
/// 28 of them dies each second. One in 50 also sees the loss of rather more than half of them.
const ONE_IN: u64 = 50;

/// A burst is over when the deaths of a second were too few for this long: 10 s, in which a spread one may pause.
const CALM: u64 = 100;

/// The deaths of one listener, by the end that fell silent.
#[derive(Debug)]
pub(super) struct Deaths {
    since: Instant,
    ends: [Mutex<LastSecond>; 2],
}

impl Deaths {
    pub(super) fn new() -> Self {
        Self {
            since: Instant::now(),
            ends: Default::default(),
        }
    }

    /// Counts a stream that ended for `reason` while `left` others stayed open. Tells of a burst once, as it begins.
    pub(super) fn count(&self, reason: Reason, left: u64) -> Option<Burst> {
        let end = silent_end(reason)?;
        let slot = self.since.elapsed().as_millis() / SLOT.as_millis();
        let last = &self.ends[end as usize];
        // Whoever panicked here had counted or not: either is good enough for a log line.
        let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
        let died = last.count(slot as u64, left)?;
        Some(Burst { end, died, left })
    }
}

/// Many deaths within a second.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Burst {
    /// Who fell silent.
    end: End,
    died: u64,
    /// Streams that are still open.
    left: u64,
}

impl Burst {
    /// Warns of it.
    pub(super) fn log(&self, listener: &str) {
        let Self { end, died, left } = *self;
        match end {
            End::Client => tracing::warn!(
                listener,
                died,
                left,
                "many clients fell silent within a second: the network is the likelier cause"
            ),
            End::Upstream => tracing::warn!(
                listener,
                died,
                left,
                "the app fell silent on many streams within a second: the app itself, or the network to it, is the likelier cause"
            ),
        }
    }
}

/// Whose silence `reason` is. A reset is none: somebody was there to send it.
fn silent_end(reason: Reason) -> Option<End> {
    match reason {
        Reason::ClientIdle | Reason::ClientStalled => Some(End::Client),
        Reason::UpstreamIdle | Reason::UpstreamStalled => Some(End::Upstream),
        Reason::ClientClose
        | Reason::UpstreamClose
        | Reason::ClientGone
        | Reason::UpstreamGone
        | Reason::Quiet
        | Reason::NoFirstMessage
        | Reason::MaxAge
        | Reason::HalfCloseTimeout
        | Reason::ProtocolError
        | Reason::MessageTooBig
        | Reason::AdminClose
        | Reason::Drain
        | Reason::SidecarCrash
        | Reason::InternalError => None,
    }
}

/// The last second in slots; times are slot numbers.
#[derive(Debug, Default)]
struct LastSecond {
    slots: [u64; SLOTS],
    newest: u64,
    /// When a second last had too many.
    crossed: Option<u64>,
}

impl LastSecond {
    fn count(&mut self, now: u64, left: u64) -> Option<u64> {
        let place = |slot: u64| (slot % SLOTS as u64) as usize;
        let passed = now.saturating_sub(self.newest).min(SLOTS as u64);
        self.newest = self.newest.max(now);
        for slot in 0..passed {
            self.slots[place(self.newest - slot)] = 0;
        }
        self.slots[place(self.newest)] += 1;
        let died: u64 = self.slots.iter().sum();
        if died < LEAST || died * ONE_IN < died + left {
            return None;
        }
        let last = self.crossed.replace(self.newest);
        let news = last.is_none_or(|last| self.newest - last >= CALM);
        news.then_some(died)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Streams that die in these slots, of `open` in all; what is told, and in which slot.
    fn told(open: u64, deaths: impl IntoIterator<Item = u64>) -> Vec<(u64, u64)> {
        let mut last = LastSecond::default();
        let mut left = open;
        let mut told = Vec::new();
        for slot in deaths {
            left -= 1;
            told.extend(last.count(slot, left).map(|died| (slot, died)));
        }
        told
    }

    #[test]
    fn a_burst_is_told_once() {
        assert_eq!(told(200, [7; 200]), [(7, 10)]);
        assert_eq!(told(200, 0..200), [(9, 10)], "one every 100 ms for 20 s");
    }

    #[test]
    fn few_deaths_are_chance_and_few_of_many_are_churn() {
        assert_eq!(told(9, [0; 9]), []);
        // 999 others are left when the twentieth dies, and that is 1 in 51
        assert_eq!(told(1019, [0; 20]), []);
        assert_eq!(told(1000, [0; 20]), [(0, 20)]);
    }

    #[test]
    fn a_second_is_a_second() {
        assert_eq!(told(18, [0, 0, 0, 0, 0, 0, 0, 0, 0, 9]), [(9, 10)]);
        assert_eq!(told(18, [0, 0, 0, 0, 0, 0, 0, 0, 0, 10]), []);
        assert_eq!(told(18, [5, 5, 5, 5, 5, 5, 5, 5, 5, 1000]), []);
        let every_other = (0..1000).step_by(2);
        assert_eq!(told(500, every_other), [], "five a second");
    }

    #[test]
    fn the_next_burst_is_told_again_after_ten_calm_seconds() {
        let twice = |second: u64| {
            let deaths = [0, second].into_iter().flat_map(|slot| [slot; 20]);
            told(100, deaths)
        };
        assert_eq!(twice(99), [(0, 10)]);
        assert_eq!(twice(100), [(0, 10), (100, 10)]);
    }

    /// Workers read their clocks one after another.
    #[test]
    fn a_death_that_comes_late_counts_as_now() {
        let mut last = LastSecond::default();
        let told: Vec<_> = (0..10).filter_map(|nth| last.count(20 - nth, 0)).collect();
        assert_eq!(told, [10]);
    }

    /// Clients that answered every ping until the network took all of them: the default limits, as `LEAST` and
    /// `ONE_IN` are meant.
    #[test]
    fn a_lost_network_is_told_of_though_its_clients_die_over_half_a_minute() {
        let dies = |open: u64| (0..open).map(move |client| client * 275 / open);
        assert_eq!(told(300, dies(300)).len(), 1);
        assert_eq!(told(100_000, dies(100_000)).len(), 1);
    }

    #[test]
    fn only_silence_counts_and_each_end_for_itself() {
        let deaths = Deaths::new();
        for reason in Reason::ALL {
            let bursts: Vec<_> = (0..20).filter_map(|_| deaths.count(*reason, 7)).collect();
            // A stall of the same end belongs to the same burst.
            let end = [
                (Reason::ClientIdle, End::Client),
                (Reason::UpstreamIdle, End::Upstream),
            ];
            let end = end.iter().find(|(first, _)| first == reason);
            let expected = end.map(|&(_, end)| Burst {
                end,
                died: 10,
                left: 7,
            });
            assert_eq!(bursts, Vec::from_iter(expected), "{}", reason.as_str());
        }
    }
}
