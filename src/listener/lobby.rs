//! Connections that are no streams: in their handshake, or between two requests.
//!
//! A worker has room for so many of them. When it is full, a newcomer takes the place of the one that has waited
//! longest, in the listener that has the most: clients that say hello by the thousand and then drip push each other
//! out, while one that means it needs its place for milliseconds. To refuse newcomers instead would lock everybody out
//! for `handshake_timeout`.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use tokio::task::AbortHandle;

use super::Local;
use crate::proto::cause::Rejection;

/// Those of one listener on one worker, oldest first.
#[derive(Default)]
pub(super) struct Lobby {
    next: Cell<u64>,
    guests: RefCell<BTreeMap<u64, Guest>>,
}

struct Guest {
    phase: Phase,
    task: Option<AbortHandle>,
}

/// What a guest is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Its handshake or first head is not complete; to end it is a rejection.
    Handshake,
    /// It has had an answer and may ask again.
    Idle,
}

impl Lobby {
    /// How many are here.
    pub(super) fn len(&self) -> usize {
        self.guests.borrow().len()
    }

    fn enter(&self, guest: Guest) -> u64 {
        let number = self.next.replace(self.next.get() + 1);
        self.guests.borrow_mut().insert(number, guest);
        number
    }

    fn leave(&self, number: u64) -> Option<Guest> {
        self.guests.borrow_mut().remove(&number)
    }

    fn bind(&self, number: u64, task: AbortHandle) {
        if let Some(guest) = self.guests.borrow_mut().get_mut(&number) {
            guest.task = Some(task);
        }
    }
}

/// Connections in the lobbies of `locals`.
pub fn guests(locals: &[Rc<Local>]) -> usize {
    locals.iter().map(|local| local.lobby.len()).sum()
}

/// Ends the guest that has waited longest in the fullest lobby; says whether there was one.
pub fn evict(locals: &[Rc<Local>]) -> bool {
    let Some(local) = locals.iter().max_by_key(|local| local.lobby.len()) else {
        return false;
    };
    let Some((_, Guest { phase, task })) = local.lobby.guests.borrow_mut().pop_first() else {
        return false;
    };
    if phase == Phase::Handshake {
        let rejected = local.shared.metrics.rejected(Rejection::HandshakeTimeout);
        rejected.inc();
    }
    if let Some(task) = task {
        task.abort();
    }
    true
}

/// A connection's place in the lobby while it is a guest; dropping it leaves.
pub struct Seat {
    local: Rc<Local>,
    number: Cell<u64>,
    /// While it is not in the lobby.
    away: RefCell<Option<Guest>>,
}

impl Seat {
    /// A newcomer.
    pub(super) fn new(local: Rc<Local>) -> Self {
        let guest = Guest {
            phase: Phase::Handshake,
            task: None,
        };
        let number = Cell::new(local.lobby.enter(guest));
        Self {
            local,
            number,
            away: RefCell::new(None),
        }
    }

    /// Its number, for [`bind`].
    pub(super) fn number(&self) -> u64 {
        self.number.get()
    }

    /// From here it is counted elsewhere, by a [`Pair`](super::Pair), and nobody ends it for want of room.
    pub fn leave(&self) {
        if let Some(guest) = self.local.lobby.leave(self.number.get()) {
            self.away.replace(Some(guest));
        }
    }

    /// It waits again, or for something else.
    pub fn wait(&self, phase: Phase) {
        self.leave();
        if let Some(guest) = self.away.take() {
            self.number
                .set(self.local.lobby.enter(Guest { phase, ..guest }));
        }
    }
}

/// Tells the lobby which task serves the guest `number`.
pub(super) fn bind(local: &Local, number: u64, task: AbortHandle) {
    local.lobby.bind(number, task);
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.local.lobby.leave(self.number.get());
    }
}
