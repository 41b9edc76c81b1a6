//! The queue, event by event; `simulation` takes it through virtual hours, `naive` compares it with a list.

mod naive;
mod schedule;
mod simulation;

use std::collections::VecDeque;
use std::sync::Arc;

use uuid::Uuid;

use super::*;

const FAST: Rules = Rules {
    rate: u32::MAX,
    give_up_after: Duration::from_secs(900),
};

fn keys(stream: u128, uid: Option<&str>) -> Keys {
    Keys {
        stream: Some(Uuid::from_u128(stream)),
        uid: uid.map(Arc::from),
    }
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn filled(rules: Rules, streams: impl IntoIterator<Item = (u128, Worth)>) -> Queue<u128> {
    let mut queue = Queue::new(rules);
    for (stream, worth) in streams {
        queue.push(keys(stream, None), worth, secs(0), stream);
    }
    queue
}

/// Sends all that may be sent now.
fn sent<T: Clone>(queue: &mut Queue<T>, now: Duration) -> Vec<(Ticket, T)> {
    let mut all = Vec::new();
    while let Step::Send { ticket, item, .. } = queue.poll(now) {
        all.push((ticket, item));
    }
    all
}

#[test]
fn an_event_waits_for_its_stream_and_its_uid_and_holds_back_nothing_else() {
    let mut queue = Queue::new(FAST);
    let events = [
        (1, Some("42")),
        (2, None),
        (1, None),
        (3, Some("42")),
        (2, None),
        (1, Some("42")),
    ];
    for (number, (stream, uid)) in (1..).zip(events) {
        queue.push(keys(stream, uid), Worth::Plain, secs(0), number);
    }
    let mut settled: VecDeque<u32> = VecDeque::new();
    let mut waves = Vec::new();
    loop {
        let wave = sent(&mut queue, secs(1));
        if wave.is_empty() {
            break;
        }
        waves.push(wave.iter().map(|(_, number)| *number).collect::<Vec<_>>());
        for (ticket, _) in wave {
            settled.extend(queue.settle(ticket));
        }
    }
    assert_eq!(waves, [vec![1, 2], vec![3, 4, 5], vec![6]]);
    assert_eq!(settled, [1, 2, 3, 4, 5, 6]);
}

#[test]
fn events_without_stream_wait_for_nothing() {
    let mut queue = Queue::new(FAST);
    for number in 0..3 {
        queue.push(Keys::default(), Worth::Plain, secs(0), number);
    }
    assert_eq!(sent(&mut queue, secs(0)).len(), 3);
}

#[test]
fn sixteen_are_under_way_at_once() {
    let mut queue = filled(FAST, (0..20).map(|stream| (stream, Worth::Plain)));
    let first = sent(&mut queue, secs(0));
    assert_eq!(first.len(), 16);
    queue.settle(first[3].0);
    queue.release(first[4].0);
    let next: Vec<_> = sent(&mut queue, secs(0))
        .into_iter()
        .map(|(_, n)| n)
        .collect();
    assert_eq!(next, [4, 16], "what was released goes first");
}

#[test]
fn a_disabled_queue_sends_nothing_until_enabled() {
    let mut queue = filled(FAST, [(1, Worth::Plain), (2, Worth::Plain)]);
    let first = sent(&mut queue, secs(0));
    queue.release(first[0].0);
    queue.disable();
    queue.fail(first[1].0, secs(0), None, 1.0);
    assert_eq!(queue.poll(secs(10)), Step::Wait(Some(secs(900))));
    assert_eq!((queue.len(), queue.is_enabled()), (2, false));
    queue.enable(FAST);
    let again: Vec<_> = sent(&mut queue, secs(10))
        .into_iter()
        .map(|(_, n)| n)
        .collect();
    assert_eq!(again, [1, 2]);
}

#[test]
fn a_full_queue_drops_the_oldest_opened_then_the_oldest_and_none_in_flight() {
    let opened = |stream| (stream, Worth::Least);
    let closed = |stream| (stream, Worth::Plain);
    let many = 100..100 + CAPACITY as u128 - 4;
    let start = [closed(1), opened(2), closed(3), opened(4)];
    let mut queue = filled(FAST, start.into_iter().chain(many.map(closed)));
    queue.disable();
    let push = |queue: &mut Queue<u128>, (stream, worth)| {
        queue.push(keys(stream, None), worth, secs(0), stream)
    };
    assert_eq!(queue.len(), CAPACITY);
    assert_eq!(push(&mut queue, closed(1_000_000)), Some(2));
    assert_eq!(push(&mut queue, opened(1_000_001)), Some(4));
    assert_eq!(push(&mut queue, opened(1_000_002)), Some(1_000_001));
    assert_eq!(push(&mut queue, closed(1_000_003)), Some(1_000_002));
    queue.enable(FAST);
    let flying = sent(&mut queue, secs(0));
    assert_eq!((flying[0].1, flying[1].1, flying.len()), (1, 3, 16));
    assert_eq!(push(&mut queue, closed(1_000_004)), Some(114));
    assert_eq!(queue.len(), CAPACITY);
}

#[test]
fn a_dropped_event_does_not_let_later_ones_pass_earlier_ones() {
    let mut queue = Queue::new(FAST);
    queue.push(keys(1, Some("a")), Worth::Plain, secs(0), 0);
    queue.push(keys(1, Some("a")), Worth::Least, secs(0), 1);
    queue.push(keys(1, Some("a")), Worth::Plain, secs(0), 2);
    for stream in 10..10 + CAPACITY as u128 - 3 {
        queue.push(keys(stream, None), Worth::Plain, secs(0), 3);
    }
    let (ticket, first) = sent(&mut queue, secs(0))[0];
    assert_eq!(first, 0);
    assert_eq!(queue.push(keys(9, None), Worth::Plain, secs(0), 4), Some(1));
    assert_eq!(queue.poll(secs(0)), Step::Wait(Some(secs(900))));
    queue.settle(ticket);
    assert!(matches!(queue.poll(secs(0)), Step::Send { item: 2, .. }));
}
