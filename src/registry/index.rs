//! Words (uids, tags) and the streams that carry them.

use std::collections::{BTreeSet, HashMap};

/// The place of a stream in the order of openings; never given twice.
pub(super) type Place = u64;

/// Which streams carry which word.
#[derive(Debug, Default)]
pub(super) struct Index(HashMap<Box<str>, Places>);

/// The streams of one word. Nearly every uid has one stream, and a set for it would cost 200 bytes.
#[derive(Debug)]
pub(super) enum Places {
    One(Place),
    Many(BTreeSet<Place>),
}

impl Index {
    pub(super) fn insert(&mut self, word: &str, place: Place) {
        match self.0.get_mut(word) {
            Some(places) => places.insert(place),
            None => drop(self.0.insert(word.into(), Places::One(place))),
        }
    }

    /// Returns how many streams still carry the word.
    pub(super) fn remove(&mut self, word: &str, place: Place) -> usize {
        let left = self
            .0
            .get_mut(word)
            .map_or(0, |places| places.remove(place));
        if left == 0 {
            self.0.remove(word);
        }
        left
    }

    pub(super) fn get(&self, word: &str) -> Option<&Places> {
        self.0.get(word)
    }
}

impl Places {
    fn insert(&mut self, place: Place) {
        match self {
            Self::One(first) if *first == place => {}
            Self::One(first) => *self = Self::Many(BTreeSet::from([*first, place])),
            Self::Many(places) => drop(places.insert(place)),
        }
    }

    fn remove(&mut self, place: Place) -> usize {
        match self {
            Self::One(only) => usize::from(*only != place),
            Self::Many(places) => {
                places.remove(&place);
                places.len()
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::One(_) => 1,
            Self::Many(places) => places.len(),
        }
    }

    pub(super) fn contains(&self, place: Place) -> bool {
        match self {
            Self::One(only) => *only == place,
            Self::Many(places) => places.contains(&place),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(index: &Index, word: &str) -> Vec<Place> {
        match index.get(word) {
            None => Vec::new(),
            Some(Places::One(place)) => vec![*place],
            Some(Places::Many(places)) => places.iter().copied().collect(),
        }
    }

    #[test]
    fn words_come_and_go_with_their_streams() {
        let mut index = Index::default();
        for place in [3, 1, 2, 2] {
            index.insert("a", place);
        }
        index.insert("b", 9);
        assert_eq!(
            (all(&index, "a"), all(&index, "b"), all(&index, "c")),
            (vec![1, 2, 3], vec![9], vec![])
        );
        assert!(index.get("a").unwrap().contains(2));
        assert_eq!(index.remove("a", 2), 2);
        assert_eq!(index.remove("a", 7), 2, "a stream that never carried it");
        assert_eq!((index.remove("a", 1), index.remove("a", 3)), (1, 0));
        assert_eq!(index.remove("b", 8), 1);
        assert_eq!(index.remove("b", 9), 0);
        assert_eq!(index.remove("nobody", 1), 0);
        assert!(index.0.is_empty(), "words that nobody carries cost nothing");
    }
}
