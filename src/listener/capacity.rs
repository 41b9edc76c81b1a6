//! How the process shares out its file descriptors, so that no kind of connection takes those of another.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors that every process has: standard streams, signals, log, state, and some to spare for dials that try two
/// addresses at once and for resolvers.
const BASE: usize = 40;

/// Admin and telemetry: a few scrapers, probes and people.
const PLANES: usize = 32;

/// Requests that one hook has under way at most.
const HOOK: usize = 16;

/// An event loop's own.
const WORKER: usize = 4;

/// Connections that are no streams: this many at least and at most, and a thirty-second of the descriptors between.
const GUESTS: (usize, usize) = (16, 2048);

/// What the process has to share out, and what of it is taken.
///
/// ```text
/// limit = own needs + guests (1 each) + pairs (2 each)
/// ```
///
/// A *guest* is a connection that is no stream and asks nothing of the app: in its handshake, sending its head, or
/// waiting between two requests. A *pair* is a stream, opening or closing ones included, or an ordinary request on its
/// way: the client's connection and the app's.
#[derive(Debug)]
pub struct Capacity {
    pairs: usize,
    guests_of_worker: usize,
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
        let own =
            BASE + PLANES + HOOK * needs.hooks + needs.workers * (WORKER + 2 * needs.listeners);
        let guests = (descriptors / 32).clamp(GUESTS.0, GUESTS.1);
        Self {
            pairs: (descriptors.saturating_sub(own + guests) / 2).max(1),
            guests_of_worker: (guests / needs.workers).max(1),
            taken: AtomicUsize::new(0),
            streams: AtomicUsize::new(0),
        }
    }

    /// Streams and ordinary requests under way that fit at once.
    pub fn pairs(&self) -> usize {
        self.pairs
    }

    /// Connections of one worker that may be no streams at once.
    pub fn guests_of_worker(&self) -> usize {
        self.guests_of_worker
    }

    /// Streams of all listeners, opening and closing ones included.
    pub fn streams(&self) -> usize {
        self.streams.load(Ordering::Relaxed)
    }

    /// Two descriptors for an ordinary request, if there are any.
    pub fn request(self: &Arc<Self>) -> Option<Pair> {
        self.take(Use::Request)
    }

    /// Two descriptors for a stream, if there are any.
    pub(super) fn stream(self: &Arc<Self>) -> Option<Pair> {
        self.take(Use::Stream)
    }

    fn take(self: &Arc<Self>, of: Use) -> Option<Pair> {
        self.taken
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |taken| {
                (taken < self.pairs).then_some(taken + 1)
            })
            .ok()?;
        if of == Use::Stream {
            self.streams.fetch_add(1, Ordering::Relaxed);
        }
        Some(Pair {
            capacity: Arc::clone(self),
            of,
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    Stream,
    Request,
}

/// Two descriptors; dropping it gives them back.
#[derive(Debug)]
pub struct Pair {
    capacity: Arc<Capacity>,
    of: Use,
}

impl Drop for Pair {
    fn drop(&mut self) {
        self.capacity.taken.fetch_sub(1, Ordering::Relaxed);
        if self.of == Use::Stream {
            self.capacity.streams.fetch_sub(1, Ordering::Relaxed);
        }
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
            let shared =
                2 * capacity.pairs() + 2 * capacity.guests_of_worker() + BASE + PLANES + HOOK;
            assert!(shared <= descriptors, "{descriptors}");
            assert!(capacity.pairs() >= descriptors / 5, "{descriptors}");
        }
        assert_eq!(Capacity::new(0, NEEDS).pairs(), 1);
        assert!(Capacity::new(20_000, NEEDS).pairs() >= 9_500);
    }

    #[test]
    fn pairs_come_back() {
        let capacity = Arc::new(Capacity::new(0, NEEDS));
        let request = capacity.request().unwrap();
        assert!(capacity.stream().is_none());
        assert_eq!(capacity.streams(), 0, "a request is no stream");
        drop(request);
        let stream = capacity.stream().unwrap();
        assert_eq!(capacity.streams(), 1);
        assert!(capacity.request().is_none());
        drop(stream);
        assert_eq!(capacity.streams(), 0);
        assert!(capacity.request().is_some());
    }
}
