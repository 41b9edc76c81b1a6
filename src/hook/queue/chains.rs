//! The order of one hook's events.
//!
//! An event stands in up to two chains, one of its stream and one of its uid. It may be sent when it is the head of
//! both, so it waits for every earlier event of either and holds back nothing else:
//!
//! ```text
//! stream A:  1 ── 3 ────── 6          sendable: 1, 2
//! stream B:  2 ────── 5               4 waits for 1 (uid), 6 for 3 and 4, 5 for 2
//! uid 42:    1 ────── 4 ── 6
//! ```
//!
//! A chain is a list of links through the events, never searched.

use std::collections::HashMap;
use std::sync::Arc;

use uuid::Uuid;

use super::Ticket;

/// What orders an event: it waits for earlier ones with the same stream or the same uid.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::hook) struct Keys {
    pub(in crate::hook) stream: Option<Uuid>,
    pub(in crate::hook) uid: Option<Arc<str>>,
}

/// The chains of all events that are not settled.
#[derive(Default)]
pub(super) struct Chains {
    /// The newest event of each chain.
    tails: HashMap<Key, Ticket>,
    /// The link in the stream's chain, then that in the uid's.
    links: HashMap<Ticket, [Option<Link>; 2]>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    Stream(Uuid),
    Uid(Arc<str>),
}

/// A place in one chain.
struct Link {
    key: Key,
    earlier: Option<Ticket>,
    later: Option<Ticket>,
}

impl Chains {
    /// Puts the event at the end of its chains.
    pub(super) fn append(&mut self, ticket: Ticket, keys: Keys) {
        let keys = [keys.stream.map(Key::Stream), keys.uid.map(Key::Uid)];
        let mut links = [None, None];
        for (place, key) in keys.into_iter().enumerate() {
            let Some(key) = key else { continue };
            let earlier = self.tails.insert(key.clone(), ticket);
            if let Some(link) = self.link(earlier, place) {
                link.later = Some(ticket);
            }
            links[place] = Some(Link {
                key,
                earlier,
                later: None,
            });
        }
        self.links.insert(ticket, links);
    }

    /// Takes the event out of its chains; returns those that stood right behind it.
    pub(super) fn remove(&mut self, ticket: Ticket) -> [Option<Ticket>; 2] {
        let mut behind = [None, None];
        for (place, link) in (0..).zip(self.links.remove(&ticket).into_iter().flatten()) {
            let Some(Link {
                key,
                earlier,
                later,
            }) = link
            else {
                continue;
            };
            if let Some(link) = self.link(earlier, place) {
                link.later = later;
            }
            match (later, earlier) {
                (Some(_), _) => {
                    if let Some(link) = self.link(later, place) {
                        link.earlier = earlier;
                    }
                }
                (None, Some(earlier)) => drop(self.tails.insert(key, earlier)),
                (None, None) => drop(self.tails.remove(&key)),
            }
            behind[place] = later;
        }
        behind
    }

    /// Whether nothing earlier stands in the event's chains.
    pub(super) fn is_head(&self, ticket: Ticket) -> bool {
        let mut links = self.links.get(&ticket).into_iter().flatten().flatten();
        links.all(|link| link.earlier.is_none())
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.tails.is_empty() && self.links.is_empty()
    }

    fn link(&mut self, ticket: Option<Ticket>, place: usize) -> Option<&mut Link> {
        self.links.get_mut(&ticket?)?[place].as_mut()
    }
}
