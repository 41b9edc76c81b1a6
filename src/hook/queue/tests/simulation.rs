//! The queue in virtual hours.

use super::*;

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
