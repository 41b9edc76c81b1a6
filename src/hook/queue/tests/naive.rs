//! The queue against a naive list, over random operations.

use proptest::prelude::*;

use super::*;

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
        prop_assert!(queue.chains.is_empty() && queue.ages.is_empty() && queue.least.is_empty());
    }
}
