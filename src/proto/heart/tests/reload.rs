//! What a reload changes for streams that are open.

use super::*;

const WS: Kind = Kind::WebSocket;

fn reload(when: f64, new: &Policy) -> (f64, Op) {
    (when, Op::Reload(Box::new(new.clone()), secs(10.0)))
}

fn idle(limit: f64) -> Policy {
    Policy {
        idle_limit: Some(secs(limit)),
        ..off()
    }
}

fn closed_at(policy: &Policy, script: &[(f64, Op)]) -> Vec<(Time, Said)> {
    Stream::open(WS, policy.clone(), 1).play(script, 1000.0)
}

fn client_idle(when: f64) -> [(Time, Said); 1] {
    [(at(when), Said::Close(Reason::ClientIdle))]
}

#[test]
fn a_shortened_limit_gives_every_stream_the_whole_new_limit() {
    assert_eq!(
        closed_at(&idle(100.0), &[reload(90.0, &idle(20.0))]),
        client_idle(110.0)
    );
    assert_eq!(
        closed_at(&off(), &[reload(90.0, &idle(20.0))]),
        client_idle(110.0),
        "off is longer than any"
    );
    assert_eq!(
        closed_at(
            &idle(100.0),
            &[reload(90.0, &idle(20.0)), (95.0, Op::Read(Client))]
        ),
        client_idle(115.0)
    );
}

#[test]
fn a_lengthened_limit_takes_effect_at_once() {
    assert_eq!(
        closed_at(&idle(20.0), &[reload(19.0, &idle(50.0))]),
        client_idle(50.0)
    );
    assert_eq!(closed_at(&idle(20.0), &[reload(19.0, &off())]), []);
}

#[test]
fn the_newest_shortening_counts_and_a_reload_that_shortens_nothing_keeps_it() {
    let script = [
        reload(90.0, &idle(50.0)),
        reload(95.0, &idle(10.0)),
        reload(100.0, &idle(10.0)),
    ];
    assert_eq!(closed_at(&idle(100.0), &script), client_idle(105.0));
    let script = [reload(90.0, &idle(50.0)), reload(95.0, &idle(60.0))];
    assert_eq!(closed_at(&idle(100.0), &script), client_idle(140.0));
}

#[test]
fn counting_messages_only_is_a_shortening() {
    let messages = Policy {
        idle_counts: IdleCounts::Messages,
        ..idle(10.0)
    };
    let script = [
        (5.0, Op::Read(Client)),
        (12.0, Op::Read(Client)),
        reload(20.0, &messages),
    ];
    assert_eq!(closed_at(&idle(10.0), &script), client_idle(30.0));
    let back = [(5.0, Op::Read(Client)), reload(8.0, &idle(10.0))];
    assert_eq!(closed_at(&messages, &back), client_idle(15.0));
}

#[test]
fn enforcing_what_was_observed_is_a_shortening() {
    let observe = Policy {
        mode: Mode::Observe,
        ..idle(10.0)
    };
    let said = closed_at(&observe, &[reload(50.0, &idle(10.0))]);
    let expected = [
        (at(10.0), Said::Overdue(Reason::ClientIdle)),
        (at(60.0), Said::Close(Reason::ClientIdle)),
    ];
    assert_eq!(said, expected);

    let said = closed_at(
        &observe,
        &[reload(50.0, &idle(10.0)), reload(55.0, &observe)],
    );
    let expected = [
        (at(10.0), Said::Overdue(Reason::ClientIdle)),
        (at(60.0), Said::Overdue(Reason::ClientIdle)),
    ];
    assert_eq!(said, expected, "observed anew, told anew");
}

#[test]
fn streams_beyond_a_lowered_max_age_are_spread_and_the_others_are_not() {
    let age = |seconds: f64| Policy {
        max_age: Some(secs(seconds)),
        ..off()
    };
    let ends = |from: &Policy, to: &Policy| -> Vec<Time> {
        let script = [reload(50.0, to)];
        let end = |seed| Stream::open(WS, from.clone(), seed).play(&script, 1000.0);
        let ends: Vec<_> = (0..200).map(end).collect();
        assert!(
            ends.iter()
                .all(|said| said.len() == 1 && said[0].1 == Said::Close(Reason::MaxAge))
        );
        ends.iter().map(|said| said[0].0).collect()
    };
    for (from, to) in [(age(100.0), age(50.0)), (off(), age(20.0))] {
        let ends = ends(&from, &to);
        assert!(ends.iter().all(|end| at(50.0) < *end && *end <= at(60.0)));
        assert!(ends.iter().min() < Some(&at(50.5)) && ends.iter().max() > Some(&at(59.5)));
    }
    assert!(
        ends(&age(100.0), &age(51.0))
            .iter()
            .all(|end| *end == at(51.0))
    );
    assert!(
        ends(&age(100.0), &age(200.0))
            .iter()
            .all(|end| *end == at(200.0))
    );
}

#[test]
fn a_second_reload_does_not_draw_again() {
    let age = |seconds: f64| Policy {
        max_age: Some(secs(seconds)),
        ..off()
    };
    let once = closed_at(&age(100.0), &[reload(50.0, &age(20.0))]);
    let again = Policy {
        idle_limit: Some(secs(500.0)),
        ..age(20.0)
    };
    assert_eq!(
        closed_at(
            &age(100.0),
            &[reload(50.0, &age(20.0)), reload(50.0, &again)]
        ),
        once
    );
}

#[test]
fn a_new_ping_interval_applies_at_once_with_the_draw_of_the_ping_under_way() {
    let pings = |interval| Policy {
        ping: ping(interval, 0.0, When::Idle),
        ..off()
    };
    let mut stream = Stream::pinged(WS, pings(20.0));
    assert_eq!(stream.wait(5.0).0, Some(at(20.0)));
    stream.apply(&reload(5.0, &pings(4.0)).1);
    assert_eq!(
        stream.wait(5.0),
        (Some(at(6.0)), Some(Place::BetweenMessages), None)
    );
    stream.apply(&reload(5.0, &pings(8.0)).1);
    assert_eq!(stream.wait(5.0), (Some(at(8.0)), None, None));
}

#[test]
fn a_lengthened_limit_does_not_make_an_observed_silence_heard() {
    let observe = |limit| Policy {
        mode: Mode::Observe,
        ..idle(limit)
    };
    let script = [
        reload(15.0, &observe(20.0)),
        reload(16.0, &observe(5.0)),
        (30.0, Op::Read(Client)),
    ];
    let said = Stream::open(WS, observe(10.0), 1).play(&script, 34.0);
    let expected = [
        (at(10.0), Said::Overdue(Reason::ClientIdle)),
        (at(30.0), Said::HeardAgain(Reason::ClientIdle, secs(20.0))),
    ];
    assert_eq!(said, expected);
}

#[test]
fn a_floor_passes_while_the_clock_stands_still_too() {
    let mut stream = Stream::open(WS, idle(100.0), 1);
    stream.on(30.0, Op::Blocked(Upstream));
    stream.now = at(40.0);
    stream.apply(&reload(40.0, &idle(20.0)).1);
    assert_eq!(
        stream.wait(40.0),
        (Some(at(60.0)), None, None),
        "30 s of silence were before"
    );
    assert_eq!(
        stream.verdict(60.0),
        Verdict::Close {
            reason: Reason::ClientIdle,
            due: at(60.0)
        }
    );
}
