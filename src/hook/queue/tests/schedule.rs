//! When an event is tried again, expires, or waits for the rate.

use super::*;

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
