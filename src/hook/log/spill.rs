//! Between the log and the queues: what a queue has no room for waits in the log.

use std::collections::VecDeque;
use std::sync::Arc;

use tracing::warn;

use super::store::Stored;
use super::writer::Writer;
use crate::hook::deliver::{Offer, Origin};
use crate::hook::message::Message;

impl Writer {
    /// Puts the events that former processes left before everything that comes.
    pub(super) fn spill_what_was_left(&mut self) {
        let mut homeless = Vec::new();
        for (&number, stored) in &self.store.records {
            for hook in &stored.hooks {
                match self.shared.delivery_of(hook) {
                    Some(delivery) => {
                        if let Some(kind) = stored.kind {
                            delivery.spill(kind);
                        }
                        let spilled = self.spilled.entry(hook.clone()).or_default();
                        spilled.push_back(number);
                    }
                    None => homeless.push((number, hook.clone())),
                }
            }
        }
        for hook in self.spilled.keys().cloned().collect::<Vec<_>>() {
            self.refill(&hook);
        }
        for (number, hook) in homeless {
            self.discard(number, &hook);
        }
    }

    /// Gives events to their hooks.
    pub(super) fn hand_on(&mut self, events: Vec<(Arc<Message>, Vec<Arc<str>>)>) {
        let mut gone = Vec::new();
        for (message, hooks) in events {
            for hook in hooks {
                // By its name and now: a reload may have removed the hook since the event was routed.
                match self.shared.offer(&hook, &message) {
                    Some(Offer::Taken) => {}
                    Some(Offer::Spilled) => {
                        let spilled = self.spilled.entry(hook).or_default();
                        spilled.push_back(message.number);
                    }
                    None => gone.push((message.number, hook)),
                }
            }
        }
        for (number, hook) in gone {
            self.discard(number, &hook);
        }
    }

    /// Fills the queue of a hook from the log.
    pub(super) fn refill(&mut self, hook: &Arc<str>) {
        let Some(delivery) = self.shared.delivery_of(hook) else {
            return;
        };
        let spilled = self.spilled.entry(hook.clone()).or_default();
        while delivery.has_room() {
            let Some(number) = spilled.pop_front() else {
                break;
            };
            let origin = if number < self.first_own {
                Origin::Former
            } else {
                Origin::Own
            };
            if let Some(message) = self.store.load(number) {
                delivery.take_back(Arc::new(message), origin);
            } else {
                warn!(hook = &**hook, "the hook log has lost an event");
                let kind = self
                    .store
                    .records
                    .get(&number)
                    .and_then(|stored| stored.kind);
                delivery.lose(kind);
                self.store.settled(number, hook);
            }
        }
    }

    /// Keeps what waits for room on the disk within its bound.
    pub(super) fn give_up_the_oldest(&mut self) {
        while let Some((number, stored)) = self.store.evict() {
            let Stored { kind, hooks, .. } = stored;
            for hook in hooks {
                let spilled = self.spilled.get_mut(&hook);
                // One that is in the queue is delivered all the same.
                if spilled.is_some_and(|spilled| strike(spilled, number))
                    && let Some(delivery) = self.shared.delivery_of(&hook)
                {
                    delivery.lose(kind);
                }
            }
        }
    }

    /// The hook of an event is not configured any more.
    fn discard(&mut self, number: u64, hook: &Arc<str>) {
        if let Some(message) = self.store.load(number) {
            warn!(
                hook = &**hook,
                id = message.id,
                "an event is discarded: its hook is gone"
            );
            self.keep_dead(&message, hook, "removed");
        }
        self.store.settled(number, hook);
    }
}

/// Takes a number out of a rising list; whether it was in there.
fn strike(numbers: &mut VecDeque<u64>, number: u64) -> bool {
    let place = numbers.binary_search(&number);
    place.is_ok_and(|place| numbers.remove(place).is_some())
}
