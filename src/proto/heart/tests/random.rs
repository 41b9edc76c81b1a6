//! Random lives of streams: the heart against the naive model, the manual's rule, and nonsense.

use std::env;

use proptest::prelude::*;
use proptest::sample::select;

use super::naive::Naive;
use super::*;

/// One step of a random life.
#[derive(Debug, Clone)]
enum Step {
    /// Time passes: half seconds and then some nanoseconds.
    Pass(u64, u64),
    /// Time passes until the heart wants to be asked.
    PassUntil,
    /// Time passes until just before that.
    PassAlmost,
    Do(Op),
    Ask,
}

/// `PROPTEST_CASES`, or 2,000.
fn cases() -> u32 {
    let cases = env::var("PROPTEST_CASES")
        .ok()
        .and_then(|cases| cases.parse().ok());
    cases.unwrap_or(2000)
}

fn any_end() -> impl Strategy<Value = End> {
    select(vec![Client, Upstream])
}

fn any_limit() -> impl Strategy<Value = Option<Duration>> {
    prop_oneof![
        2 => Just(None),
        3 => (2..30_u64).prop_map(|halves| Some(Duration::from_millis(halves * 500))),
    ]
}

fn any_ping() -> impl Strategy<Value = Option<PingPolicy>> {
    let ping = (
        1..12_u64,
        select(vec![0.0, 0.1, 0.5]),
        select(vec![When::Idle, When::Always]),
    );
    let ping = ping.prop_map(|(halves, jitter, when)| PingPolicy {
        interval: Duration::from_millis(halves * 500),
        jitter,
        when,
    });
    proptest::option::weighted(0.7, ping)
}

fn any_policy() -> impl Strategy<Value = Policy> {
    let limits = proptest::array::uniform7(any_limit());
    let upstream_ping =
        proptest::option::of((1..12_u64).prop_map(|halves| Duration::from_millis(halves * 500)));
    let counts = select(vec![
        IdleCounts::Traffic,
        IdleCounts::Traffic,
        IdleCounts::Messages,
    ]);
    let mode = select(vec![Mode::Enforce, Mode::Observe]);
    let jitter = select(vec![0.0, 0.3]);
    (limits, any_ping(), upstream_ping, counts, mode, jitter).prop_map(
        |(limits, ping, upstream_ping, idle_counts, mode, max_age_jitter)| {
            let [
                idle_limit,
                upstream_idle_limit,
                quiet_limit,
                first_message_limit,
                max_age,
                stall_limit,
                half_close_limit,
            ] = limits;
            Policy {
                idle_limit,
                idle_counts,
                ping,
                upstream_ping,
                upstream_idle_limit,
                quiet_limit,
                first_message_limit,
                // longer than the others, so that they get their turn
                max_age: max_age.map(|age| age * 4),
                max_age_jitter,
                stall_limit,
                half_close_limit,
                close_timeout: secs(5.0),
                mode,
            }
        },
    )
}

fn any_op() -> impl Strategy<Value = Op> {
    let number = || proptest::option::of(0..6_u64);
    prop_oneof![
        5 => any_end().prop_map(Op::Read),
        4 => any_end().prop_map(Op::Message),
        1 => Just(Op::Reply),
        2 => any_end().prop_map(Op::AppPing),
        3 => (any_end(), number()).prop_map(|(from, number)| Op::Pong(from, number)),
        2 => any_end().prop_map(Op::Queued),
        4 => (any_end(), number()).prop_map(|(to, number)| Op::Sent(to, number)),
        4 => any_end().prop_map(Op::Blocked),
        3 => any_end().prop_map(Op::Progressed),
        4 => any_end().prop_map(Op::Unblocked),
        1 => any_end().prop_map(Op::HalfClosed),
        1 => (any_policy(), 0..8_u64).prop_map(|(policy, spread)| Op::Reload(Box::new(policy), Duration::from_secs(spread))),
    ]
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..12_u64, prop_oneof![4 => Just(0), 1 => 0..3_u64]).prop_map(|(halves, nanos)| Step::Pass(halves, nanos)),
        3 => Just(Step::PassUntil),
        1 => Just(Step::PassAlmost),
        9 => any_op().prop_map(Step::Do),
        3 => Just(Step::Ask),
    ]
}

fn any_kind() -> impl Strategy<Value = Kind> {
    select(vec![Kind::WebSocket, Kind::Records, Kind::Raw])
}

/// Asks both until they wait, and holds the answer to what it promises. Gives back the answer.
fn ask(stream: &mut Stream, naive: &mut Naive) -> Result<Verdict, TestCaseError> {
    let now = stream.now;
    prop_assert_eq!(stream.heart.deadline(&stream.policy), naive.deadline(now));
    loop {
        let verdict = stream.heart.verdict(now, &stream.policy);
        prop_assert_eq!(&verdict, &naive.verdict(now), "at {:?}", now);
        match verdict {
            Verdict::Wait { until, .. } => {
                prop_assert!(until.is_none_or(|until| until > now));
                return Ok(verdict);
            }
            Verdict::Close { due, .. } => {
                prop_assert!(due <= now);
                prop_assert_eq!(stream.policy.mode, Mode::Enforce);
                return Ok(verdict);
            }
            Verdict::Overdue { .. } | Verdict::HeardAgain { .. } => {
                prop_assert_eq!(stream.policy.mode, Mode::Observe);
            }
        }
    }
}

fn until(answer: &Verdict) -> Option<Time> {
    match answer {
        Verdict::Wait { until, .. } => *until,
        Verdict::Close { .. } | Verdict::Overdue { .. } | Verdict::HeardAgain { .. } => None,
    }
}

/// `Wait` without a ping: nothing to do.
fn is_calm(answer: &Verdict) -> bool {
    let (ping_client, ping_upstream) = (None, None);
    let until = until(answer);
    *answer
        == Verdict::Wait {
            until,
            ping_client,
            ping_upstream,
        }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]
    fn the_heart_agrees_with_the_naive_model_at_every_instant(
        kind in any_kind(),
        policy in any_policy(),
        seed: u64,
        steps in proptest::collection::vec(any_step(), 1..50),
    ) {
        let mut stream = Stream::open(kind, policy.clone(), seed);
        let mut naive = Naive::open(kind, policy, seed);
        let mut answer = ask(&mut stream, &mut naive)?;
        // enforce, and since the last answer both ends were only heard
        let mut only_heard = stream.policy.mode == Mode::Enforce;
        for step in steps {
            match step {
                Step::Pass(halves, nanos) => stream.now.0 += halves * S / 2 + nanos,
                Step::PassUntil => stream.now = until(&answer).map_or(stream.now, |until| until.max(stream.now)),
                Step::PassAlmost => {
                    stream.now = until(&answer).map_or(stream.now, |until| Time(until.0 - 1).max(stream.now));
                }
                Step::Do(op) => {
                    only_heard &= matches!(op, Op::Read(_) | Op::Message(_) | Op::Reply);
                    naive.apply(&op, stream.now);
                    let pong = stream.apply(&op);
                    if let Op::Pong(from, number) = op {
                        prop_assert_eq!(pong, Some(naive.pong(from, number, stream.now)));
                    }
                    continue;
                }
                Step::Ask => {}
            }
            let next = ask(&mut stream, &mut naive)?;
            let before = until(&answer).unwrap_or(Time::NEVER);
            if only_heard && is_calm(&answer) && stream.now < before {
                prop_assert!(is_calm(&next) && until(&next).unwrap_or(Time::NEVER) >= before);
            }
            only_heard = stream.policy.mode == Mode::Enforce;
            answer = next;
        }
    }

    /// The rule of the Workerman manual, with a deadline that is kept: closed iff not heard for the limit.
    #[test]
    fn a_stream_asked_only_at_until_is_closed_exactly_at_the_first_silence_of_a_whole_limit(
        gaps in proptest::collection::vec(prop_oneof![1..10 * S, Just(10 * S - 1), Just(10 * S), 10 * S..12 * S], 0..20),
        ping in any_ping(),
        seed: u64,
    ) {
        let limit = 10 * S;
        let policy = Policy { idle_limit: Some(Duration::from_nanos(limit)), ping, ..off() };
        let mut heard = 0;
        let mut script = Vec::new();
        // a byte at the instant of the deadline was read before the heart was asked: heard
        for gap in gaps.iter().take_while(|gap| **gap <= limit) {
            heard += gap;
            script.push(Time(heard));
        }
        let mut stream = Stream::open(Kind::WebSocket, policy, seed);
        let mut events = script.iter().peekable();
        loop {
            while events.next_if(|when| **when == stream.now).is_some() {
                stream.apply(&Op::Read(Client));
            }
            match stream.heart.verdict(stream.now, &stream.policy) {
                Verdict::Wait { ping_client: Some(_), .. } => {
                    stream.apply(&Op::Sent(Client, None));
                }
                Verdict::Wait { until, .. } => {
                    let until = until.unwrap();
                    stream.now = events.peek().map_or(until, |when| until.min(**when));
                }
                verdict => {
                    let due = Time(heard + limit);
                    prop_assert_eq!(verdict, Verdict::Close { reason: Reason::ClientIdle, due });
                    prop_assert_eq!(stream.now, due);
                    break;
                }
            }
        }
    }

}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases() / 8))]

    /// Any order of calls, any instant, any length: no panic, an end of asking, and `until` ahead.
    #[test]
    fn nonsense_is_answered(
        kind in any_kind(),
        opened in any_instant(),
        policies in proptest::collection::vec(any_absurd_policy(), 1..4),
        seed: u64,
        steps in proptest::collection::vec((any_instant(), any_op(), 0..4_usize), 0..40),
    ) {
        let mut heart = Heart::new(opened, kind, seed);
        for end in End::BOTH {
            heart.ping_sent(end, Some(token(seed)), opened);
        }
        let mut stream = Stream { heart, policy: policies[0].clone(), now: opened };
        for (now, op, policy) in steps {
            stream.now = now;
            match (op, policies.get(policy)) {
                (Op::Reload(_, spread), Some(policy)) => stream.apply(&Op::Reload(Box::new(policy.clone()), spread)),
                (op, _) => stream.apply(&op),
            };
            let _ = stream.heart.deadline(&stream.policy);
            let mut asked = 0;
            loop {
                match stream.heart.verdict(now, &stream.policy) {
                    Verdict::Wait { until, .. } => {
                        prop_assert!(until.is_none_or(|until| until > now));
                        break;
                    }
                    Verdict::Close { due, .. } => {
                        prop_assert!(due <= now);
                        break;
                    }
                    Verdict::Overdue { .. } | Verdict::HeardAgain { .. } => asked += 1,
                }
                prop_assert!(asked <= 16, "two answers a limit at most");
            }
        }
    }
}

fn any_instant() -> impl Strategy<Value = Time> {
    prop_oneof![
        any::<u64>(),
        0..100 * S,
        Just(0),
        Just(u64::MAX),
        Just(u64::MAX - 1)
    ]
    .prop_map(Time)
}

fn any_absurd_policy() -> impl Strategy<Value = Policy> {
    let length = || {
        let lengths = [
            Duration::ZERO,
            Duration::from_nanos(1),
            secs(1.0),
            Duration::from_nanos(u64::MAX),
            Duration::MAX,
        ];
        select(lengths.to_vec())
    };
    let jitter = || select(vec![0.0, 1.0, -1.0, 1e300, f64::NAN, f64::INFINITY]);
    (
        any_policy(),
        proptest::array::uniform8(length()),
        jitter(),
        jitter(),
    )
        .prop_map(|(mut policy, lengths, jitter, max_age_jitter)| {
            let limits = [
                &mut policy.idle_limit,
                &mut policy.upstream_idle_limit,
                &mut policy.quiet_limit,
                &mut policy.first_message_limit,
                &mut policy.max_age,
                &mut policy.stall_limit,
                &mut policy.half_close_limit,
                &mut policy.upstream_ping,
            ];
            for (limit, length) in limits.into_iter().zip(lengths) {
                *limit = limit.map(|_| length);
            }
            if let Some(ping) = &mut policy.ping {
                ping.interval = lengths[0];
                ping.jitter = jitter;
            }
            policy.max_age_jitter = max_age_jitter;
            policy
        })
}
