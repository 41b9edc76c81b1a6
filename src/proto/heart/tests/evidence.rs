//! What the heart tells about a side: its silence, its round trips, and whether it may be asked.

use super::*;

const WS: Kind = Kind::WebSocket;

/// The silence of `end` in seconds, and after how many of them it was asked in vain.
fn silence(stream: &Stream, end: End) -> (f64, Vec<f64>) {
    let (silent, asked) = stream.heart.silence(end, &stream.policy, stream.now);
    let asked = asked.iter().map(Duration::as_secs_f64).collect();
    (silent.as_secs_f64(), asked)
}

#[test]
fn silence_is_told_with_the_questions_that_nothing_followed() {
    let mut stream = Stream::open(WS, off(), 1);
    stream.now = at(3.0);
    assert_eq!(silence(&stream, Client), (3.0, vec![]));
    stream
        .on(5.0, Op::Sent(Client, Some(1)))
        .on(10.0, Op::Read(Client))
        .on(10.0, Op::Sent(Client, Some(2)))
        .on(15.0, Op::Read(Upstream))
        .on(20.0, Op::Sent(Client, Some(3)))
        .on(25.0, Op::Sent(Upstream, Some(4)))
        .on(30.0, Op::Sent(Client, Some(5)));
    stream.now = at(40.0);
    assert_eq!(silence(&stream, Client), (30.0, vec![10.0, 20.0]));
    assert_eq!(silence(&stream, Upstream), (25.0, vec![10.0]));
    stream.on(41.0, Op::Read(Client));
    assert_eq!(silence(&stream, Client), (0.0, vec![]));
}

#[test]
fn of_many_questions_in_vain_the_last_four_are_told() {
    let policy = Policy {
        idle_counts: IdleCounts::Messages,
        ..off()
    };
    for (kind, number) in [(WS, Some(1)), (WS, None), (Kind::Raw, None)] {
        let mut stream = Stream::open(kind, policy.clone(), 1);
        for seconds in 1..=6 {
            stream.on(f64::from(seconds), Op::Sent(Client, number));
        }
        // Bytes that are no message do not count here.
        stream.on(8.0, Op::Read(Client));
        let (silent, asked) = silence(&stream, Client);
        assert_eq!((silent, asked), (8.0, vec![3.0, 4.0, 5.0, 6.0]));
        stream.on(9.0, Op::Message(Client));
        assert_eq!(silence(&stream, Client), (0.0, vec![]));
    }
}

#[test]
fn a_reply_answers_all_heartbeats_of_data_and_its_round_trip_is_that_of_the_newest() {
    let mut stream = Stream::open(WS, off(), 1);
    assert_eq!(stream.heart.reply(at(1.0)), None);
    stream.on(5.0, Op::Sent(Client, None));
    stream.on(9.0, Op::Sent(Client, None));
    assert_eq!(stream.heart.reply(at(9.25)), Some(secs(0.25)));
    assert_eq!(stream.heart.reply(at(9.5)), None);
    stream.on(20.0, Op::Sent(Client, None));
    assert_eq!(stream.heart.reply(at(21.0)), Some(secs(1.0)));
}

#[test]
fn a_side_is_held_off_from_the_apps_ping_to_its_pong() {
    let mut stream = Stream::open(WS, off(), 1);
    let held_off = |stream: &Stream| End::BOTH.map(|end| stream.heart.holds_off(end));
    assert_eq!(held_off(&stream), [false, false]);
    stream.on(1.0, Op::AppPing(Client));
    assert_eq!(held_off(&stream), [true, false]);
    stream.on(2.0, Op::AppPing(Upstream));
    stream.on(3.0, Op::Pong(Client, None));
    assert_eq!(held_off(&stream), [false, true]);
}
