//! When the messages of an end were complete.

use super::passing;
use super::story::Story;
use crate::proto::cause::End;

/// Where in the trace the messages and the replies of an end were complete.
pub(super) struct Messages {
    ends: std::iter::Peekable<std::vec::IntoIter<(usize, bool)>>,
}

impl Messages {
    pub(super) fn of(story: &Story, end: End) -> Self {
        let units = &story.said[end as usize];
        let read = story.read_at(end, units.iter().map(|unit| unit.end));
        let kept = passing::kept(story, end);
        let ends = units.iter().zip(read).zip(kept);
        let ends = ends.filter(|((unit, _), _)| unit.ends_message());
        let ends: Vec<_> = ends.map(|((_, place), kept)| (place, kept)).collect();
        Self {
            ends: ends.into_iter().peekable(),
        }
    }

    /// How many messages and how many replies.
    pub(super) fn ended_at(&mut self, place: usize) -> (usize, usize) {
        let mut counts = (0, 0);
        while let Some((_, reply)) = self.ends.next_if(|(at, _)| *at <= place) {
            if reply {
                counts.1 += 1;
            } else {
                counts.0 += 1;
            }
        }
        counts
    }
}
