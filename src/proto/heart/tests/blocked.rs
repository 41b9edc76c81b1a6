//! Sides that take nothing: which clocks stand still, and which run.

use super::*;

#[test]
fn a_blocked_client_that_takes_bytes_is_heard_and_not_stalled() {
    let policy = Policy {
        idle_limit: Some(secs(10.0)),
        stall_limit: Some(secs(8.0)),
        ..off()
    };
    let script = [
        (5.0, Op::Blocked(Client)),
        (9.0, Op::Progressed(Client)),
        (16.0, Op::Unblocked(Client)),
    ];
    let said = Stream::open(Kind::WebSocket, policy, 1).play(&script, 100.0);
    assert_eq!(said, [(at(26.0), Said::Close(Reason::ClientIdle))]);
}

#[test]
fn taking_bytes_is_no_message() {
    let policy = Policy {
        idle_limit: Some(secs(10.0)),
        idle_counts: IdleCounts::Messages,
        ..off()
    };
    let script = [(5.0, Op::Blocked(Client)), (9.0, Op::Unblocked(Client))];
    let said = Stream::open(Kind::WebSocket, policy, 1).play(&script, 100.0);
    assert_eq!(said, [(at(10.0), Said::Close(Reason::ClientIdle))]);
}

#[test]
fn the_stall_clock_starts_once_and_anew_with_each_progress() {
    let policy = Policy {
        stall_limit: Some(secs(8.0)),
        ..off()
    };
    let script = [
        (1.0, Op::Progressed(Client)), // nothing is blocked
        (2.0, Op::Blocked(Client)),
        (3.0, Op::Blocked(Client)), // changes nothing
        (9.0, Op::Progressed(Client)),
        (12.0, Op::Blocked(Client)), // changes nothing
    ];
    let said = Stream::open(Kind::WebSocket, policy, 1).play(&script, 100.0);
    assert_eq!(said, [(at(17.0), Said::Close(Reason::ClientStalled))]);
}

#[test]
fn both_ends_blocked_stand_still_each_for_its_own_time_and_quiet_for_both() {
    let script = [
        (4.0, Op::Blocked(Upstream)), // client not read 4..9: its 10 s end at 15, but it takes bytes at 12
        (6.0, Op::Blocked(Client)),   // upstream not read 6..12, and it takes bytes at 9
        (9.0, Op::Unblocked(Upstream)),
        (12.0, Op::Unblocked(Client)),
    ];
    let limit = Some(secs(10.0));
    for (policy, when, reason) in [
        (
            Policy {
                quiet_limit: limit,
                ..off()
            },
            18.0,
            Reason::Quiet,
        ),
        (
            Policy {
                idle_limit: limit,
                ..off()
            },
            22.0,
            Reason::ClientIdle,
        ),
        (
            Policy {
                idle_limit: limit,
                idle_counts: IdleCounts::Messages,
                ..off()
            },
            15.0,
            Reason::ClientIdle,
        ),
        (
            Policy {
                upstream_idle_limit: limit,
                ..off()
            },
            22.0,
            Reason::UpstreamIdle,
        ),
        (
            Policy {
                upstream_idle_limit: limit,
                idle_counts: IdleCounts::Messages,
                ..off()
            },
            16.0,
            Reason::UpstreamIdle,
        ),
    ] {
        let said = Stream::open(Kind::WebSocket, policy, 1).play(&script, 100.0);
        assert_eq!(said, [(at(when), Said::Close(reason))]);
    }
}
