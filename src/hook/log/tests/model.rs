//! Any sequence of happenings, failures and ends leaves what a naive model says.

use std::fs::File;
use std::os::unix::fs::FileExt;

use proptest::prelude::*;

use super::super::record::BoundEntry;
use super::*;

#[derive(Debug, Clone)]
enum Step {
    /// A stream opens in a place that is free; the hooks that want to know by bit.
    Open(u128, u8),
    Close(u128, u8),
    Bind(u128, Option<u8>),
    /// A hook is done with the nth of the events that it has.
    Settle(usize, u8),
    Commit,
    /// The disk refuses to write.
    FailedCommit,
    Rewrite,
    RewriteInPlace,
    /// The process is killed; so much of what it was writing is in the file.
    Kill(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let stream = 0..6_u128;
    prop_oneof![
        5 => (stream.clone(), 0..4_u8).prop_map(|(stream, hooks)| Step::Open(stream, hooks)),
        4 => (stream.clone(), 0..4_u8).prop_map(|(stream, hooks)| Step::Close(stream, hooks)),
        2 => (stream, proptest::option::of(0..3_u8)).prop_map(|(stream, uid)| Step::Bind(stream, uid)),
        5 => (0..8_usize, 0..2_u8).prop_map(|(nth, hook)| Step::Settle(nth, hook)),
        4 => Just(Step::Commit),
        1 => Just(Step::FailedCommit),
        1 => Just(Step::Rewrite),
        1 => Just(Step::RewriteInPlace),
        2 => (0..300_usize).prop_map(Step::Kill),
    ]
}

fn wanting(bits: u8) -> Vec<Arc<str>> {
    let both = [(1, "a"), (2, "b")];
    let wanting = both.into_iter().filter(|(bit, _)| bits & bit != 0);
    wanting.map(|(_, name)| Arc::from(name)).collect()
}

/// A log, what it should hold now and what of it should be on disk.
struct World {
    directory: TempDir,
    store: Store,
    now: Held,
    on_disk: Held,
    /// The stream of each place: no two streams ever have the same id.
    streams: [u128; 6],
    opened: u128,
}

impl World {
    fn new() -> Self {
        let directory = scratch();
        let store = open(directory.path()).0;
        let (now, on_disk) = (Held::default(), Held::default());
        Self {
            directory,
            store,
            now,
            on_disk,
            streams: [0; 6],
            opened: 0,
        }
    }

    fn event(&mut self, kind: EventKind, stream: u128, bits: u8) {
        let mut message = message(kind, Some(stream));
        let hooks = wanting(bits);
        self.store.event(&mut message, &hooks);
        if !hooks.is_empty() {
            self.now.events.push((message.id, hooks));
        }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Open(place, bits) => {
                if !self.now.open.contains_key(&self.streams[place as usize]) {
                    self.opened += 1;
                    let stream = self.opened;
                    self.streams[place as usize] = stream;
                    self.event(EventKind::Opened, stream, bits);
                    self.now.open.insert(stream, None);
                }
            }
            Step::Close(place, 0) => {
                let stream = self.streams[place as usize];
                self.store.forget(Uuid::from_u128(stream));
                self.now.open.remove(&stream);
            }
            Step::Close(place, bits) => {
                let stream = self.streams[place as usize];
                self.event(EventKind::Closed, stream, bits);
                self.now.open.remove(&stream);
            }
            Step::Bind(place, uid) => {
                let stream = self.streams[place as usize];
                let uid: Option<Arc<str>> = uid.map(|uid| Arc::from(uid.to_string()));
                self.store.bound(BoundEntry {
                    number: 0,
                    stream: Uuid::from_u128(stream),
                    uid: uid.clone(),
                    uid_source: None,
                    tags: Vec::new(),
                });
                self.now.open.entry(stream).and_modify(|bound| *bound = uid);
            }
            Step::Settle(nth, hook) => self.settle(nth, ["a", "b"][usize::from(hook)]),
            Step::Commit => {
                self.store.commit().unwrap();
                self.on_disk = self.now.clone();
            }
            // A broken file is not written again but replaced.
            Step::FailedCommit if self.store.broken => {}
            Step::FailedCommit => {
                let read_only = File::open(self.store.directory.log()).unwrap();
                let good = std::mem::replace(&mut self.store.file, Arc::new(read_only));
                let nothing = held(&self.store) == self.on_disk;
                let refused = self.store.commit().is_err();
                self.store.file = good;
                // The cut at the end was refused, too.
                assert!(refused || nothing);
            }
            Step::Rewrite => {
                self.store.rewrite().unwrap();
                self.on_disk = self.now.clone();
            }
            Step::RewriteInPlace => {
                // Without what is not written yet it can only keep what was on disk.
                self.store.commit().unwrap();
                // Without anything dead in it there is nothing to gain.
                if let Err(error) = self.store.rewrite_in_place() {
                    assert!(super::super::write::is_full(&error), "{error}");
                }
                self.on_disk = self.now.clone();
            }
            Step::Kill(torn) => self.kill(torn),
        }
        assert_eq!(held(&self.store), self.now);
        check_figures(&self.store);
    }

    fn settle(&mut self, nth: usize, hook: &str) {
        let with_hook = |(_, event): &(usize, &mut (String, Vec<Arc<str>>))| {
            event.1.iter().any(|other| **other == *hook)
        };
        let Some((place, event)) = self
            .now
            .events
            .iter_mut()
            .enumerate()
            .filter(with_hook)
            .nth(nth)
        else {
            return;
        };
        let id = event.0.clone();
        event.1.retain(|other| **other != *hook);
        if event.1.is_empty() {
            self.now.events.remove(place);
        }
        let numbers: Vec<u64> = self.store.records.keys().copied().collect();
        let is = |number: &u64| {
            self.store
                .load(*number)
                .is_some_and(|message| message.id == id)
        };
        let number = numbers.into_iter().find(is).unwrap();
        self.store.settled(number, &Arc::from(hook));
    }

    fn kill(&mut self, torn: usize) {
        let entry = super::super::record::Entry::Boot {
            id: Uuid::from_u128(torn as u128),
        };
        let unfinished = super::super::record::seal(&entry, Some(&[b'x'; 250]));
        let torn = torn.min(unfinished.len() - 1);
        self.store
            .file
            .write_all_at(&unfinished[..torn], self.store.length)
            .unwrap();
        let gone = open(scratch().path()).0;
        drop(std::mem::replace(&mut self.store, gone));
        let (store, past) = open(self.directory.path());
        self.store = store;
        assert_eq!((past.torn, past.damaged), (torn as u64, 0));
        let streams: BTreeSet<u128> = past.open.iter().map(|stream| stream.as_u128()).collect();
        assert!(self.on_disk.open.keys().eq(&streams));
        self.now = self.on_disk.clone();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn the_log_holds_what_a_model_holds(steps in proptest::collection::vec(step(), 1..80)) {
        let mut world = World::new();
        for step in steps {
            world.take(step);
        }
        world.take(Step::Kill(0));
    }
}

#[test]
fn a_failed_write_is_made_up_for() {
    let mut world = World::new();
    world.take(Step::Open(1, 3));
    world.take(Step::Commit);
    world.take(Step::Open(2, 1));
    world.take(Step::Close(1, 1));
    world.take(Step::FailedCommit);
    assert!(!world.store.broken || world.store.marks.is_empty());
    // Delivered and settled while the disk refuses: the file learns that the stream is over.
    world.take(Step::Settle(2, 0));
    world.take(Step::Commit);
    world.take(Step::Kill(7));
    assert_eq!(world.now.open.keys().copied().collect::<Vec<_>>(), [2]);
}

#[test]
fn the_file_is_rewritten_when_most_of_it_is_dead() {
    let directory = scratch();
    let mut store = open(directory.path()).0;
    let body = Bytes::from(vec![b' '; 10_000]);
    let hook = hooks(&["app"]);
    let mut longest = 0;
    for _ in 0..15_000 {
        let mut message = Message {
            body: body.clone(),
            ..message(EventKind::Draining, None)
        };
        store.event(&mut message, &hook);
        store.commit().unwrap();
        store.settled(message.number, &hook[0]);
        longest = longest.max(store.length);
    }
    // 150 MB went through it.
    assert!(longest < 40_000_000, "{longest} bytes");
    store.commit().unwrap();
    assert_eq!(held(&store), Held::default());
    check_figures(&store);
}

#[test]
fn a_log_at_its_bound_takes_no_more_until_something_is_settled() {
    let directory = scratch();
    let mut store = open(directory.path()).0;
    let hook = hooks(&["app"]);
    let mut first = message(EventKind::Draining, None);
    store.event(&mut first, &hook);
    store.commit().unwrap();
    let really_live = store.live;
    store.live = super::super::write::LIVE_BOUND;
    let mut second = message(EventKind::Draining, None);
    store.event(&mut second, &hook);
    let error = store.commit().unwrap_err().to_string();
    assert!(error.contains("512 MiB"), "{error}");
    assert_eq!(store.load(second.number).unwrap(), second);
    store.live = really_live;
    store.commit().unwrap();
    check_figures(&store);
}

#[test]
fn beyond_the_bound_the_oldest_opened_then_the_oldest_are_given_up() {
    let directory = scratch();
    let mut store = open(directory.path()).0;
    let hook = hooks(&["app"]);
    let bound = super::super::store::UNWRITTEN_BOUND as u64;
    let mut put = |kind, stream| {
        let mut message = message(kind, Some(stream));
        store.event(&mut message, &hook);
        std::iter::from_fn(|| store.evict().map(|(number, _)| number)).collect::<Vec<_>>()
    };
    const NONE: [u64; 0] = [];
    assert_eq!(put(EventKind::Overdue, 0), NONE);
    assert_eq!(put(EventKind::Opened, 1), NONE);
    for stream in 2..bound {
        assert_eq!(put(EventKind::Overdue, stream.into()), NONE);
    }
    assert_eq!(put(EventKind::Overdue, 0), [2]);
    assert_eq!(put(EventKind::Overdue, 0), [1]);
    assert_eq!(put(EventKind::Overdue, 0), [3]);
    assert!(store.open.contains_key(&Uuid::from_u128(1)));
    assert!(store.over(Uuid::from_u128(1)) || store.open.is_empty());
}

#[test]
fn an_event_that_no_reader_would_take_stays_in_memory() {
    let directory = scratch();
    let mut store = open(directory.path()).0;
    let hook = hooks(&["app"]);
    let long = Bytes::from(vec![b' '; super::super::record::LONGEST]);
    let mut message = Message {
        body: long,
        ..message(EventKind::Draining, None)
    };
    store.event(&mut message, &hook);
    store.commit().unwrap();
    store.rewrite().unwrap();
    assert!(store.length < 1_000);
    assert_eq!(store.load(message.number), None);
    assert_eq!(message.body.len(), super::super::record::LONGEST);
    store.settled(message.number, &hook[0]);
    assert!(store.records.is_empty());
}
