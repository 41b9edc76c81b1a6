//! What happened to one stream, in order, as its sockets saw it. The judges work on this and on nothing of the relay's.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::Notify;
use tokio::time::Instant;
use uuid::Uuid;

use crate::proto::cause::{End, Reason};
use crate::proto::heart::Policy;
use crate::registry::Registry;

/// Milliseconds of virtual time since the world began. The clock of the tests has no finer timers.
pub(super) type Ms = u64;

#[derive(Debug, Clone, PartialEq)]
pub(super) enum What {
    /// The limits that hold from here.
    Limits(Rc<Policy>),
    /// Bytes, or an end, came into the socket of the proxy: it could read them.
    Arrived { from: End, bytes: usize },
    /// The proxy read: `raw` bytes of the socket, which made `plain` ones.
    Read { from: End, raw: usize, plain: usize },
    /// The proxy saw the end of what comes from there.
    ReadEnd { from: End, reset: bool },
    /// The socket took bytes of the proxy.
    Took { to: End, bytes: usize },
    /// The socket takes nothing and something waits.
    Blocked { to: End },
    /// It was blocked and took some.
    Progressed { to: End },
    /// It takes what comes, again.
    Free { to: End },
    /// The proxy ended what it sends.
    Fin { to: End },
    /// The socket refused a write: the connection is gone.
    WriteFailed { to: End },
    /// The proxy let go of the connection.
    Dropped { end: End, reset: bool },
    /// Everything stood still for so long, the peers included.
    Paused { by: Ms },
    /// A limit was reported as exceeded (observe).
    Overdue(Reason),
    /// From here the stream is in no list.
    Over,
}

/// The record of one stream; it notices by itself when the registry has let go of the stream.
pub(super) struct Trace {
    began: Instant,
    id: Uuid,
    registry: Arc<Registry>,
    entries: RefCell<Vec<(Ms, What)>>,
    over: Cell<Option<Ms>>,
    /// Wakes the driver of the world.
    pub(super) news: Rc<Notify>,
}

impl Trace {
    pub(super) fn new(
        began: Instant,
        id: Uuid,
        registry: Arc<Registry>,
        news: Rc<Notify>,
    ) -> Rc<Self> {
        Rc::new(Self {
            began,
            id,
            registry,
            entries: RefCell::default(),
            over: Cell::new(None),
            news,
        })
    }

    pub(super) fn now(&self) -> Ms {
        self.began.elapsed().as_millis() as Ms
    }

    pub(super) fn note(&self, what: What) {
        self.look();
        self.entries.borrow_mut().push((self.now(), what));
    }

    /// Notes the end of the stream when it is out of the registry; called before every other entry, so that the end
    /// stands where it happened.
    pub(super) fn look(&self) {
        if self.over.get().is_none() && self.registry.get(self.id).is_none() {
            self.over.set(Some(self.now()));
            self.entries.borrow_mut().push((self.now(), What::Over));
        }
    }

    pub(super) fn over(&self) -> Option<Ms> {
        self.over.get()
    }

    pub(super) fn entries(&self) -> Vec<(Ms, What)> {
        self.entries.borrow().clone()
    }
}
