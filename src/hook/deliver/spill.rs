//! With a log: what the queue of a hook has no room for waits there and is taken back in order.

use std::sync::Arc;

use super::Delivery;
use crate::config::EventKind;
use crate::hook::message::Message;
use crate::hook::metrics::Settled;
use crate::hook::queue::{CAPACITY, LONGEST_WAIT};

/// What became of an event that was offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::hook) enum Offer {
    Taken,
    /// It has to be kept until the queue has room.
    Spilled,
}

/// Which process an event is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::hook) enum Origin {
    Own,
    Former,
}

impl Delivery {
    /// Queues an event that is in the log, unless others wait there already or the queue is full.
    pub(in crate::hook) fn offer(&self, message: &Arc<Message>) -> Offer {
        self.series.queued(message.kind);
        let mut state = self.state();
        if state.spilled > 0 || state.queue.len() >= CAPACITY {
            state.spilled += 1;
            self.show(&state);
            return Offer::Spilled;
        }
        self.enqueue(state, message.clone(), message.at.steady);
        Offer::Taken
    }

    /// Counts an event that waits in the log.
    pub(in crate::hook) fn spill(&self, kind: EventKind) {
        self.series.queued(kind);
        self.state().spilled += 1;
    }

    /// Whether the queue takes an event back from the log. If it does not, it asks again when it does.
    pub(in crate::hook) fn has_room(&self) -> bool {
        let mut state = self.state();
        let room = state.spilled > 0 && state.queue.len() < CAPACITY;
        state.refilling = room;
        room
    }

    /// Queues an event that waited in the log. One of a former process is tried however old it is: nobody tried while
    /// there was no process.
    pub(in crate::hook) fn take_back(&self, message: Arc<Message>, origin: Origin) {
        let mut state = self.state();
        state.spilled = state.spilled.saturating_sub(1);
        let occurred = match origin {
            Origin::Own => message.at.steady,
            Origin::Former => {
                let oldest = state.rules.give_up_after.saturating_sub(LONGEST_WAIT);
                let no_older = self.clock.now().saturating_sub(oldest);
                self.clock.place_former(message.at.wall).max(no_older)
            }
        };
        self.enqueue(state, message, occurred);
    }

    /// An event that waited in the log is lost.
    pub(in crate::hook) fn lose(&self, kind: Option<EventKind>) {
        let mut state = self.state();
        state.spilled = state.spilled.saturating_sub(1);
        if let Some(kind) = kind {
            self.series.settled(kind, Settled::Dropped);
        }
        let notice = state.trouble.lost(self.clock.now());
        self.tell(&state, notice);
        self.show(&state);
        drop(state);
        self.changed.notify_one();
    }
}
