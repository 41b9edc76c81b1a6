//! The queue against a naive list, and in virtual hours.

use std::collections::VecDeque;

use proptest::prelude::*;

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
fn waits_follow_the_schedule() {
    for (jitter, share) in [(0.5, 0.5), (1.0, 1.0)] {
        let rules = Rules {
            give_up_after: secs(1_000_000),
            ..FAST
        };
        let mut queue = filled(rules, [(1, Worth::Plain)]);
        let mut now = secs(10);
        for (tries, wait) in (1..).zip([1, 5, 15, 60, 120, 120, 120]) {
            let Step::Send {
                ticket, attempt, ..
            } = queue.poll(now)
            else {
                panic!("try {tries} is not due")
            };
            assert_eq!(attempt, tries);
            let wait = secs(wait).mul_f64(share);
            assert_eq!(queue.fail(ticket, now, None, jitter), wait);
            assert_eq!(queue.poll(now), Step::Wait(Some(now + wait)));
            let early = now + wait - Duration::from_nanos(1);
            assert_eq!(queue.poll(early), Step::Wait(Some(now + wait)));
            now += wait;
        }
    }
}

#[test]
fn retry_after_is_obeyed_up_to_two_minutes() {
    let asked = |seconds| {
        let mut queue = filled(FAST, [(1, Worth::Plain)]);
        let (ticket, _) = sent(&mut queue, secs(0))[0];
        queue.fail(ticket, secs(0), Some(secs(seconds)), 0.5)
    };
    assert_eq!(asked(30), secs(30));
    assert_eq!(asked(u64::MAX), secs(120));
    assert_eq!(asked(0), Duration::from_millis(500), "no hot loop");
}

#[test]
fn an_event_expires_to_the_instant_and_frees_those_behind_it() {
    let mut queue = Queue::new(FAST);
    queue.push(keys(1, None), Worth::Plain, secs(100), "first");
    queue.push(keys(1, None), Worth::Plain, secs(150), "second");
    let (ticket, _) = sent(&mut queue, secs(150))[0];
    assert_eq!(
        queue.poll(secs(2_000)),
        Step::Expired("second"),
        "what is in flight cannot expire"
    );
    queue.push(keys(1, None), Worth::Plain, secs(950), "third");
    queue.fail(ticket, secs(950), None, 1.0);
    assert_eq!(queue.poll(secs(1_000)), Step::Expired("first"));
    assert!(matches!(
        queue.poll(secs(1_000)),
        Step::Send { item: "third", .. }
    ));

    let mut queue = Queue::new(FAST);
    queue.push(keys(1, None), Worth::Plain, secs(100), "only");
    queue.disable();
    let early = secs(1_000) - Duration::from_nanos(1);
    assert_eq!(queue.poll(early), Step::Wait(Some(secs(1_000))));
    assert_eq!(queue.poll(secs(1_000)), Step::Expired("only"));
    assert_eq!(queue.poll(secs(1_000)), Step::Wait(None));
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
fn the_rate_is_reached_and_not_exceeded() {
    for rate in [1, 5, 49, 500, 20_000] {
        let rules = Rules { rate, ..FAST };
        let mut queue = Queue::new(rules);
        let mut starts = Vec::new();
        let mut now = secs(1_000);
        queue.push(Keys::default(), Worth::Plain, now, ());
        while now < secs(1_003) {
            match queue.poll(now) {
                Step::Send { ticket, .. } => {
                    starts.push(now);
                    queue.settle(ticket);
                    queue.push(Keys::default(), Worth::Plain, now, ());
                }
                // As a timer does: rounded up to its granularity of 1 ms, and a millisecond late.
                Step::Wait(Some(until)) => {
                    now = Duration::from_millis(until.as_millis() as u64 + 2);
                }
                other => panic!("{other:?}"),
            }
        }
        let in_second_from = |first: usize| {
            let end = starts[first] + secs(1);
            starts.partition_point(|at| *at < end) - first
        };
        let busiest = (0..starts.len()).map(in_second_from).max();
        let most = rate as usize + (rate as usize) / 50 + 1;
        assert!(busiest.unwrap() <= most, "{rate}: {busiest:?} in a second");
        let least = 3 * rate as usize * 9 / 10;
        assert!(starts.len() >= least, "{rate}: {} in 3 s", starts.len());
    }
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

/// A receiver in virtual time that takes `service` for each request and fails while `down`.
struct Simulation {
    queue: Queue<usize>,
    now: Duration,
    service: Duration,
    down: std::ops::Range<Duration>,
    /// Under way: when the answer comes, which event.
    answers: Vec<(Duration, Ticket, usize)>,
    delivered: Vec<(Duration, usize)>,
    expired: Vec<usize>,
    tries: usize,
}

impl Simulation {
    fn new(rules: Rules, service: Duration, down: std::ops::Range<Duration>) -> Self {
        Self {
            queue: Queue::new(rules),
            now: Duration::ZERO,
            service,
            down,
            answers: Vec::new(),
            delivered: Vec::new(),
            expired: Vec::new(),
            tries: 0,
        }
    }

    fn run_until(&mut self, end: Duration) {
        loop {
            self.answers.sort_by(|a, b| b.cmp(a));
            while let Some(&(at, ticket, event)) = self.answers.last()
                && at <= self.now
            {
                self.answers.pop();
                if self.down.contains(&at) {
                    self.queue.fail(ticket, self.now, None, 0.75);
                } else {
                    self.queue.settle(ticket);
                    self.delivered.push((self.now, event));
                }
            }
            let until = match self.queue.poll(self.now) {
                Step::Send { ticket, item, .. } => {
                    self.tries += 1;
                    self.answers.push((self.now + self.service, ticket, item));
                    continue;
                }
                Step::Expired(event) => {
                    self.expired.push(event);
                    continue;
                }
                Step::Wait(until) => until,
            };
            let answer = self.answers.iter().map(|(at, ..)| *at).min();
            let next = [until, answer, Some(end)].into_iter().flatten().min();
            if self.now == end {
                return;
            }
            let next = next.unwrap();
            assert!(next > self.now, "a wait that is over already");
            self.now = next;
        }
    }
}

#[test]
fn a_receiver_that_is_down_for_ten_minutes_gets_everything_in_order() {
    let rules = Rules {
        rate: 500,
        give_up_after: secs(900),
    };
    let mut simulation = Simulation::new(rules, Duration::from_millis(10), secs(5)..secs(605));
    // One stream per event pair, every second pair of the same uid.
    for pair in 0..600 {
        simulation.run_until(secs(pair));
        let stream = pair as u128;
        let uid = (pair % 2 == 0).then_some("42");
        for event in [2 * pair, 2 * pair + 1] {
            let (now, event) = (simulation.now, event as usize);
            simulation
                .queue
                .push(keys(stream, uid), Worth::Plain, now, event);
        }
    }
    simulation.run_until(secs(2_000));
    assert!(simulation.expired.is_empty());
    assert_eq!(simulation.delivered.len(), 1_200);
    let last = simulation.delivered.last().unwrap().0;
    assert!(last < secs(605 + 120 + 5), "still busy at {last:?}");
    let order: Vec<usize> = simulation
        .delivered
        .iter()
        .map(|(_, event)| *event)
        .collect();
    let of_uid: Vec<usize> = order
        .iter()
        .copied()
        .filter(|event| event / 2 % 2 == 0)
        .collect();
    assert!(of_uid.is_sorted(), "the uid's events came out of order");
    for pair in 0..600 {
        let at = |event| order.iter().position(|other| *other == event).unwrap();
        assert!(
            at(2 * pair) < at(2 * pair + 1),
            "pair {pair} is out of order"
        );
    }
}

#[test]
fn a_receiver_slower_than_the_events_loses_the_oldest_and_never_more_than_it_must() {
    let rules = Rules {
        rate: 500,
        give_up_after: secs(900),
    };
    // 16 at once of 100 ms each are 160 a second; 400 a second come for 100 s.
    let mut simulation = Simulation::new(rules, Duration::from_millis(100), secs(0)..secs(0));
    let mut dropped = Vec::new();
    for event in 0..40_000 {
        simulation.run_until(Duration::from_micros(2_500) * event);
        let (now, event) = (simulation.now, event as usize);
        let pushed = simulation
            .queue
            .push(keys(event as u128, None), Worth::Plain, now, event);
        dropped.extend(pushed);
    }
    simulation.run_until(secs(300));
    assert_eq!(simulation.queue.len(), 0);
    assert_eq!(simulation.delivered.len() + dropped.len(), 40_000);
    assert!(dropped.is_sorted());
    let expected = 40_000 - 16_000 - CAPACITY;
    assert!(dropped.len().abs_diff(expected) < 200, "{}", dropped.len());
}

#[test]
fn a_dead_receiver_costs_few_tries_and_everything_expires() {
    let mut simulation = Simulation::new(
        Rules {
            rate: 500,
            give_up_after: secs(900),
        },
        Duration::from_millis(1),
        secs(0)..secs(10_000),
    );
    for event in 0..100 {
        let keys = keys(event as u128, None);
        simulation.queue.push(keys, Worth::Plain, secs(0), event);
    }
    simulation.run_until(secs(2_000));
    assert_eq!(simulation.expired.len(), 100);
    // 0, then after 0.75, 4.5, 15.75, 60.75 s, then every 90 s until 900 s.
    assert_eq!(simulation.tries, 100 * 14);
}

#[derive(Debug, Clone)]
enum Op {
    Push {
        stream: u128,
        uid: Option<u8>,
        worth: Worth,
    },
    Poll,
    Report {
        which: prop::sample::Index,
        how: How,
    },
    Pass(u64),
    Disable,
    Enable,
}

#[derive(Debug, Clone, Copy)]
enum How {
    Settle,
    Fail,
    Release,
}

fn op() -> impl Strategy<Value = Op> {
    let worth = prop_oneof![Just(Worth::Least), Just(Worth::Plain)];
    let how = prop_oneof![3 => Just(How::Settle), 2 => Just(How::Fail), 1 => Just(How::Release)];
    prop_oneof![
        6 => (0u128..5, prop::option::of(0u8..3), worth)
            .prop_map(|(stream, uid, worth)| Op::Push { stream, uid, worth }),
        8 => Just(Op::Poll),
        6 => (any::<prop::sample::Index>(), how).prop_map(|(which, how)| Op::Report { which, how }),
        3 => (0u64..200_000).prop_map(Op::Pass),
        1 => Just(Op::Disable),
        2 => Just(Op::Enable),
    ]
}

/// What the queue should know, as a list.
struct Known {
    stream: u128,
    uid: Option<u8>,
    state: KnownState,
    occurred: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum KnownState {
    AtRest,
    InFlight(Ticket),
    /// Not to be tried before this.
    Failed(Duration),
    Settled,
}

impl Known {
    fn related(&self, other: &Self) -> bool {
        self.stream == other.stream || (self.uid.is_some() && self.uid == other.uid)
    }
}

fn blocked(all: &[Known], event: usize) -> bool {
    let earlier = &all[..event];
    let open = |other: &&Known| other.state != KnownState::Settled;
    earlier
        .iter()
        .filter(open)
        .any(|other| other.related(&all[event]))
}

/// Checks one answer of the queue against the list; false when it waits.
fn check_step(queue: &mut Queue<usize>, all: &mut [Known], now: Duration, enabled: bool) -> bool {
    let in_flight = |all: &[Known]| {
        let flying = |event: &&Known| matches!(event.state, KnownState::InFlight(_));
        all.iter().filter(flying).count()
    };
    match queue.poll(now) {
        Step::Send { ticket, item, .. } => {
            assert!(enabled, "sent while disabled");
            match all[item].state {
                KnownState::AtRest => {}
                KnownState::Failed(due) => assert!(due <= now, "tried too early"),
                other => panic!("sent while {other:?}"),
            }
            assert!(!blocked(all, item), "{item} overtook an earlier event");
            all[item].state = KnownState::InFlight(ticket);
            assert!(in_flight(all) <= IN_FLIGHT);
            true
        }
        Step::Expired(item) => {
            assert!(!matches!(
                all[item].state,
                KnownState::InFlight(_) | KnownState::Settled
            ));
            assert!(all[item].occurred + FAST.give_up_after <= now);
            all[item].state = KnownState::Settled;
            true
        }
        Step::Wait(until) => {
            assert!(until.is_none_or(|until| until > now));
            for event in 0..all.len() {
                let due = match all[event].state {
                    KnownState::AtRest => true,
                    KnownState::Failed(due) => due <= now,
                    KnownState::InFlight(_) | KnownState::Settled => false,
                };
                let free = enabled && in_flight(all) < IN_FLIGHT;
                assert!(
                    !(due && free) || blocked(all, event),
                    "{event} is held back by nothing"
                );
            }
            false
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn order_holds_nothing_is_lost_and_nothing_comes_twice(ops in prop::collection::vec(op(), 1..300)) {
        let mut queue = Queue::new(FAST);
        let mut all: Vec<Known> = Vec::new();
        let mut now = secs(1_000);
        let mut enabled = true;
        for op in ops {
            match op {
                Op::Push { stream, uid, worth } => {
                    let uid_text = uid.map(|uid| uid.to_string());
                    let dropped = queue.push(keys(stream, uid_text.as_deref()), worth, now, all.len());
                    prop_assert_eq!(dropped, None);
                    all.push(Known { stream, uid, state: KnownState::AtRest, occurred: now });
                }
                Op::Poll => {
                    check_step(&mut queue, &mut all, now, enabled);
                }
                Op::Report { which, how } => {
                    let flying: Vec<(usize, Ticket)> = all.iter().enumerate()
                        .filter_map(|(event, known)| match known.state {
                            KnownState::InFlight(ticket) => Some((event, ticket)),
                            _ => None,
                        })
                        .collect();
                    if flying.is_empty() {
                        continue;
                    }
                    let (event, ticket) = flying[which.index(flying.len())];
                    all[event].state = match how {
                        How::Settle => {
                            prop_assert_eq!(queue.settle(ticket), Some(event));
                            prop_assert_eq!(queue.settle(ticket), None);
                            KnownState::Settled
                        }
                        How::Fail => KnownState::Failed(now + queue.fail(ticket, now, None, 0.6)),
                        How::Release => {
                            queue.release(ticket);
                            KnownState::AtRest
                        }
                    };
                }
                Op::Pass(millis) => now += Duration::from_millis(millis),
                Op::Disable => {
                    queue.disable();
                    enabled = false;
                }
                Op::Enable => {
                    queue.enable(FAST);
                    enabled = true;
                }
            }
            let open = all.iter().filter(|event| event.state != KnownState::Settled).count();
            prop_assert_eq!(queue.len(), open);
        }
        queue.enable(FAST);
        for _ in 0..all.len() + 1 {
            while check_step(&mut queue, &mut all, now, true) {}
            for event in &mut all {
                if let KnownState::InFlight(ticket) = event.state {
                    queue.settle(ticket);
                    event.state = KnownState::Settled;
                }
            }
            now += LONGEST_WAIT;
        }
        prop_assert!(all.iter().all(|event| event.state == KnownState::Settled));
        prop_assert_eq!(queue.len(), 0);
        prop_assert!(queue.oldest().is_none());
        prop_assert!(queue.tails.is_empty() && queue.ages.is_empty() && queue.least.is_empty());
    }
}
