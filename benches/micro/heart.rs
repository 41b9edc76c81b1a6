//! The heart: what a read costs, and a look at the clock.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, Criterion};
use sidebeat::proto::cause::End;
use sidebeat::proto::heart::{
    Heart, IdleCounts, Kind, Mode, PingPolicy, Policy, Time, Verdict, When,
};

const SECOND: u64 = 1_000_000_000;

pub(crate) fn benches(criterion: &mut Criterion) {
    let policy = defaults();
    let mut heart = criterion.benchmark_group("heart");
    heart.bench_function("heard", |bencher| {
        let (mut heart, mut now) = (fresh(), 0);
        bencher.iter(|| {
            now += 1000;
            heart.message(End::Client, black_box(Time(now)));
        });
    });
    heart.bench_function("verdict, idle", |bencher| {
        let mut heart = fresh();
        bencher.iter(|| heart.verdict(black_box(Time(SECOND)), &policy));
    });
    heart.bench_function("heard, then verdict", |bencher| {
        let (mut heart, mut now) = (fresh(), 0);
        bencher.iter(|| {
            now += 1000;
            heart.message(End::Client, black_box(Time(now)));
            heart.verdict(Time(now), &policy)
        });
    });
    heart.bench_function("ping due, sent and answered", |bencher| {
        bencher.iter_batched_ref(
            fresh,
            |heart| {
                let due = Time(26 * SECOND);
                let verdict = heart.verdict(black_box(due), &policy);
                assert!(matches!(
                    verdict,
                    Verdict::Wait {
                        ping_client: Some(_),
                        ..
                    }
                ));
                heart.ping_queued(End::Client);
                heart.ping_sent(End::Client, Some([7; 8]), due);
                heart.verdict(due, &policy);
                heart.pong(End::Client, Some([7; 8]), Time(27 * SECOND))
            },
            BatchSize::SmallInput,
        );
    });
    heart.finish();
}

fn fresh() -> Heart {
    Heart::new(Time(0), Kind::WebSocket, 7)
}

/// What a ws listener has without a word about heartbeats.
fn defaults() -> Policy {
    Policy {
        idle_limit: Some(Duration::from_secs(55)),
        idle_counts: IdleCounts::Traffic,
        ping: Some(PingPolicy {
            interval: Duration::from_secs(25),
            jitter: 0.1,
            when: When::Idle,
        }),
        upstream_ping: None,
        upstream_idle_limit: None,
        quiet_limit: None,
        first_message_limit: None,
        max_age: None,
        max_age_jitter: 0.1,
        stall_limit: Some(Duration::from_secs(60)),
        half_close_limit: None,
        close_timeout: Duration::from_secs(5),
        mode: Mode::Enforce,
    }
}
