//! The live streams: enter and leave by guard, found by id, uid, tag or a scan of what those leave.

mod entry;
mod feed;
mod identity;
mod index;
pub mod record;
mod selector;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

pub use entry::{ClientSource, Entry, Figures, Opening};
pub use feed::{Feed, Happening, Missed, PingRound, Watch};
pub use identity::{Identity, Rebind, TAG_MAX, TAGS_MAX, TooManyTags, UID_MAX, UidSource, is_word};
use index::{Index, Place, Places};
use record::Ended;
pub use selector::{PARAMETERS, Selector};

use crate::hook::Hooks;

/// How many closing records are kept for the API.
const RECENT: usize = 1000;

/// How many streams are looked at before the lock is given back: some 50 µs, which an opening can wait.
const SLICE: usize = 1024;

/// All open streams of this process. Its lock is taken when a stream enters or leaves and by the API, never by the data
/// path.
#[derive(Default)]
pub struct Registry {
    inner: Mutex<Inner>,
    /// What happens here, live.
    pub feed: Feed,
    /// Their log has to know who a client is now.
    hooks: Option<Hooks>,
}

#[derive(Default)]
struct Inner {
    /// In the order of openings.
    streams: BTreeMap<Place, Arc<Entry>>,
    places: HashMap<Uuid, Place>,
    uids: Index,
    tags: Index,
    /// The place of the next stream.
    next: Place,
    closed: VecDeque<Arc<Ended>>,
}

/// Where a listing goes on. Places are never given twice, so what was opened before it comes before it, whatever has
/// closed meanwhile: a stream that stays open is listed exactly once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor(pub u64);

/// A part of the streams that a selector matches.
#[derive(Debug)]
pub struct Page {
    /// In the order of openings.
    pub entries: Vec<Arc<Entry>>,
    /// Where the next page begins; `None` if this was the last one.
    pub next: Option<Cursor>,
}

/// What became of a change to a stream.
#[derive(Debug)]
pub enum Rebound {
    /// Done; the stream as it is now.
    Done(Arc<Entry>),
    /// Not done.
    TooManyTags,
    /// There is no such open stream.
    Gone,
}

impl Registry {
    /// An empty one; changes of identity are told to `hooks`.
    pub fn new(hooks: Hooks) -> Self {
        Self {
            hooks: Some(hooks),
            ..Self::default()
        }
    }

    /// Enters an open stream; `entered` runs before anybody can see it leave, so that events keep their order.
    pub fn enter(&self, entry: Arc<Entry>, entered: impl FnOnce()) {
        let mut inner = self.lock();
        inner.enter(Arc::clone(&entry));
        entered();
        self.feed
            .publish(|| Happening::Opened(Arc::new(entry.record())));
    }

    /// Takes a stream out. `record` makes its closing record from the number of streams left with the same uid, and runs
    /// in the order of the leavings.
    pub fn leave(&self, entry: &Entry, record: impl FnOnce(Option<usize>) -> Ended) {
        let mut inner = self.lock();
        let Some(place) = inner.places.remove(&entry.id) else {
            return;
        };
        inner.streams.remove(&place);
        let left = inner.forget_words(&entry.identity(), place);
        let ended = Arc::new(record(left));
        if inner.closed.len() == RECENT {
            inner.closed.pop_front();
        }
        inner.closed.push_back(Arc::clone(&ended));
        self.feed.publish(|| Happening::Closed(ended));
    }

    /// Changes who a client is, on behalf of the API.
    pub fn rebind(&self, id: Uuid, change: &Rebind) -> Rebound {
        let mut inner = self.lock();
        let Some((place, entry)) = inner.find(id) else {
            return Rebound::Gone;
        };
        let identity = match entry.with_identity(|identity| identity.rebound(change)) {
            Ok(identity) => identity,
            Err(TooManyTags) => return Rebound::TooManyTags,
        };
        self.set_identity(&mut inner, place, &entry, identity);
        Rebound::Done(entry)
    }

    /// The client's first message says who it is. What the API has bound meanwhile beats it.
    pub fn bind_first_message(&self, id: Uuid, uid: &str) {
        let mut inner = self.lock();
        let Some((place, entry)) = inner.find(id) else {
            return;
        };
        let mut identity = entry.identity();
        if identity.uid_source != Some(UidSource::Api) {
            identity.uid = Some(uid.into());
            identity.uid_source = Some(UidSource::FirstMessage);
            self.set_identity(&mut inner, place, &entry, identity);
        }
    }

    fn set_identity(&self, inner: &mut Inner, place: Place, entry: &Arc<Entry>, new: Identity) {
        inner.forget_words(&entry.identity(), place);
        inner.learn_words(&new, place);
        entry.set_identity(new);
        if let Some(hooks) = &self.hooks {
            hooks.rebound(entry);
        }
        self.feed
            .publish(|| Happening::Bound(Arc::new(entry.record())));
    }

    /// How many streams are open.
    pub fn len(&self) -> usize {
        self.lock().streams.len()
    }

    /// Whether no stream is open.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The open stream with this id.
    pub fn get(&self, id: Uuid) -> Option<Arc<Entry>> {
        self.lock().find(id).map(|(_, entry)| entry)
    }

    /// Every open stream, in opening order.
    pub fn all(&self) -> Vec<Arc<Entry>> {
        self.lock().streams.values().cloned().collect()
    }

    /// Looks at every open stream, in opening order.
    pub fn for_each(&self, mut look: impl FnMut(&Arc<Entry>)) {
        self.scan(&Selector::default(), None, |_, entry| {
            look(entry);
            true
        });
    }

    /// The first `limit` streams behind `after` that the selector matches.
    pub fn page(&self, selector: &Selector, after: Option<Cursor>, limit: usize) -> Page {
        let mut entries = Vec::new();
        let mut last = None;
        let mut more = None;
        self.scan(selector, after, |place, entry| {
            if entries.len() == limit {
                more = last;
                return false;
            }
            last = Some(Cursor(place));
            entries.push(Arc::clone(entry));
            true
        });
        Page {
            entries,
            next: more,
        }
    }

    /// Every stream that the selector matches, in opening order.
    pub fn select(&self, selector: &Selector) -> Vec<Arc<Entry>> {
        self.page(selector, None, usize::MAX).entries
    }

    /// How many streams the selector matches.
    pub fn count(&self, selector: &Selector) -> usize {
        if selector.is_words_only() {
            let inner = self.lock();
            match inner.candidates(selector) {
                Candidates::All => return inner.streams.len(),
                Candidates::None => return 0,
                Candidates::Some { places, others } if others.is_empty() => return places.len(),
                Candidates::Some { .. } => {}
            }
        }
        let mut count = 0;
        self.scan(selector, None, |_, _| {
            count += 1;
            true
        });
        count
    }

    /// The streams that ended last, newest first.
    pub fn closed(&self) -> Vec<Arc<Ended>> {
        self.lock().closed.iter().rev().cloned().collect()
    }

    /// A stream that ended not long ago.
    pub fn ended(&self, id: Uuid) -> Option<Arc<Ended>> {
        let inner = self.lock();
        let mut closed = inner.closed.iter().rev();
        closed.find(|ended| ended.record.stream.id == id).cloned()
    }

    /// Shows `look` what the selector matches until it has seen enough. The lock is given back now and then; a stream
    /// that opens meanwhile comes at the end.
    fn scan(
        &self,
        selector: &Selector,
        after: Option<Cursor>,
        mut look: impl FnMut(Place, &Arc<Entry>) -> bool,
    ) {
        let mut after = after.map(|Cursor(place)| place);
        loop {
            let inner = self.lock();
            let candidates = inner.candidates(selector);
            let mut left = SLICE;
            for (place, entry) in inner.behind(&candidates, after).take(SLICE) {
                after = Some(place);
                left -= 1;
                if candidates.fit(place) && selector.fits(entry) && !look(place, entry) {
                    return;
                }
            }
            if left > 0 {
                return;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A stream that panicked while it left must not take the others with it: the maps are changed by single calls.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the indexes leave to be compared.
enum Candidates<'a> {
    /// The selector has neither uid nor tag.
    All,
    /// Nobody carries one of its words.
    None,
    /// The streams of its rarest word; those of the other words have to be the same.
    Some {
        places: &'a Places,
        others: Vec<&'a Places>,
    },
}

impl Candidates<'_> {
    fn fit(&self, place: Place) -> bool {
        match self {
            Self::All | Self::None => true,
            Self::Some { others, .. } => others.iter().all(|places| places.contains(place)),
        }
    }
}

impl Inner {
    fn enter(&mut self, entry: Arc<Entry>) {
        let place = self.next;
        self.next += 1;
        entry.with_identity(|identity| self.learn_words(identity, place));
        self.places.insert(entry.id, place);
        self.streams.insert(place, entry);
    }

    fn find(&self, id: Uuid) -> Option<(Place, Arc<Entry>)> {
        let place = *self.places.get(&id)?;
        Some((place, Arc::clone(self.streams.get(&place)?)))
    }

    fn learn_words(&mut self, identity: &Identity, place: Place) {
        if let Some(uid) = &identity.uid {
            self.uids.insert(uid, place);
        }
        for tag in &identity.tags {
            self.tags.insert(tag, place);
        }
    }

    /// Returns how many streams are left with the same uid.
    fn forget_words(&mut self, identity: &Identity, place: Place) -> Option<usize> {
        for tag in &identity.tags {
            self.tags.remove(tag, place);
        }
        let uid = identity.uid.as_ref()?;
        Some(self.uids.remove(uid, place))
    }

    fn candidates(&self, selector: &Selector) -> Candidates<'_> {
        let uid = selector.uid.iter().map(|uid| self.uids.get(uid));
        let tags = selector.tags.iter().map(|tag| self.tags.get(tag));
        let Some(mut words) = uid.chain(tags).collect::<Option<Vec<_>>>() else {
            return Candidates::None;
        };
        words.sort_by_key(|places| places.len());
        let mut words = words.into_iter();
        match words.next() {
            None => Candidates::All,
            Some(places) => Candidates::Some {
                places,
                others: words.collect(),
            },
        }
    }

    /// The candidates behind a place, in opening order.
    fn behind<'a>(
        &'a self,
        candidates: &Candidates<'a>,
        after: Option<Place>,
    ) -> Box<dyn Iterator<Item = (Place, &'a Arc<Entry>)> + 'a> {
        let range = (after.map_or(Unbounded, Excluded), Unbounded);
        let with_entry = |place: Place| Some((place, self.streams.get(&place)?));
        match candidates {
            Candidates::All => {
                let streams = self.streams.range(range);
                Box::new(streams.map(|(place, entry)| (*place, entry)))
            }
            Candidates::None => Box::new(std::iter::empty()),
            Candidates::Some { places, .. } => match places {
                Places::One(place) => {
                    let behind = after.is_none_or(|after| *place > after);
                    Box::new(behind.then_some(*place).into_iter().filter_map(with_entry))
                }
                Places::Many(places) => {
                    Box::new(places.range(range).copied().filter_map(with_entry))
                }
            },
        }
    }
}
