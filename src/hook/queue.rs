//! Order and schedule of one hook's events: which may be sent now, and when to ask again. No I/O, no clock.
//!
//! Every operation costs O(log n).

mod chains;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

pub(super) use self::chains::Keys;

use self::chains::Chains;
use super::pace::Pace;

/// Events a hook holds at most, sent ones included.
pub(super) const CAPACITY: usize = 10_000;
/// Requests of one hook under way at most.
pub(super) const IN_FLIGHT: usize = 16;
/// The longest wait between two tries, also when `Retry-After` asks for more.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(120);

/// Seconds to wait after the first, second, … failure; the last one repeats.
const WAITS: [u64; 5] = [1, 5, 15, 60, 120];

/// What is given up first when the queue is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Worth {
    /// An `opened` event: the app learns the same from the later `closed`.
    Least,
    /// Every other event.
    Plain,
}

/// Names an event in the queue; rises with arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Ticket(u64);

/// The part of a hook's configuration that schedules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rules {
    /// Requests a second at most.
    pub(super) rate: u32,
    /// From the event's time on; later it is expired.
    pub(super) give_up_after: Duration,
}

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step<T> {
    /// Send it now and report by `settle`, `fail` or `release`.
    Send {
        ticket: Ticket,
        /// 1 is the first try.
        attempt: u32,
        item: T,
    },
    /// Its time ran out; it has left the queue.
    Expired(T),
    /// Nothing before this instant, or before something is reported or pushed.
    Wait(Option<Duration>),
}

/// The events of one hook. Every `now` is on one axis that never steps back; its origin is the caller's choice.
pub(super) struct Queue<T> {
    rules: Rules,
    pace: Pace,
    enabled: bool,
    next: u64,
    /// Every event not settled, in order of arrival.
    entries: BTreeMap<Ticket, Entry<T>>,
    chains: Chains,
    /// Heads of all their chains and due.
    ready: BTreeSet<Ticket>,
    /// Heads of all their chains, failed before: due at the instant.
    waiting: BTreeSet<(Duration, Ticket)>,
    /// Every event by the time it happened at.
    ages: BTreeSet<(Duration, Ticket)>,
    /// The events of least worth.
    least: BTreeSet<Ticket>,
    in_flight: usize,
}

struct Entry<T> {
    occurred: Duration,
    attempts: u32,
    state: State,
    item: T,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Not the head of all its chains.
    Blocked,
    Ready,
    Waiting(Duration),
    InFlight,
}

impl<T: Clone> Queue<T> {
    pub(super) fn new(rules: Rules) -> Self {
        Self {
            pace: Pace::new(rules.rate),
            rules,
            enabled: true,
            next: 0,
            entries: BTreeMap::new(),
            chains: Chains::default(),
            ready: BTreeSet::new(),
            waiting: BTreeSet::new(),
            ages: BTreeSet::new(),
            least: BTreeSet::new(),
            in_flight: 0,
        }
    }

    /// Takes an event that happened at `occurred`. Returns the event that had to go for it when the queue was full:
    /// the oldest of least worth, else the oldest, never one in flight.
    pub(super) fn push(
        &mut self,
        keys: Keys,
        worth: Worth,
        occurred: Duration,
        item: T,
    ) -> Option<T> {
        let ticket = Ticket(self.next);
        self.next += 1;
        self.chains.append(ticket, keys);
        self.ages.insert((occurred, ticket));
        if worth == Worth::Least {
            self.least.insert(ticket);
        }
        let entry = Entry {
            occurred,
            attempts: 0,
            state: State::Blocked,
            item,
        };
        self.entries.insert(ticket, entry);
        self.unblock(ticket);
        if self.entries.len() <= CAPACITY {
            return None;
        }
        self.victim().and_then(|ticket| self.remove(ticket))
    }

    /// What to do at `now`; to be asked again until it says `Wait`.
    pub(super) fn poll(&mut self, now: Duration) -> Step<T> {
        let oldest = self.oldest_at_rest();
        if let Some((occurred, ticket)) = oldest
            && occurred + self.rules.give_up_after <= now
            && let Some(item) = self.remove(ticket)
        {
            return Step::Expired(item);
        }
        self.wake(now);
        let mut until = oldest.map(|(occurred, _)| occurred + self.rules.give_up_after);
        if self.enabled {
            let mut sooner = |at| until = Some(until.map_or(at, |until: Duration| until.min(at)));
            if let Some(&(due, _)) = self.waiting.first() {
                sooner(due);
            }
            if self.in_flight < IN_FLIGHT
                && let Some(&ticket) = self.ready.first()
            {
                match self.pace.take(now) {
                    Ok(()) => return self.send(ticket),
                    Err(at) => sooner(at),
                }
            }
        }
        Step::Wait(until)
    }

    /// The event is delivered or rejected: it leaves the queue and frees those behind it.
    pub(super) fn settle(&mut self, ticket: Ticket) -> Option<T> {
        self.remove(ticket)
    }

    /// The try failed: the event waits by the schedule × `jitter` (0.5 to 1), or as long as the receiver asked if that
    /// is longer. Returns the wait.
    pub(super) fn fail(
        &mut self,
        ticket: Ticket,
        now: Duration,
        retry_after: Option<Duration>,
        jitter: f64,
    ) -> Duration {
        let Some(entry) = self.entries.get_mut(&ticket) else {
            return Duration::ZERO;
        };
        let failures = entry.attempts.max(1) as usize;
        let wait = Duration::from_secs(WAITS[failures.min(WAITS.len()) - 1])
            .mul_f64(jitter)
            .max(retry_after.unwrap_or_default())
            .min(LONGEST_WAIT);
        entry.state = State::Waiting(now + wait);
        self.waiting.insert((now + wait, ticket));
        self.in_flight -= 1;
        wait
    }

    /// The try did not count: the event may be sent again at once.
    pub(super) fn release(&mut self, ticket: Ticket) {
        if let Some(entry) = self.entries.get_mut(&ticket) {
            entry.state = State::Ready;
            self.ready.insert(ticket);
            self.in_flight -= 1;
        }
    }

    /// Sends nothing more until `enable`; events are taken and expire as ever.
    pub(super) fn disable(&mut self) {
        self.enabled = false;
    }

    /// Takes new rules and sends again if it was disabled.
    pub(super) fn enable(&mut self, rules: Rules) {
        if rules.rate != self.rules.rate {
            self.pace = Pace::new(rules.rate);
        }
        self.rules = rules;
        self.enabled = true;
    }

    /// Whether events are sent.
    pub(super) fn is_enabled(&self) -> bool {
        self.enabled
    }

    /// Events not settled, those in flight included.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The event that happened first of those not settled.
    pub(super) fn oldest(&self) -> Option<&T> {
        let (_, ticket) = self.ages.first()?;
        self.entries.get(ticket).map(|entry| &entry.item)
    }

    /// Takes the event out of its chains and every index.
    fn remove(&mut self, ticket: Ticket) -> Option<T> {
        let entry = self.entries.remove(&ticket)?;
        match entry.state {
            State::Blocked => {}
            State::Ready => drop(self.ready.remove(&ticket)),
            State::Waiting(due) => drop(self.waiting.remove(&(due, ticket))),
            State::InFlight => self.in_flight -= 1,
        }
        self.ages.remove(&(entry.occurred, ticket));
        self.least.remove(&ticket);
        for behind in self.chains.remove(ticket).into_iter().flatten() {
            self.unblock(behind);
        }
        Some(entry.item)
    }

    /// Makes a blocked event ready once nothing earlier stands in its chains.
    fn unblock(&mut self, ticket: Ticket) {
        if let Some(entry) = self.entries.get_mut(&ticket)
            && entry.state == State::Blocked
            && self.chains.is_head(ticket)
        {
            entry.state = State::Ready;
            self.ready.insert(ticket);
        }
    }

    /// Makes the failed events ready whose wait is over.
    fn wake(&mut self, now: Duration) {
        while let Some(&(due, ticket)) = self.waiting.first()
            && due <= now
        {
            self.waiting.pop_first();
            if let Some(entry) = self.entries.get_mut(&ticket) {
                entry.state = State::Ready;
                self.ready.insert(ticket);
            }
        }
    }

    fn send(&mut self, ticket: Ticket) -> Step<T> {
        self.ready.remove(&ticket);
        let Some(entry) = self.entries.get_mut(&ticket) else {
            return Step::Wait(None);
        };
        entry.state = State::InFlight;
        entry.attempts += 1;
        self.in_flight += 1;
        Step::Send {
            ticket,
            attempt: entry.attempts,
            item: entry.item.clone(),
        }
    }

    /// The event that happened first of those not in flight; at most [`IN_FLIGHT`] are passed over.
    fn oldest_at_rest(&self) -> Option<(Duration, Ticket)> {
        let at_rest = |&&(_, ticket): &&(Duration, Ticket)| self.at_rest(ticket);
        self.ages.iter().find(at_rest).copied()
    }

    fn victim(&self) -> Option<Ticket> {
        let at_rest = |ticket: &Ticket| self.at_rest(*ticket);
        let mut all = self.least.iter().chain(self.entries.keys()).copied();
        all.find(at_rest)
    }

    fn at_rest(&self, ticket: Ticket) -> bool {
        self.entries
            .get(&ticket)
            .is_some_and(|entry| entry.state != State::InFlight)
    }
}

#[cfg(test)]
mod tests;
