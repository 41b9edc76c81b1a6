//! One worker's side of a listener.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use super::Listener;
use super::lobby::Lobby;
use crate::proto::cause::End;

/// Counts of the data path in plain cells, moved into the metrics by the worker's tick.
pub struct Local {
    /// The part that all workers share.
    pub shared: Arc<Listener>,
    bytes: [Cell<u64>; 2],
    messages: [Cell<u64>; 2],
    pub(super) lobby: Lobby,
}

impl Local {
    /// Empty tallies for `shared`.
    pub fn new(shared: Arc<Listener>) -> Rc<Self> {
        Rc::new(Self {
            shared,
            bytes: Default::default(),
            messages: Default::default(),
            lobby: Lobby::default(),
        })
    }

    /// Counts what one turn of a stream read from `from`.
    pub fn count(&self, from: End, bytes: u64, messages: u64) {
        let (byte_cell, message_cell) = (&self.bytes[from as usize], &self.messages[from as usize]);
        byte_cell.set(byte_cell.get() + bytes);
        message_cell.set(message_cell.get() + messages);
    }

    /// Moves the counts into the metrics.
    pub fn publish(&self) {
        for from in End::BOTH {
            self.shared
                .metrics
                .bytes(from)
                .inc_by(self.bytes[from as usize].take());
            self.shared
                .metrics
                .messages(from)
                .inc_by(self.messages[from as usize].take());
        }
    }
}
