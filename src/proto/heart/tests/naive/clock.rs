//! Clocks that stand still.

use super::*;

/// Which clock a rule goes by.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Clock {
    /// That of an end: it stands still while the other end is blocked.
    Of(End),
    /// It stands still while any end is blocked.
    Quiet,
    /// It never stands still.
    Wall,
}

impl Naive {
    /// The instant at which `clock` read or will read `reading`; `None` if it stands still before.
    pub(super) fn wall_of(&self, clock: Clock, reading: i128, now: i128) -> Option<i128> {
        let passed = self.reading(clock, now) - reading;
        let stands = self.standing(clock);
        (stands.is_none() || passed >= 0).then(|| stands.unwrap_or(now) - passed)
    }

    /// The time that passed on `clock` up to `at`.
    pub(super) fn reading(&self, clock: Clock, at: i128) -> i128 {
        let stills: &[End] = match clock {
            Clock::Of(end) => &[end.other()],
            Clock::Quiet => &[Client, Upstream],
            Clock::Wall => &[],
        };
        let spans: Vec<(i128, i128)> = stills.iter().flat_map(|end| self.spans(*end)).collect();
        let mut edges: Vec<i128> = spans
            .iter()
            .flat_map(|(from, to)| [*from, *to])
            .chain([0, at])
            .collect();
        edges.retain(|edge| (0..=at).contains(edge));
        edges.sort_unstable();
        let runs = |from: i128| {
            !spans
                .iter()
                .any(|(start, end)| *start <= from && from < *end)
        };
        edges
            .windows(2)
            .filter(|pair| runs(pair[0]))
            .map(|pair| pair[1] - pair[0])
            .sum()
    }

    /// If `clock` stands still: the newest instant up to which that is known to go on, its taker's last sign of life.
    pub(super) fn standing(&self, clock: Clock) -> Option<i128> {
        let taken = |to: End| self.is_blocked(to).then(|| self.taken(to));
        match clock {
            Clock::Of(end) => taken(end.other()),
            Clock::Quiet => End::BOTH.into_iter().filter_map(taken).min(),
            Clock::Wall => None,
        }
    }

    /// From when to when `to` was blocked.
    pub(super) fn spans(&self, to: End) -> Vec<(i128, i128)> {
        let mut spans: Vec<(i128, i128)> = Vec::new();
        for (when, op) in &self.history {
            let open = spans.last().is_some_and(|span| span.1 == i128::MAX);
            if *op == Op::Blocked(to) && !open {
                spans.push((*when, i128::MAX));
            } else if *op == Op::Unblocked(to) && open {
                spans.last_mut().unwrap().1 = *when;
            }
        }
        spans
    }

    pub(super) fn is_blocked(&self, to: End) -> bool {
        self.spans(to)
            .last()
            .is_some_and(|span| span.1 == i128::MAX)
    }
}
