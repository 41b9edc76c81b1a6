//! The live streams: enter and leave by guard, look up by id or uid.

mod entry;
pub mod record;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

pub use entry::{Entry, Figures, Identity, Opening, UidSource};
use record::ClosedRecord;

/// How many closing records are kept for the API.
const RECENT: usize = 1000;

/// All open streams of this process. Its lock is taken when a stream enters or leaves and by the API, never by the data
/// path.
#[derive(Default)]
pub struct Registry {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    /// UUIDv7: the order of ids is the order of openings.
    streams: BTreeMap<Uuid, Arc<Entry>>,
    uids: HashMap<Box<str>, usize>,
    closed: VecDeque<Arc<ClosedRecord>>,
}

impl Registry {
    /// Enters an open stream; `entered` runs before anybody can see it leave, so that events keep their order.
    pub fn enter(&self, entry: Arc<Entry>, entered: impl FnOnce()) {
        let mut inner = self.lock();
        if let Some(uid) = entry.identity().uid {
            *inner.uids.entry(uid).or_default() += 1;
        }
        inner.streams.insert(entry.id, entry);
        entered();
    }

    /// Takes a stream out. `record` makes its closing record from the number of streams left with the same uid, and runs
    /// in the order of the leavings.
    pub fn leave(&self, entry: &Entry, record: impl FnOnce(Option<usize>) -> Arc<ClosedRecord>) {
        let mut inner = self.lock();
        if inner.streams.remove(&entry.id).is_none() {
            return;
        }
        let left = entry.identity().uid.map(|uid| inner.release_uid(&uid));
        let record = record(left);
        if inner.closed.len() == RECENT {
            inner.closed.pop_front();
        }
        inner.closed.push_back(record);
    }

    /// How many streams are open.
    pub fn len(&self) -> usize {
        self.lock().streams.len()
    }

    /// Whether no stream is open.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Every open stream, in opening order.
    pub fn all(&self) -> Vec<Arc<Entry>> {
        self.lock().streams.values().cloned().collect()
    }

    /// Looks at every open stream while none enters or leaves.
    pub fn for_each(&self, look: impl FnMut(&Arc<Entry>)) {
        self.lock().streams.values().for_each(look);
    }

    /// The last closing records, newest first.
    pub fn closed(&self) -> Vec<Arc<ClosedRecord>> {
        self.lock().closed.iter().rev().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A stream that panicked while it left must not take the others with it: the maps are changed by single calls.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn release_uid(&mut self, uid: &str) -> usize {
        let Some(count) = self.uids.get_mut(uid) else {
            return 0;
        };
        *count -= 1;
        let left = *count;
        if left == 0 {
            self.uids.remove(uid);
        }
        left
    }
}
