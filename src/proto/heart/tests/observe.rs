//! What `observe` tells instead of closing.

use super::*;

#[test]
fn observe_tells_once_per_silence_and_how_late_the_stream_was_heard_again() {
    let policy = Policy {
        idle_limit: Some(secs(10.0)),
        mode: Mode::Observe,
        ..off()
    };
    let script = [
        (13.0, Op::Read(Client)),
        (30.0, Op::Read(Client)),
        (30.0, Op::Read(Client)),
        (35.0, Op::Read(Client)),
    ];
    let said = Stream::open(Kind::WebSocket, policy, 1).play(&script, 100.0);
    let idle = Reason::ClientIdle;
    let expected = [
        (at(10.0), Said::Overdue(idle)),
        (at(13.0), Said::HeardAgain(idle, secs(3.0))),
        (at(23.0), Said::Overdue(idle)),
        (at(30.0), Said::HeardAgain(idle, secs(7.0))),
        (at(45.0), Said::Overdue(idle)),
    ];
    assert_eq!(said, expected);
}

#[test]
fn observe_tells_of_each_kind_of_limit_when_it_was_heard_again() {
    let limit = Some(secs(10.0));
    let rows = [
        (
            Policy {
                first_message_limit: limit,
                ..off()
            },
            vec![(12.0, Op::Message(Client)), (13.0, Op::Message(Client))],
            Reason::NoFirstMessage,
        ),
        (
            Policy {
                quiet_limit: limit,
                ..off()
            },
            vec![(12.0, Op::Message(Upstream))],
            Reason::Quiet,
        ),
        (
            Policy {
                stall_limit: limit,
                ..off()
            },
            vec![(0.0, Op::Blocked(Client)), (12.0, Op::Unblocked(Client))],
            Reason::ClientStalled,
        ),
        (
            Policy {
                half_close_limit: limit,
                ..off()
            },
            vec![(0.0, Op::HalfClosed(Client)), (12.0, Op::Read(Upstream))],
            Reason::HalfCloseTimeout,
        ),
    ];
    for (policy, script, reason) in rows {
        let policy = Policy {
            mode: Mode::Observe,
            ..policy
        };
        let said = Stream::open(Kind::Records, policy, 1).play(&script, 15.0);
        assert_eq!(
            said,
            [
                (at(10.0), Said::Overdue(reason)),
                (at(12.0), Said::HeardAgain(reason, secs(2.0)))
            ]
        );
    }
    let policy = Policy {
        max_age: limit,
        mode: Mode::Observe,
        ..off()
    };
    let said = Stream::open(Kind::WebSocket, policy, 1).play(&[(12.0, Op::Message(Client))], 100.0);
    assert_eq!(said, [(at(10.0), Said::Overdue(Reason::MaxAge))]);
}

#[test]
fn two_silences_missed_in_one_go_are_told_in_order() {
    let policy = Policy {
        idle_limit: Some(secs(10.0)),
        mode: Mode::Observe,
        ..off()
    };
    let mut stream = Stream::open(Kind::WebSocket, policy, 1);
    let reason = Reason::ClientIdle;
    assert_eq!(stream.verdict(10.0), Verdict::Overdue { reason });
    assert_eq!(stream.wait(11.0), (None, None, None));
    stream.on(14.0, Op::Read(Client));
    assert_eq!(
        stream.verdict(50.0),
        Verdict::HeardAgain {
            reason,
            after: secs(4.0)
        }
    );
    assert_eq!(stream.verdict(50.0), Verdict::Overdue { reason });
    assert_eq!(stream.wait(50.0), (None, None, None));
    assert_eq!(
        stream.heart.deadline(&stream.policy),
        Some((at(24.0), reason))
    );
}

#[test]
fn standing_still_counts_neither_as_heard_nor_as_overdue() {
    let policy = Policy {
        idle_limit: Some(secs(10.0)),
        mode: Mode::Observe,
        ..off()
    };
    let script = [
        (12.0, Op::Blocked(Upstream)),
        (40.0, Op::Unblocked(Upstream)),
        (43.0, Op::Read(Client)),
    ];
    let said = Stream::open(Kind::WebSocket, policy, 1).play(&script, 45.0);
    let idle = Reason::ClientIdle;
    assert_eq!(
        said,
        [
            (at(10.0), Said::Overdue(idle)),
            (at(43.0), Said::HeardAgain(idle, secs(5.0)))
        ]
    );
}

#[test]
fn what_was_told_too_soon_can_be_taken_back() {
    let policy = Policy {
        idle_limit: Some(secs(10.0)),
        mode: Mode::Observe,
        ..off()
    };
    let mut stream = Stream::open(Kind::WebSocket, policy, 1);
    let reason = Reason::ClientIdle;
    assert_eq!(stream.verdict(10.0), Verdict::Overdue { reason });
    stream.heart.not_overdue(reason);
    assert_eq!(stream.verdict(10.0), Verdict::Overdue { reason });
    stream.heart.not_overdue(reason);
    stream.on(10.0, Op::Read(Client));
    assert_eq!(stream.wait(11.0), (Some(at(20.0)), None, None));
}
