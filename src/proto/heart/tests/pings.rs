//! When a ping is due, where it may go, and whose a pong is.

use super::*;
use Place::{BetweenFrames, BetweenMessages};

const WS: Kind = Kind::WebSocket;

/// The instants of the pings to `to`.
fn pings(said: &[(Time, Said)], to: End) -> Vec<Time> {
    let times = said.iter().filter_map(|(when, said)| {
        matches!(said, Said::Ping(end, _) if *end == to).then_some(*when)
    });
    times.collect()
}

#[test]
fn the_first_ping_comes_in_the_second_half_of_an_interval_and_the_others_within_jitter() {
    let policy = Policy {
        ping: ping(20.0, 0.1, When::Idle),
        upstream_ping: Some(secs(20.0)),
        ..off()
    };
    let (mut firsts, mut gaps) = (Vec::new(), Vec::new());
    for seed in 0..200 {
        let said = Stream::open(WS, policy.clone(), seed).play(&[], 200.0);
        for end in End::BOTH {
            let times = pings(&said, end);
            assert!((9..=11).contains(&times.len()), "{times:?}");
            firsts.push(times[0]);
            gaps.extend(times.windows(2).map(|pair| pair[1].0 - pair[0].0));
        }
    }
    assert!(
        firsts
            .iter()
            .all(|first| at(10.0) < *first && *first <= at(20.0))
    );
    assert!(firsts.iter().min() < Some(&at(10.5)) && firsts.iter().max() > Some(&at(19.5)));
    assert!(gaps.iter().all(|gap| (18 * S..=22 * S).contains(gap)));
    assert!(
        gaps.iter().min() < Some(&(18 * S + S / 20))
            && gaps.iter().max() > Some(&(22 * S - S / 20))
    );
}

#[test]
fn many_streams_are_asked_at_few_instants() {
    let policy = Policy {
        ping: ping(1024.0, 0.1, When::Idle),
        ..off()
    };
    let asked = |seed| {
        pings(
            &Stream::open(WS, policy.clone(), seed).play(&[], 1200.0),
            End::Client,
        )
    };
    let firsts: Vec<Time> = (0..200).map(|seed| asked(seed)[0]).collect();
    let common = firsts.iter().filter(|first| first.0 % S == 0).count();
    assert!(
        common >= 195,
        "but for those within a second of half an interval: {common}"
    );
    assert!(firsts.iter().all(|first| at(512.0) < *first));
    let exact = Policy {
        ping: ping(7.7, 0.0, When::Always),
        ..off()
    };
    let times = pings(&Stream::open(WS, exact, 1).play(&[], 100.0), End::Client);
    assert!(
        times
            .windows(2)
            .all(|pair| pair[1].0 - pair[0].0 == 7_700_000_000),
        "without jitter there is no choice: {times:?}"
    );
}

#[test]
fn equal_seeds_give_equal_schedules_and_others_do_not() {
    let policy = Policy {
        ping: ping(20.0, 0.1, When::Idle),
        max_age: Some(secs(200.0)),
        max_age_jitter: 0.5,
        ..off()
    };
    let schedule = |seed| Stream::open(WS, policy.clone(), seed).play(&[], 500.0);
    assert_eq!(schedule(5), schedule(5));
    assert_ne!(schedule(5), schedule(6));
}

#[test]
fn idle_asks_after_silence_and_always_asks_always() {
    let script: Vec<_> = (1..=10)
        .map(|second| (f64::from(second), Op::Read(Client)))
        .collect();
    let idle = Policy {
        ping: ping(4.0, 0.0, When::Idle),
        ..off()
    };
    let said = Stream::pinged(WS, idle.clone()).play(&script, 20.0);
    assert_eq!(pings(&said, Client), [at(14.0), at(18.0)]);
    let always = Policy {
        ping: ping(4.0, 0.0, When::Always),
        ..off()
    };
    let said = Stream::pinged(WS, always).play(&script, 20.0);
    assert_eq!(
        pings(&said, Client),
        [at(4.0), at(8.0), at(12.0), at(16.0), at(20.0)]
    );
    let messages = Policy {
        idle_counts: IdleCounts::Messages,
        ..idle
    };
    let said = Stream::pinged(WS, messages).play(&script, 10.0);
    assert_eq!(
        pings(&said, Client),
        [at(4.0), at(8.0)],
        "bytes that are no message do not put it off"
    );
}

#[test]
fn a_due_ping_may_go_between_frames_after_half_an_interval() {
    let mut stream = Stream::pinged(
        WS,
        Policy {
            ping: ping(4.0, 0.0, When::Idle),
            ..off()
        },
    );
    assert_eq!(stream.wait(3.9), (Some(at(4.0)), None, None));
    assert_eq!(
        stream.wait(4.0),
        (Some(at(6.0)), Some(BetweenMessages), None)
    );
    assert_eq!(
        stream.wait(5.9),
        (Some(at(6.0)), Some(BetweenMessages), None),
        "repeated until queued"
    );
    assert_eq!(stream.wait(6.0), (None, Some(BetweenFrames), None));
    assert_eq!(stream.wait(60.0), (None, Some(BetweenFrames), None));
    stream.on(60.0, Op::Queued(Client));
    assert_eq!(
        stream.wait(70.0),
        (None, None, None),
        "none other is due until it is sent"
    );
    stream.on(71.0, Op::Sent(Client, None));
    assert_eq!(
        stream.wait(71.0),
        (Some(at(75.0)), None, None),
        "counted from its last byte"
    );
}

#[test]
fn a_client_heard_meanwhile_is_not_asked() {
    let mut stream = Stream::pinged(
        WS,
        Policy {
            ping: ping(4.0, 0.0, When::Idle),
            ..off()
        },
    );
    assert_eq!(stream.wait(4.5).1, Some(BetweenMessages));
    stream.on(4.7, Op::Read(Client));
    assert_eq!(stream.wait(4.7), (Some(at(8.7)), None, None));
}

#[test]
fn an_unanswered_ping_of_the_app_holds_ours_off_until_a_pong_or_the_last_chance() {
    let policy = Policy {
        idle_limit: Some(secs(20.0)),
        ping: ping(4.0, 0.0, When::Idle),
        ..off()
    };
    let held = [(1.0, Op::Read(Client)), (2.0, Op::AppPing(Client))];
    let said = Stream::pinged(WS, policy.clone()).play(&held, 100.0);
    let expected = [
        (at(17.0), Said::Ping(Client, BetweenMessages)), // 1 + (20 - 4): asked once before it is closed
        (at(21.0), Said::Close(Reason::ClientIdle)),
    ];
    assert_eq!(said, expected);

    let answered = [
        held.to_vec(),
        vec![(9.0, Op::Read(Client)), (9.0, Op::Pong(Client, None))],
    ]
    .concat();
    let said = Stream::pinged(WS, policy).play(&answered, 16.9);
    assert_eq!(pings(&said, Client), [at(13.0)]);
}

#[test]
fn without_a_limit_only_a_pong_of_that_end_ends_the_hold_off() {
    let policy = Policy {
        ping: ping(4.0, 0.0, When::Idle),
        ..off()
    };
    let mut stream = Stream::pinged(WS, policy);
    stream
        .on(1.0, Op::AppPing(Client))
        .on(2.0, Op::Pong(Upstream, None));
    assert_eq!(stream.wait(1e6), (None, None, None));
    stream.on(1e6, Op::Pong(Client, Some(9)));
    assert_eq!(
        stream.wait(1e6).1,
        Some(BetweenFrames),
        "the wait itself was over long ago"
    );
}

#[test]
fn the_upstream_leg_has_its_own_hold_off() {
    let policy = Policy {
        upstream_ping: Some(secs(4.0)),
        upstream_idle_limit: Some(secs(20.0)),
        ..off()
    };
    let mut stream = Stream::open(WS, policy.clone(), 3);
    stream
        .on(1.0, Op::Read(Upstream))
        .on(1.0, Op::AppPing(Upstream));
    assert_eq!(stream.wait(16.9), (Some(at(17.0)), None, None));
    assert_eq!(
        stream.wait(17.0),
        (Some(at(19.0)), None, Some(BetweenMessages))
    );
    stream.on(17.5, Op::Pong(Upstream, None));
    assert_eq!(stream.wait(17.5).2, Some(BetweenFrames));

    let mut unlimited = Stream::open(
        WS,
        Policy {
            upstream_idle_limit: None,
            ..policy
        },
        3,
    );
    unlimited.on(1.0, Op::AppPing(Upstream));
    assert_eq!(unlimited.wait(99.0), (None, None, None));
}

#[test]
fn only_a_ws_upstream_gets_ping_frames() {
    let policy = Policy {
        upstream_ping: Some(secs(4.0)),
        ..off()
    };
    for kind in [Kind::Records, Kind::Raw] {
        assert_eq!(
            Stream::open(kind, policy.clone(), 1).wait(99.0),
            (None, None, None)
        );
    }
}

#[test]
fn on_raw_a_heartbeat_waits_for_a_whole_interval_of_the_upstreams_silence() {
    let policy = Policy {
        ping: ping(4.0, 0.0, When::Idle),
        ..off()
    };
    let chatter: Vec<_> = (1..=10)
        .map(|second| (f64::from(second), Op::Read(Upstream)))
        .collect();
    let said = Stream::pinged(Kind::Raw, policy.clone()).play(&chatter, 16.0);
    assert_eq!(pings(&said, Client), [at(14.0)]);
    let said = Stream::pinged(Kind::Records, policy.clone()).play(&chatter, 9.0);
    assert_eq!(
        pings(&said, Client),
        [at(4.0), at(8.0)],
        "records show where they end"
    );

    let mut blocked = Stream::pinged(Kind::Raw, policy);
    blocked.on(1.0, Op::Blocked(Client));
    assert_eq!(
        blocked.wait(99.0),
        (None, None, None),
        "half of something may wait for the client"
    );
    blocked.on(100.0, Op::Unblocked(Client));
    assert_eq!(blocked.wait(100.0), (Some(at(104.0)), None, None));
}

#[test]
fn the_ping_clock_stands_still_while_the_client_is_not_read() {
    let policy = Policy {
        ping: ping(4.0, 0.0, When::Always),
        ..off()
    };
    let mut stream = Stream::pinged(WS, policy);
    stream.on(3.0, Op::Blocked(Upstream));
    assert_eq!(stream.wait(50.0), (None, None, None));
    stream.on(50.0, Op::Progressed(Upstream));
    assert_eq!(stream.wait(60.0), (None, None, None));
    stream.on(60.0, Op::Unblocked(Upstream));
    assert_eq!(stream.wait(60.0), (Some(at(61.0)), None, None));
    stream.on(61.5, Op::Blocked(Upstream));
    assert_eq!(
        stream.wait(99.0),
        (None, Some(BetweenMessages), None),
        "was due before, and stays so"
    );
}

/// It does not answer to the other end any more, or nothing can be written to it any more.
#[test]
fn nobody_is_asked_after_a_fin_of_either_end() {
    let policy = Policy {
        ping: ping(4.0, 0.0, When::Always),
        ..off()
    };
    for end in End::BOTH {
        let mut stream = Stream::pinged(Kind::Records, policy.clone());
        assert_eq!(
            stream.on(1.0, Op::HalfClosed(end)).wait(99.0),
            (None, None, None)
        );
    }
}

#[test]
fn a_pong_is_ours_by_one_of_the_last_four_tokens_of_that_end() {
    for (end, other) in [(Client, Upstream), (Upstream, Client)] {
        let mut heart = Heart::new(Time(0), WS, 1);
        assert_eq!(
            heart.pong(end, Some([0; 8]), at(1.0)),
            Pong::Theirs,
            "no ping, no answer"
        );
        for number in 1..=5 {
            heart.ping_sent(end, Some(token(number)), at(number as f64));
        }
        heart.ping_sent(end, None, at(6.0));
        let now = at(10.0);
        assert_eq!(
            heart.pong(end, Some(token(1)), now),
            Pong::Theirs,
            "the fifth last"
        );
        for number in 2..=5 {
            let rtt = secs(10.0 - number as f64);
            assert_eq!(
                heart.pong(end, Some(token(number)), now),
                Pong::Ours { rtt }
            );
            assert_eq!(heart.pong(other, Some(token(number)), now), Pong::Theirs);
        }
        assert_eq!(heart.pong(end, Some(token(9)), now), Pong::Theirs);
        assert_eq!(heart.pong(end, None, now), Pong::Theirs);
        assert_eq!(
            heart.pong(end, Some(token(5)), now),
            Pong::Ours { rtt: secs(5.0) },
            "even twice"
        );
    }
}

/// When the client is asked within 20 s, every 6 s without jitter, in each of `rules::situations()`.
#[rustfmt::skip]
fn asked() -> [(&'static str, Kind, Policy, [&'static [f64]; 8]); 5] {
    let idle = Policy { ping: ping(6.0, 0.0, When::Idle), ..off() };
    let always = Policy { ping: ping(6.0, 0.0, When::Always), ..off() };
    let messages = Policy { idle_counts: IdleCounts::Messages, ..idle.clone() };
    const ON: &[f64] = &[6., 12., 18.];
    const HEARD: &[f64] = &[10., 16.];
    const STOOD: &[f64] = &[11., 17.];
    const NO: &[f64] = &[];
    [
        // columns:                            client up     pong   trickle chatty full ours   reload
        ("idle",     WS,            idle.clone(), [HEARD, ON,    HEARD, NO,     ON,    ON,  STOOD, ON]),
        ("always",   WS,            always,       [ON,    ON,    ON,    ON,     ON,    ON,  STOOD, ON]),
        ("messages", WS,            messages,     [HEARD, ON,    ON,    ON,     ON,    ON,  STOOD, ON]),
        ("records",  Kind::Records, idle.clone(), [HEARD, ON,    HEARD, NO,     ON,    ON,  STOOD, ON]),
        // nothing goes where the app may be in the middle of something
        ("raw",      Kind::Raw,     idle,         [HEARD, HEARD, HEARD, NO,     NO,    NO,  STOOD, ON]),
    ]
}

#[test]
fn the_client_is_asked_at_its_instants_in_each_situation() {
    let mut seen = 0;
    for (name, kind, policy, columns) in asked() {
        for (column, (situation, mut script)) in super::rules::situations().into_iter().enumerate()
        {
            let mut first = policy.clone();
            if column == 7 {
                first.ping.as_mut().unwrap().interval = secs(12.0);
                script.push((4.0, Op::Reload(Box::new(policy.clone()), secs(1.0))));
            }
            let said = Stream::pinged(kind, first).play(&script, 20.0);
            let expected: Vec<_> = columns[column].iter().map(|when| at(*when)).collect();
            assert_eq!(pings(&said, Client), expected, "{name}: {situation}");
            seen += 1;
        }
    }
    assert_eq!(seen, 40);
}
