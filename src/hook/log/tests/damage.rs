//! Files that are not as they were written.

use super::super::directory::{head, options};
use super::super::record::{BoundEntry, HEAD, payload_length};
use super::*;

/// A log with every sort of record and something of each sort that is left; the records one by one.
fn sample(directory: &Path) -> (Vec<u8>, Vec<Vec<u8>>) {
    let mut store = open(directory).0;
    let (app, both) = (hooks(&["app"]), hooks(&["app", "spare"]));
    let put = |store: &mut Store, kind, stream, hooks: &[Arc<str>]| {
        let mut message = message(kind, stream);
        store.event(&mut message, hooks);
        store.commit().unwrap();
        message.number
    };
    let first = put(&mut store, EventKind::Opened, Some(1), &both);
    let second = put(&mut store, EventKind::Opened, Some(2), &[]);
    put(&mut store, EventKind::Opened, Some(3), &app);
    store.bound(BoundEntry {
        number: 0,
        stream: Uuid::from_u128(3),
        uid: Some(Arc::from("42")),
        uid_source: Some("api".to_owned()),
        tags: vec!["room:7".to_owned()],
    });
    store.commit().unwrap();
    store.settled(first, &app[0]);
    put(&mut store, EventKind::Closed, Some(1), &both);
    store.forget(Uuid::from_u128(2));
    put(&mut store, EventKind::Draining, None, &app);
    assert_ne!(first, second);
    let bytes = std::fs::read(store.directory.log()).unwrap();
    assert_eq!(bytes.len() as u64, store.length);
    let mut records = Vec::new();
    let mut rest = &bytes[head().len()..];
    while let Some(length) = payload_length(rest) {
        let (record, behind) = rest.split_at(HEAD + length);
        records.push(record.to_vec());
        rest = behind;
    }
    assert!(rest.is_empty());
    // boot, three opened, bound, settled, closed, over, draining
    assert_eq!(records.len(), 9);
    (bytes, records)
}

/// What a log of these bytes holds for the next process.
fn reopened(bytes: &[u8]) -> Result<(Held, Past), LogError> {
    let directory = scratch();
    let path = directory.path().join("hooks.log");
    std::fs::write(&path, bytes).unwrap();
    let opened = Store::open(Directory::open(directory.path())?, Uuid::from_u128(2));
    match opened {
        Ok((store, past)) => {
            check_figures(&store);
            let seen = held(&store);
            drop(store);
            // And for the one after it.
            let (again, clean) = open(directory.path());
            assert_eq!(
                (held(&again), clean.damaged, clean.torn),
                (seen.clone(), 0, 0)
            );
            assert_eq!(clean.boot, Some(Uuid::from_u128(2)));
            Ok((seen, past))
        }
        Err(error) => {
            assert_eq!(std::fs::read(&path).unwrap(), bytes, "overwritten");
            Err(error)
        }
    }
}

#[test]
fn each_byte_flipped_costs_its_record_or_is_refused() {
    let directory = scratch();
    let (bytes, records) = sample(directory.path());
    let start = head().len();
    for place in 0..start {
        let mut bad = bytes.clone();
        bad[place] ^= 0xff;
        let error = reopened(&bad).unwrap_err();
        assert!(!error.is_system(), "byte {place}: {error}");
    }
    let mut begin = start;
    for (hit, record) in records.iter().enumerate() {
        let others: Vec<u8> = (0..)
            .zip(&records)
            .filter(|(nth, _)| *nth != hit)
            .flat_map(|(_, record)| record.clone())
            .collect();
        let (expected, _) = reopened(&[head().as_bytes(), &others].concat()).unwrap();
        for place in begin..begin + record.len() {
            for change in [0xff, 0x01] {
                let mut bad = bytes.clone();
                bad[place] ^= change;
                let (seen, past) = reopened(&bad).unwrap();
                assert_eq!(seen, expected, "byte {place}, record {hit}");
                let (damaged, torn) = if hit == records.len() - 1 {
                    (0, record.len())
                } else {
                    (record.len(), 0)
                };
                assert_eq!((past.damaged, past.torn), (damaged as u64, torn as u64));
            }
        }
        begin += record.len();
    }
    assert_eq!(begin, bytes.len());
}

#[test]
fn a_log_cut_anywhere_keeps_every_whole_record() {
    let directory = scratch();
    let (bytes, records) = sample(directory.path());
    let mut whole = head().into_bytes();
    for record in &records {
        let (expected, past) = reopened(&whole).unwrap();
        assert_eq!((past.damaged, past.torn), (0, 0));
        for cut in whole.len()..whole.len() + record.len() {
            let (seen, past) = reopened(&bytes[..cut]).unwrap();
            assert_eq!(seen, expected, "cut at {cut}");
            assert_eq!((past.damaged, past.torn), (0, (cut - whole.len()) as u64));
        }
        whole.extend(record);
    }
    for cut in 0..head().len() {
        assert_eq!(reopened(&bytes[..cut]).unwrap().0, Held::default());
    }
}

#[test]
fn a_rewrite_in_place_that_was_cut_off_brings_nothing_back_but_what_was() {
    let directory = scratch();
    let mut store = open(directory.path()).0;
    let app = hooks(&["app"]);
    for stream in 1..=20 {
        store.event(&mut message(EventKind::Opened, Some(stream)), &app);
        store.commit().unwrap();
    }
    for number in 1..=19 {
        store.settled(number, &app[0]);
        store.forget(Uuid::from_u128(number.into()));
    }
    store.commit().unwrap();
    let expected = held(&store);
    let old = std::fs::read(store.directory.log()).unwrap();
    store.rewrite_in_place().unwrap();
    let new = std::fs::read(store.directory.log()).unwrap();
    assert!(new.len() < old.len() / 4);
    // All of it written and the file not cut yet: the old records behind are older than the new ones.
    let cut_off = [&new, &old[new.len()..]].concat();
    assert_eq!(reopened(&cut_off).unwrap().0, expected);
    for written in 0..new.len() {
        let cut_off = [&new[..written], &old[written..]].concat();
        reopened(&cut_off).unwrap();
    }
}

#[test]
fn what_the_disk_changes_while_we_run_is_found_when_it_is_read() {
    let directory = scratch();
    let mut store = open(directory.path()).0;
    let app = hooks(&["app"]);
    let numbers = [1, 2].map(|stream| {
        let mut message = message(EventKind::Closed, Some(stream));
        store.event(&mut message, &app);
        message.number
    });
    store.commit().unwrap();
    let path = store.directory.log();
    let mut bytes = std::fs::read(&path).unwrap();
    let place = bytes.len() - 1;
    bytes[place] ^= 1;
    std::os::unix::fs::FileExt::write_all_at(&options().open(&path).unwrap(), &bytes, 0).unwrap();
    assert!(store.load(numbers[0]).is_some());
    assert_eq!(store.load(numbers[1]), None);
    store.rewrite().unwrap();
    assert!(store.load(numbers[0]).is_some());
    assert_eq!(store.load(numbers[1]), None);
    store.settled(numbers[1], &app[0]);
    assert_eq!(held(&store).events.len(), 1);
}
