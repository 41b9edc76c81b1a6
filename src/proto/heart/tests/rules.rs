//! Every limit in every situation, to the instant.

use super::*;

/// Name, kind, policy, what happens before, the reason, and when it ends the stream in each of `situations()`, in seconds.
type Row = (&'static str, Kind, Policy, Vec<(f64, Op)>, Reason, [f64; 8]);

const LIMIT: f64 = 10.0;
const NEVER: f64 = f64::INFINITY;

/// The expected end of one cell.
fn expected(row: &Row, column: usize) -> Option<Time> {
    let when = row.5[column];
    (when != NEVER).then(|| at(when))
}

fn every_second(last: u32, op: &Op) -> Vec<(f64, Op)> {
    (1..=last)
        .map(|second| (f64::from(second), op.clone()))
        .collect()
}

/// In the order of the columns of `rows()`; the last is a reload from twice the limit to the limit at 4 s.
pub(super) fn situations() -> [(&'static str, Vec<(f64, Op)>); 8] {
    [
        ("heard from the client", vec![(4.0, Op::Message(Client))]),
        (
            "heard from the upstream",
            vec![(4.0, Op::Message(Upstream))],
        ),
        (
            "pong only",
            vec![(4.0, Op::Read(Client)), (4.0, Op::Pong(Client, None))],
        ),
        (
            "half a message trickles in",
            every_second(20, &Op::Read(Client)),
        ),
        (
            "chatty app, dead client",
            every_second(30, &Op::Message(Upstream)),
        ),
        ("full send buffer", vec![(4.0, Op::Blocked(Client))]),
        (
            "our back-pressure",
            vec![(4.0, Op::Blocked(Upstream)), (9.0, Op::Unblocked(Upstream))],
        ),
        ("reload in between", vec![]),
    ]
}

/// The table of promises, one line a rule.
#[rustfmt::skip]
fn rows() -> Vec<Row> {
    let limit = Some(secs(LIMIT));
    let idle = Policy { idle_limit: limit, ..off() };
    let messages = Policy { idle_counts: IdleCounts::Messages, ..idle.clone() };
    let up = Policy { upstream_idle_limit: limit, ..off() };
    let up_messages = Policy { idle_counts: IdleCounts::Messages, ..up.clone() };
    let quiet = Policy { quiet_limit: limit, ..off() };
    let first = Policy { first_message_limit: limit, ..off() };
    let age = Policy { max_age: limit, ..off() };
    let stall = Policy { stall_limit: limit, ..off() };
    let half = Policy { half_close_limit: limit, ..off() };
    let (ws, records, raw) = (Kind::WebSocket, Kind::Records, Kind::Raw);
    let (fin, fin_up) = (vec![(0.0, Op::HalfClosed(Client))], vec![(0.0, Op::HalfClosed(Upstream))]);
    let full = vec![(0.0, Op::Blocked(Upstream))];
    let no = vec![];
    use Reason::*;
    const N: f64 = NEVER;
    // columns:      client up    pong  trickle chatty full  ours  reload
    vec![
        // the client is heard, its pong and its trickle too; rule 8: 4 s to 9 s do not count
        ("idle",           ws, idle.clone(),  no.clone(), ClientIdle,       [14., 10., 14., 30., 10., 10., 15., 14.]),
        ("idle, raw",     raw, idle.clone(),  no.clone(), ClientIdle,       [14., 10., 14., 30., 10., 10., 15., 14.]),
        ("messages",       ws, messages,      no.clone(), ClientIdle,       [14., 10., 10., 10., 10., 10., 15., 14.]),
        ("idle, FIN",     raw, idle,         fin.clone(), ClientIdle,       [N; 8]),
        // a full send buffer keeps us from reading the app; 9 s is when it took what had been blocked
        ("upstream",       ws, up.clone(),    no.clone(), UpstreamIdle,     [10., 14., 10., 10., 40., N,   19., 14.]),
        ("its messages",   ws, up_messages,   no.clone(), UpstreamIdle,     [10., 14., 10., 10., 40., N,   10., 14.]),
        ("upstream, FIN", raw, up,        fin_up.clone(), UpstreamIdle,     [N; 8]),
        ("quiet",          ws, quiet.clone(), no.clone(), Quiet,            [14., 14., 10., 10., 40., N,   15., 14.]),
        ("records",   records, quiet.clone(), no.clone(), Quiet,            [14., 14., 10., 10., 40., N,   15., 14.]),
        ("quiet, raw",    raw, quiet,         no.clone(), Quiet,            [14., 14., 14., 30., 40., N,   15., 14.]),
        ("first message",  ws, first,         no.clone(), NoFirstMessage,   [N,   10., 10., 10., 10., 10., 10., 14.]),
        // a lowered max_age is no floor: the stream is 4 s old and ends when it is 10 s old
        ("max age",        ws, age,           no.clone(), MaxAge,           [10.; 8]),
        ("stall",          ws, stall.clone(), no,         ClientStalled,    [N,   N,   N,   N,   N,   14., N,   N  ]),
        ("its stall",      ws, stall,         full,       UpstreamStalled,  [10., 10., 10., 10., 10., 10., N,   14.]),
        ("half-closed",   raw, half.clone(),  fin,        HalfCloseTimeout, [10., 14., 10., 10., 40., 10., 10., 14.]),
        ("by the app",records, half,          fin_up,     HalfCloseTimeout, [14., 10., 14., 30., 10., 10., 10., 14.]),
    ]
}

/// The stream of one cell with its script.
fn cell(row: &Row, column: usize, mode: Mode) -> (Stream, Vec<(f64, Op)>) {
    let (_, kind, policy, before, _, _) = row;
    let policy = Policy {
        mode,
        ..policy.clone()
    };
    let mut script = before.clone();
    script.extend(situations()[column].1.clone());
    let mut first = policy.clone();
    if column == 7 {
        let limits = [
            &mut first.idle_limit,
            &mut first.upstream_idle_limit,
            &mut first.quiet_limit,
            &mut first.first_message_limit,
            &mut first.max_age,
            &mut first.stall_limit,
            &mut first.half_close_limit,
        ];
        for limit in limits {
            *limit = limit.map(|limit| limit * 2);
        }
        script.push((4.0, Op::Reload(Box::new(policy), secs(1.0))));
    }
    (Stream::open(*kind, first, 7), script)
}

#[test]
fn each_rule_closes_at_its_instant_in_each_situation() {
    let mut seen = 0;
    for row in rows() {
        for (column, (situation, _)) in situations().into_iter().enumerate() {
            let (mut stream, script) = cell(&row, column, Mode::Enforce);
            let said = stream.play(&script, 1000.0);
            let close = expected(&row, column).map(|when| (when, Said::Close(row.4)));
            assert_eq!(said, Vec::from_iter(close), "{}: {situation}", row.0);
            seen += 1;
        }
    }
    assert_eq!(seen, 128);
}

#[test]
fn observe_reports_at_the_same_instants_once_and_closes_nothing() {
    let mut seen = 0;
    for row in rows() {
        for (column, (situation, _)) in situations().into_iter().enumerate() {
            let (mut stream, script) = cell(&row, column, Mode::Observe);
            let mut said = stream.play(&script, 1000.0);
            // where the stream would have ended, the client is stalled later as well
            said.retain(|(_, said)| {
                row.4 != Reason::UpstreamStalled || *said != Said::Overdue(Reason::ClientStalled)
            });
            let overdue = expected(&row, column).map(|when| (when, Said::Overdue(row.4)));
            assert_eq!(said, Vec::from_iter(overdue), "{}: {situation}", row.0);
            seen += 1;
        }
    }
    assert_eq!(seen, 128);
}

#[test]
fn the_deadline_is_the_instant_of_the_close() {
    let mut seen = 0;
    for row in rows() {
        for (column, (situation, _)) in situations().into_iter().enumerate() {
            let (mut stream, script) = cell(&row, column, Mode::Enforce);
            let last = script
                .iter()
                .map(|(when, _)| at(*when))
                .max()
                .unwrap_or_default();
            let end = expected(&row, column);
            if end.is_some_and(|end| end < last) {
                continue;
            }
            for (when, op) in &script {
                stream.on(*when, op.clone());
            }
            let deadline = stream.heart.deadline(&stream.policy);
            assert_eq!(
                deadline,
                end.map(|end| (end, row.4)),
                "{}: {situation}",
                row.0
            );
            seen += 1;
        }
    }
    assert_eq!(seen, 112, "the others go on past their end");
}

#[test]
fn nothing_on_means_nothing_to_wait_for() {
    for kind in [Kind::WebSocket, Kind::Records, Kind::Raw] {
        let mut stream = Stream::open(kind, off(), 1);
        stream
            .on(1.0, Op::Blocked(Client))
            .on(2.0, Op::HalfClosed(Client));
        assert_eq!(stream.wait(1e9), (None, None, None));
        assert_eq!(stream.heart.deadline(&off()), None);
    }
}

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

#[test]
fn a_reply_is_heard_but_no_data_and_no_first_message() {
    let script = [(4.0, Op::Reply)];
    let limit = Some(secs(10.0));
    for (policy, when, reason) in [
        (
            Policy {
                idle_limit: limit,
                idle_counts: IdleCounts::Messages,
                ..off()
            },
            14.0,
            Reason::ClientIdle,
        ),
        (
            Policy {
                idle_limit: limit,
                ..off()
            },
            14.0,
            Reason::ClientIdle,
        ),
        (
            Policy {
                quiet_limit: limit,
                ..off()
            },
            10.0,
            Reason::Quiet,
        ),
        (
            Policy {
                first_message_limit: limit,
                ..off()
            },
            10.0,
            Reason::NoFirstMessage,
        ),
    ] {
        let said = Stream::open(Kind::WebSocket, policy, 1).play(&script, 100.0);
        assert_eq!(said, [(at(when), Said::Close(reason))]);
    }
}

#[test]
fn pings_and_pongs_are_no_data() {
    let policy = Policy {
        quiet_limit: Some(secs(10.0)),
        ping: ping(2.0, 0.0, When::Always),
        ..off()
    };
    let script = [(3.0, Op::Read(Client)), (3.0, Op::Pong(Client, None))];
    let said = Stream::pinged(Kind::WebSocket, policy).play(&script, 100.0);
    assert_eq!(said.len(), 5, "four pings and the end: {said:?}");
    assert_eq!(said[4], (at(10.0), Said::Close(Reason::Quiet)));
}

#[test]
fn the_limit_that_ran_out_first_is_named_and_of_two_at_once_the_first_rule() {
    let limit = Some(secs(10.0));
    let all = Policy {
        idle_limit: limit,
        upstream_idle_limit: limit,
        quiet_limit: limit,
        first_message_limit: limit,
        max_age: limit,
        ..off()
    };
    let close = |policy: &Policy| Stream::open(Kind::WebSocket, policy.clone(), 1).verdict(99.0);
    let due = at(10.0);
    assert_eq!(
        close(&all),
        Verdict::Close {
            reason: Reason::ClientIdle,
            due
        }
    );
    let all = Policy {
        idle_limit: None,
        ..all
    };
    assert_eq!(
        close(&all),
        Verdict::Close {
            reason: Reason::UpstreamIdle,
            due
        }
    );
    let all = Policy {
        upstream_idle_limit: None,
        ..all
    };
    assert_eq!(
        close(&all),
        Verdict::Close {
            reason: Reason::Quiet,
            due
        }
    );
    let all = Policy {
        quiet_limit: None,
        ..all
    };
    assert_eq!(
        close(&all),
        Verdict::Close {
            reason: Reason::NoFirstMessage,
            due
        }
    );
    let all = Policy {
        idle_limit: Some(secs(10.1)),
        first_message_limit: Some(secs(10.2)),
        ..all
    };
    assert_eq!(
        close(&all),
        Verdict::Close {
            reason: Reason::MaxAge,
            due
        }
    );
}

#[test]
fn max_age_is_drawn_between_its_jitter_and_the_limit() {
    let policy = Policy {
        max_age: Some(secs(100.0)),
        max_age_jitter: 0.1,
        ..off()
    };
    let ages: Vec<Time> = (0..200)
        .map(|seed| Stream::open(Kind::WebSocket, policy.clone(), seed).play(&[], 1000.0)[0].0)
        .collect();
    assert!(ages.iter().all(|age| (at(90.0)..=at(100.0)).contains(age)));
    assert!(ages.iter().min() < Some(&at(91.0)) && ages.iter().max() > Some(&at(99.0)));
}

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
