//! Connections that are no streams: in their handshake, or between two requests.
//!
//! A worker has room for so many of them. When it is full, a newcomer takes the place of the one that has waited
//! longest, in the listener that has the most: clients that say hello by the thousand and then drip push each other
//! out, while one that means it needs its place for milliseconds. To refuse newcomers instead would lock everybody out
//! for `handshake_timeout`. A newcomer whose address has a quarter of the places pushes out that address's own: however
//! fast one address comes, the others keep theirs.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use tokio::task::AbortHandle;

use super::Local;
use super::limits::Client;
use crate::proto::cause::Rejection;

/// A guest in so many: what one address may have of a full lobby before it pushes out its own. With fewer places than
/// that for one, a house behind one address would be at odds with itself while others have room.
const LARGEST_SHARE: usize = 4;

/// Those of one listener on one worker, oldest first.
#[derive(Default)]
pub(super) struct Lobby {
    next: Cell<u64>,
    guests: RefCell<BTreeMap<u64, Guest>>,
    of_client: RefCell<HashMap<Client, BTreeSet<u64>>>,
}

struct Guest {
    /// `None` for a proxy, behind which anybody may be.
    client: Option<Client>,
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
        if let Some(client) = guest.client {
            let mut of_client = self.of_client.borrow_mut();
            of_client.entry(client).or_default().insert(number);
        }
        self.guests.borrow_mut().insert(number, guest);
        number
    }

    fn leave(&self, number: u64) -> Option<Guest> {
        let guest = self.guests.borrow_mut().remove(&number)?;
        if let Some(client) = guest.client {
            let mut of_client = self.of_client.borrow_mut();
            if let Some(numbers) = of_client.get_mut(&client) {
                numbers.remove(&number);
                if numbers.is_empty() {
                    of_client.remove(&client);
                }
            }
        }
        Some(guest)
    }

    fn len_of(&self, client: Client) -> usize {
        let of_client = self.of_client.borrow();
        of_client.get(&client).map_or(0, BTreeSet::len)
    }

    fn oldest_of(&self, client: Client) -> Option<u64> {
        self.of_client.borrow().get(&client)?.first().copied()
    }

    fn oldest(&self) -> Option<u64> {
        let guests = self.guests.borrow();
        guests.first_key_value().map(|(number, _)| *number)
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

/// Ends a guest for a newcomer: of those of its own `client` the one that has waited longest, if they are a quarter of
/// all, and else the one that has waited longest in the fullest lobby. Says whether there was one.
pub fn evict(locals: &[Rc<Local>], client: Option<Client>) -> bool {
    let own = client.and_then(|client| {
        let held: usize = locals.iter().map(|local| local.lobby.len_of(client)).sum();
        let fullest = locals
            .iter()
            .max_by_key(|local| local.lobby.len_of(client))?;
        let oldest = fullest.lobby.oldest_of(client)?;
        (held * LARGEST_SHARE >= guests(locals)).then_some((fullest, oldest))
    });
    let oldest = || {
        let fullest = locals.iter().max_by_key(|local| local.lobby.len())?;
        Some((fullest, fullest.lobby.oldest()?))
    };
    let Some((local, number)) = own.or_else(oldest) else {
        return false;
    };
    let Some(Guest { phase, task, .. }) = local.lobby.leave(number) else {
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
    pub(super) fn new(local: Rc<Local>, client: Option<Client>) -> Self {
        let guest = Guest {
            client,
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
