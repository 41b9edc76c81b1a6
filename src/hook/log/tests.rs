//! The log against a naive model, against damage, and through the ends of processes.

mod damage;
mod model;
mod room;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use indexmap::IndexMap;
use prometheus::Registry;
use tempfile::TempDir;
use tokio::runtime::Handle;

use crate::config::EventKind;
use crate::hook::HookMetrics;
use crate::hook::clock::Moment;
use crate::hook::message::Message;
use crate::hook::queue::Keys;
use crate::hook::tests::tapped;

use super::directory::Directory;
use super::recover::Past;
use super::store::Store;
use super::*;

/// Many logs are opened here, each with several waits for the disk: in memory if there is such a place.
pub(super) fn scratch() -> TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap())
}

fn open(path: &Path) -> (Store, Past) {
    Store::open(Directory::open(path).unwrap(), Uuid::from_u128(0xb007)).unwrap()
}

fn hooks(names: &[&str]) -> Vec<Arc<str>> {
    names.iter().copied().map(Arc::from).collect()
}

/// An event as the store sees it.
fn message(kind: EventKind, stream: Option<u128>) -> Message {
    let stream = stream.map(Uuid::from_u128);
    Message {
        number: 0,
        id: format!("evt_{}", Uuid::new_v4().simple()),
        kind,
        keys: Keys { stream, uid: None },
        at: Moment {
            wall: UNIX_EPOCH + Duration::from_nanos(1_795_000_000_123_456_789),
            steady: Duration::from_nanos(1_794_000_000_123_456_789),
        },
        listener: Some(Arc::from("chat")),
        body: Bytes::from_static(b"{}"),
    }
}

/// What a store holds, to be compared with what it should hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Held {
    /// Hooks that are not done, by the id of the event, in the order of the events.
    events: Vec<(String, Vec<Arc<str>>)>,
    /// The last uid of each open stream.
    open: BTreeMap<u128, Option<Arc<str>>>,
}

fn held(store: &Store) -> Held {
    let events = store
        .records
        .iter()
        .filter(|(_, stored)| !stored.hooks.is_empty());
    let events = events.map(|(number, stored)| {
        let message = store.load(*number).unwrap();
        assert_eq!(message.number, *number);
        (message.id, stored.hooks.clone())
    });
    let open = store.open.iter().map(|(stream, open)| {
        let identity = store.identity(*open);
        assert_eq!(identity.is_some(), open.bound.is_some());
        (stream.as_u128(), identity.and_then(|identity| identity.uid))
    });
    Held {
        events: events.collect(),
        open: open.collect(),
    }
}

/// Holds the figures of the store against what they sum up.
fn check_figures(store: &Store) {
    use super::directory::head;
    use super::store::Place;
    let on_disk = store
        .records
        .values()
        .filter(|stored| matches!(stored.place, Place::Disk(_)));
    let sizes: u64 = on_disk.map(|stored| u64::from(stored.size)).sum();
    if !store.broken {
        assert_eq!(store.live, sizes + (head().len() + store.boot.len()) as u64);
    }
    for (number, stored) in &store.records {
        let waits = store.unwritten.contains(*number);
        assert_eq!(waits, matches!(stored.place, Place::Memory(_)), "{number}");
        assert!(
            stored.open || !stored.hooks.is_empty(),
            "{number} is not needed"
        );
    }
    let of_streams: BTreeSet<u64> = store
        .open
        .values()
        .flat_map(|open| [Some(open.opened), open.bound])
        .flatten()
        .collect();
    let held: BTreeSet<u64> = store
        .records
        .iter()
        .filter(|(_, stored)| stored.open)
        .map(|(number, _)| *number)
        .collect();
    assert_eq!(of_streams, held);
}

#[tokio::test]
async fn a_panic_of_the_thread_is_shown() {
    let metrics = HookMetrics::register(&Registry::new());
    let (hooks, _tap) = tapped(&IndexMap::new(), metrics, &Handle::current()).unwrap();
    let shared = &hooks.shared;
    for (panics, failing) in [(false, 0), (true, 1)] {
        let watch = Watch(Arc::clone(shared));
        let thread = std::thread::spawn(move || {
            let _watch = watch;
            assert!(!panics, "as a bug would");
        });
        assert_eq!(thread.join().is_err(), panics);
        assert_eq!(shared.metrics.log_failing.get(), failing);
    }
}
