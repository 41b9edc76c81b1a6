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
