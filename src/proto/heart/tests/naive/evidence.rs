//! What of the history counts for a rule.

use super::*;

impl Naive {
    /// The instants at which blocked output to `to` made progress.
    pub(super) fn progress(&self, to: End) -> Vec<i128> {
        let mut blocked = false;
        let mut instants = Vec::new();
        for (when, op) in &self.history {
            match op {
                Op::Blocked(end) if *end == to => blocked = true,
                Op::Progressed(end) if *end == to && blocked => instants.push(*when),
                Op::Unblocked(end) if *end == to && blocked => {
                    instants.push(*when);
                    blocked = false;
                }
                _ => {}
            }
        }
        instants
    }

    /// When `to` last began to take nothing or took something.
    pub(super) fn taken(&self, to: End) -> i128 {
        let starts = self.spans(to).into_iter().map(|span| span.0);
        starts.chain(self.progress(to)).max().unwrap_or(0)
    }

    pub(super) fn heard(&self, end: End, counts: IdleCounts) -> i128 {
        let reply = |op: &Op| end == Client && *op == Op::Reply;
        let message = self.newest(|op| *op == Op::Message(end) || reply(op));
        match counts {
            IdleCounts::Messages => message,
            IdleCounts::Traffic => {
                let read = self.newest(|op| *op == Op::Read(end));
                let progress = self.progress(end).into_iter().max().unwrap_or(0);
                message.max(read).max(progress)
            }
        }
    }

    pub(super) fn data(&self) -> i128 {
        let raw = self.kind == Kind::Raw;
        self.newest(|op| match op {
            Op::Message(_) => true,
            Op::Read(_) | Op::Reply => raw,
            _ => false,
        })
    }

    /// The last byte of `end`.
    pub(super) fn byte(&self, end: End) -> i128 {
        self.newest(|op| {
            *op == Op::Read(end) || *op == Op::Message(end) || end == Client && *op == Op::Reply
        })
    }

    pub(super) fn fin(&self, end: End) -> bool {
        self.history
            .iter()
            .any(|(_, op)| *op == Op::HalfClosed(end))
    }

    /// From where rule 9 counts: the first FIN, or the newest byte of the other end after it.
    pub(super) fn half_close(&self) -> Option<i128> {
        let (place, (when, from)) =
            self.history
                .iter()
                .enumerate()
                .find_map(|(place, (when, op))| match op {
                    Op::HalfClosed(from) => Some((place, (*when, *from))),
                    _ => None,
                })?;
        let later = Self {
            history: self.history[place..].to_vec(),
            first_policy: self.first_policy.clone(),
            reports: Vec::new(),
            ..*self
        };
        Some(when.max(later.byte(from.other())))
    }

    pub(super) fn newest(&self, counts: impl Fn(&Op) -> bool) -> i128 {
        self.newest_or_none(counts, Newest::Last).unwrap_or(0)
    }

    pub(super) fn newest_or_none(
        &self,
        counts: impl Fn(&Op) -> bool,
        which: Newest,
    ) -> Option<i128> {
        let mut instants = self
            .history
            .iter()
            .filter(|(_, op)| counts(op))
            .map(|(when, _)| *when);
        match which {
            Newest::First => instants.next(),
            Newest::Last => instants.last(),
        }
    }
}

/// Which of the events that count.
pub(super) enum Newest {
    First,
    Last,
}
