//! How the process shares out its file descriptors, so that no kind of connection takes those of another.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors that every process has: standard streams, signals, log, state, and some to spare for dials that try two
/// addresses at once and for resolvers.
const BASE: usize = 40;

/// Admin and telemetry take 128 connections each; where descriptors are few, a sixteenth of them must do, which is
/// enough for scrapers, probes and people.
const PLANES: usize = 256;

/// Requests that one hook has under way at most.
const HOOK: usize = 16;

/// An event loop's own.
const WORKER: usize = 4;

/// Guests that always have room: a thirty-second of the descriptors, within these bounds.
const OWN_ROOM: (usize, usize) = (16, 2048);

/// The most guests there may be: in the middle of a handshake each takes about 12 KiB of memory.
const MOST_GUESTS: usize = 4096;

/// What the process has to share out, and what of it is taken.
///
/// ```text
/// limit = own needs + own room of guests (1 each) + pairs (2 each)
/// ```
///
/// A *guest* is a connection that is no stream and asks nothing of the app: in its handshake, sending its head, or
/// waiting between two requests. A *pair* is a stream, opening or closing ones included, or an ordinary request on its
/// way: the client's connection and the app's.
#[derive(Debug)]
pub struct Capacity {
    descriptors: usize,
    pairs: AtomicUsize,
    own_room: usize,
    workers: usize,
    taken: AtomicUsize,
    streams: AtomicUsize,
}

/// The connections of a configuration that are not clients.
#[derive(Debug, Clone, Copy)]
pub struct Needs {
    /// Threads with an event loop and a socket for each listener.
    pub workers: usize,
    /// Listeners.
    pub listeners: usize,
    /// Hooks.
    pub hooks: usize,
}

impl Capacity {
    /// Shares out `descriptors`. A limit too small for our own needs leaves a single pair.
    pub fn new(descriptors: usize, needs: Needs) -> Self {
        let capacity = Self {
            descriptors,
            pairs: AtomicUsize::new(1),
            own_room: (descriptors / 32).clamp(OWN_ROOM.0, OWN_ROOM.1),
            workers: needs.workers,
            taken: AtomicUsize::new(0),
            streams: AtomicUsize::new(0),
        };
        capacity.share_out(needs);
        capacity
    }

    /// Shares out anew, for a configuration with other needs; what is taken stays taken.
    pub fn share_out(&self, needs: Needs) {
        let planes = PLANES.min(self.descriptors / 16);
        let workers = needs.workers * (WORKER + 2 * needs.listeners);
        let own = BASE + planes + HOOK * needs.hooks + workers;
        let pairs = self.descriptors.saturating_sub(own + self.own_room) / 2;
        self.pairs.store(pairs.max(1), Ordering::Relaxed);
    }

    /// Streams and ordinary requests under way that fit at once.
    pub fn pairs(&self) -> usize {
        self.pairs.load(Ordering::Relaxed)
    }

    /// Connections of one worker that may be no streams now: their own room, and half of what nobody else has taken.
    pub fn guests_of_worker(&self) -> usize {
        let free = self
            .pairs()
            .saturating_sub(self.taken.load(Ordering::Relaxed));
        let room = self.own_room.saturating_add(free).min(MOST_GUESTS);
        (room / self.workers).max(1)
    }

    /// Streams of all listeners, opening and closing ones included.
    pub fn streams(&self) -> usize {
        self.streams.load(Ordering::Relaxed)
    }

    /// Two descriptors for an ordinary request or a pipe, if there are any.
    pub fn pair(self: &Arc<Self>) -> Option<Pair> {
        self.take(Use::Passing).then(|| Pair(Arc::clone(self)))
    }

    /// Takes two descriptors, for [`give_back`](Self::give_back) to return; false if there are none.
    pub(super) fn take(&self, of: Use) -> bool {
        let more = |taken| (taken < self.pairs()).then_some(taken + 1);
        let took = self
            .taken
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .is_ok();
        if took && of == Use::Stream {
            self.streams.fetch_add(1, Ordering::Relaxed);
        }
        took
    }

    pub(super) fn give_back(&self, of: Use) {
        self.taken.fetch_sub(1, Ordering::Relaxed);
        if of == Use::Stream {
            self.streams.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// What two descriptors are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    Stream,
    Passing,
}

/// Two descriptors that are no stream's; dropping it gives them back.
#[derive(Debug)]
pub struct Pair(Arc<Capacity>);

impl Drop for Pair {
    fn drop(&mut self) {
        self.0.give_back(Use::Passing);
    }
}

/// Raises the soft limit of open files to the hard one, as every process may, and returns how many files may be open.
pub fn raise_descriptors() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    let current = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(error) => {
            let error = io::Error::from(error);
            tracing::warn!(%error, "cannot raise the soft limit of open files to the hard one");
            limit.current
        }
    };
    current.map_or(usize::MAX, |count| {
        usize::try_from(count).unwrap_or(usize::MAX)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEEDS: Needs = Needs {
        workers: 2,
        listeners: 2,
        hooks: 1,
    };

    #[test]
    fn what_is_shared_out_fits_the_limit() {
        for descriptors in [256, 1024, 20_000, 1 << 20, 1 << 30, usize::MAX] {
            let capacity = Capacity::new(descriptors, NEEDS);
            let own = BASE + PLANES.min(descriptors / 16) + HOOK + 2 * (WORKER + 4);
            let guests = || NEEDS.workers * capacity.guests_of_worker();
            assert!(own + guests() <= descriptors, "{descriptors}");
            if descriptors <= 20_000 {
                while capacity.take(Use::Stream) {}
                let all = own + 2 * capacity.pairs() + guests();
                assert!(all <= descriptors, "{descriptors}");
                assert!(guests() >= OWN_ROOM.0);
            }
            assert!(capacity.pairs() >= descriptors / 5, "{descriptors}");
        }
        assert_eq!(Capacity::new(0, NEEDS).pairs(), 1);
        assert!(Capacity::new(20_000, NEEDS).pairs() >= 9_500);
    }

    #[test]
    fn pairs_come_back() {
        let capacity = Arc::new(Capacity::new(0, NEEDS));
        let request = capacity.pair().unwrap();
        assert!(!capacity.take(Use::Stream));
        assert_eq!(capacity.streams(), 0, "a request is no stream");
        drop(request);
        assert!(capacity.take(Use::Stream));
        assert_eq!(capacity.streams(), 1);
        assert!(capacity.pair().is_none());
        capacity.give_back(Use::Stream);
        assert_eq!(capacity.streams(), 0);
        assert!(capacity.pair().is_some());
    }
}
