//! When the disk has no room, refuses, or holds much that is not needed any more.

use std::fs::File;

use super::super::record::{BoundEntry, Entry, seal};
use super::super::store::Place;
use super::super::write::{LIVE_BOUND, WriteError, is_full};
use super::*;

const MIB: u64 = 1024 * 1024;

/// Has room for nothing.
fn full_disk() -> Arc<File> {
    let file = File::options().read(true).write(true).open("/dev/full");
    Arc::new(file.unwrap())
}

/// Puts events of streams that are not open into the log, for one hook; their numbers.
fn put(store: &mut Store, count: usize) -> Vec<u64> {
    let app = hooks(&["app"]);
    let each = (0..count).map(|_| {
        let mut message = message(EventKind::Draining, None);
        store.event(&mut message, &app);
        message.number
    });
    each.collect()
}

fn settle(store: &mut Store, numbers: &[u64]) {
    for number in numbers {
        store.settled(*number, &Arc::from("app"));
    }
}

fn is_on_disk(store: &Store, number: u64) -> bool {
    matches!(store.records[&number].place, Place::Disk(_))
}

#[test]
fn on_a_full_disk_room_is_had_from_what_is_dead_if_it_is_worth_it() {
    let directory = scratch();
    let mut store = open(directory.path()).0;
    for (length, live, worth) in [(9_000, 8_000, false), (9_001, 8_000, true)] {
        let numbers = put(&mut store, 2);
        let good = std::mem::replace(&mut store.file, full_disk());
        let (really, really_live) = (store.length, store.live);
        (store.length, store.live) = (length, live);
        let done = store.commit();
        if worth {
            done.unwrap();
            assert!(!store.broken && is_on_disk(&store, numbers[0]));
            check_figures(&store);
        } else {
            let error = done.unwrap_err();
            assert!(matches!(&error, WriteError::System(error) if is_full(error)));
            assert!(store.broken, "what was half written could not be cut off");
            assert!(!is_on_disk(&store, numbers[0]));
            (store.length, store.live) = (really, really_live);
            store.file = good;
            store.commit().unwrap();
        }
        settle(&mut store, &numbers);
        store.commit().unwrap();
    }
    let numbers = put(&mut store, 1);
    store.commit().unwrap();
    let expected = held(&store);
    assert_eq!((expected.events.len(), numbers.len()), (1, 1));
    drop(store);
    assert_eq!(held(&open(directory.path()).0), expected);
}

#[test]
fn a_file_that_has_grown_is_rewritten_when_more_of_it_is_dead_than_needed() {
    let directory = scratch();
    let mut store = open(directory.path()).0;
    let numbers = put(&mut store, 20);
    store.commit().unwrap();
    settle(&mut store, &numbers[1..]);
    store.commit().unwrap();
    // A length that can be halved: of two records that differ by a byte one is odd.
    for body in ["{}", "{ }"] {
        if store.length % 2 == 1 {
            let mut more = message(EventKind::Draining, None);
            more.body = Bytes::from_static(body.as_bytes());
            store.event(&mut more, &hooks(&["app"]));
            store.commit().unwrap();
        }
    }
    let (before, really_live) = (store.length, store.live);
    assert_eq!(before % 2, 0);
    for (rewrite_at, live) in [(before, before / 2), (before + 1, really_live)] {
        (store.rewrite_at, store.live) = (rewrite_at, live);
        store.commit().unwrap();
        assert_eq!(store.length, before);
    }
    (store.rewrite_at, store.live) = (before, before / 2 - 1);
    store.commit().unwrap();
    assert!(store.length < before / 2);
    assert_eq!(store.rewrite_at, store.length + 32 * MIB);
    check_figures(&store);
}

#[test]
fn a_rewrite_that_fails_is_not_tried_again_at_once() {
    let directory = scratch();
    let mut store = open(directory.path()).0;
    put(&mut store, 3);
    store.commit().unwrap();
    std::fs::create_dir(store.directory.next_log()).unwrap();
    let (expected, length) = (held(&store), store.length);
    assert!(store.rewrite().is_err());
    assert_eq!((held(&store), store.length), (expected, length));
    assert_eq!(store.rewrite_at, length + 32 * MIB);
}

#[test]
fn what_a_failed_rewrite_in_place_has_spoilt_is_in_memory_until_it_is_written() {
    let directory = scratch();
    let mut store = open(directory.path()).0;
    let numbers = put(&mut store, 5);
    store.commit().unwrap();
    settle(&mut store, &numbers[..2]);
    let expected = held(&store);
    let read_only = File::open(store.directory.log()).unwrap();
    let good = std::mem::replace(&mut store.file, Arc::new(read_only));
    assert!(store.rewrite_in_place().is_err());
    assert!(store.broken && !is_on_disk(&store, numbers[4]));
    store.file = good;
    store.file.set_len(0).unwrap();
    assert_eq!(held(&store), expected);
    store.commit().unwrap();
    check_figures(&store);
    drop(store);
    assert_eq!(held(&open(directory.path()).0), expected);
}

#[test]
fn a_file_is_rewritten_in_its_own_place_if_it_does_not_grow() {
    let directory = scratch();
    let mut store = open(directory.path()).0;
    put(&mut store, 3);
    store.commit().unwrap();
    let (expected, length) = (held(&store), store.length);
    store.rewrite_in_place().unwrap();
    assert_eq!((held(&store), store.length), (expected, length));
    store.length -= 1;
    let error = store.rewrite_in_place().unwrap_err();
    assert!(is_full(&error) && !store.broken, "{error}");
}

#[test]
fn what_a_cut_off_rewrite_in_place_left_twice_counts_once() {
    let directory = scratch();
    let mut store = open(directory.path()).0;
    let numbers = put(&mut store, 20);
    store.commit().unwrap();
    settle(&mut store, &numbers);
    put(&mut store, 1);
    store.event(&mut message(EventKind::Opened, Some(1)), &hooks(&["app"]));
    store.bound(BoundEntry {
        number: 0,
        stream: Uuid::from_u128(1),
        uid: Some(Arc::from("42")),
        uid_source: None,
        tags: Vec::new(),
    });
    store.commit().unwrap();
    let (path, expected) = (store.directory.log(), held(&store));
    let old = std::fs::read(&path).unwrap();
    store.rewrite_in_place().unwrap();
    let next = store.directory.next_log();
    drop(store);
    let new = std::fs::read(&path).unwrap();
    assert!(new.len() < old.len() / 2, "all that is left stands twice");
    std::fs::write(&path, [&new, &old[new.len()..]].concat()).unwrap();
    // Without room it is not rewritten, which would make up the figures.
    std::fs::create_dir(next).unwrap();
    let store = open(directory.path()).0;
    assert_eq!(held(&store), expected);
    check_figures(&store);
}

#[test]
fn a_log_is_filled_up_to_its_bound() {
    let directory = scratch();
    let mut store = open(directory.path()).0;
    let numbers = put(&mut store, 3);
    let two = numbers[..2].iter().map(|number| store.records[number].size);
    let two: u64 = two.map(u64::from).sum();
    store.live = LIVE_BOUND - two;
    assert!(matches!(store.commit(), Err(WriteError::Bound)));
    assert_eq!(store.live, LIVE_BOUND);
    let on_disk = numbers.iter().map(|number| is_on_disk(&store, *number));
    assert!(on_disk.eq([true, true, false]));
}

#[test]
fn only_new_events_have_to_be_synced() {
    let directory = scratch();
    let mut store = open(directory.path()).0;
    assert!(store.take_unsynced().is_none());
    let numbers = put(&mut store, 2);
    store.commit().unwrap();
    assert!(store.take_unsynced().is_some());
    assert!(store.take_unsynced().is_none());
    settle(&mut store, &numbers[..1]);
    store.commit().unwrap();
    assert!(store.take_unsynced().is_none(), "its loss is a repetition");
    put(&mut store, 1);
    store.commit().unwrap();
    store.rewrite().unwrap();
    assert!(store.take_unsynced().is_none(), "the new file is on disk");
    let waits = put(&mut store, 1);
    store.rewrite().unwrap();
    assert!(is_on_disk(&store, waits[0]));
    check_figures(&store);
}

#[test]
fn a_stream_whose_end_waits_for_room_is_over_when_all_hooks_are_done_with_it() {
    let directory = scratch();
    let mut store = open(directory.path()).0;
    let both = hooks(&["app", "spare"]);
    store.event(&mut message(EventKind::Opened, Some(1)), &[]);
    store.commit().unwrap();
    let mut closed = message(EventKind::Closed, Some(1));
    store.event(&mut closed, &both);
    store.settled(closed.number, &both[0]);
    assert!(store.marks.is_empty(), "the other would not be told");
    store.settled(closed.number, &both[1]);
    assert!(!store.marks.is_empty());
    store.commit().unwrap();
    drop(store);
    assert_eq!(held(&open(directory.path()).0), Held::default());
}

#[test]
fn a_write_cut_off_before_the_end_of_a_stream_leaves_it_open() {
    let directory = scratch();
    let mut store = open(directory.path()).0;
    let app = hooks(&["app"]);
    let [mut opened, mut closed] =
        [EventKind::Opened, EventKind::Closed].map(|kind| message(kind, Some(1)));
    store.event(&mut opened, &app);
    store.event(&mut closed, &app);
    store.commit().unwrap();
    let Place::Disk(end) = store.records[&closed.number].place else {
        panic!("it is written");
    };
    let whole = std::fs::read(store.directory.log()).unwrap();
    let left_open = |file: &[u8]| {
        let next = scratch();
        std::fs::write(next.path().join("hooks.log"), file).unwrap();
        open(next.path()).1.open.len()
    };
    assert_eq!(left_open(&whole[..end as usize]), 1);
    assert_eq!(left_open(&whole), 0);
    // Once its end is written it is over, whatever is left of it.
    store.settled(closed.number, &app[0]);
    store.rewrite().unwrap();
    let rewritten = std::fs::read(store.directory.log()).unwrap();
    assert_eq!(left_open(&rewritten), 0);
    assert!(store.records.contains_key(&opened.number));
}

#[test]
fn marks_that_wait_for_room_are_bounded() {
    let directory = scratch();
    let mut store = open(directory.path()).0;
    let mut streams = (1..=2).map(Uuid::from_u128);
    for stream in 1..=2 {
        let mut opened = message(EventKind::Opened, Some(stream));
        store.event(&mut opened, &[]);
    }
    store.commit().unwrap();
    let stream = streams.next().unwrap();
    let mark = seal(&Entry::Over { stream }, None);
    store.marks = vec![0; 4 * MIB as usize - mark.len()];
    store.forget(stream);
    assert_eq!((store.marks.len() as u64, store.broken), (4 * MIB, false));
    store.forget(streams.next().unwrap());
    assert_eq!((store.marks.len(), store.broken), (0, true));
    store.commit().unwrap();
    drop(store);
    assert_eq!(held(&open(directory.path()).0), Held::default());
}

#[test]
fn without_room_for_a_rewrite_a_process_goes_on_behind_what_there_is() {
    let directory = scratch();
    let mut store = open(directory.path()).0;
    put(&mut store, 3);
    store.commit().unwrap();
    let (path, next) = (store.directory.log(), store.directory.next_log());
    let expected = held(&store);
    drop(store);
    let whole = std::fs::read(&path).unwrap();
    for torn in [&b""[..], &whole[..30]] {
        std::fs::write(&path, [&whole[..], torn].concat()).unwrap();
        std::fs::create_dir(&next).unwrap();
        let (mut store, past) = open(directory.path());
        assert_eq!(past.torn, torn.len() as u64);
        assert_eq!(path.metadata().unwrap().len(), whole.len() as u64);
        store.commit().unwrap();
        assert!(store.length > whole.len() as u64, "that it began is told");
        check_figures(&store);
        drop(store);
        std::fs::remove_dir(&next).unwrap();
        let (store, past) = open(directory.path());
        assert_eq!(held(&store), expected);
        assert_eq!((past.damaged, past.torn), (0, 0));
        assert_eq!(past.boot, Some(Uuid::from_u128(0xb007)));
    }
}
