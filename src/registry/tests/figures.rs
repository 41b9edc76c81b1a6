//! What is shown of a stream: its figures, times and states.

use std::time::Duration;

use serde_json::{Value, json};

use super::*;

const MS: Duration = Duration::from_millis(1);

fn shown(stream: &Entry) -> Value {
    serde_json::to_value(stream.record()).unwrap()
}

/// The time `after` the opening of the stream, as it is shown.
fn at(stream: &Entry, after: Duration) -> String {
    humantime::format_rfc3339_millis(stream.opening.at + after).to_string()
}

#[tokio::test(start_paused = true)]
async fn a_new_stream_has_facts_and_no_figures() {
    let stream = simple(Some("42"), &["x"]);
    let expected = json!({
        "id": stream.id,
        "listener": "chat",
        "protocol": "ws",
        "state": "open",
        "uid": "42",
        "uid_source": "query",
        "tags": ["x"],
        "client": { "address": "192.0.2.1:1", "source": "socket" },
        "upstream": { "address": "127.0.0.1:8080", "local_address": "127.0.0.1:40000" },
        "host": null,
        "path": "/chat",
        "subprotocol": null,
        "user_agent": null,
        "opened_at": at(&stream, Duration::ZERO),
        "last_client_at": null,
        "last_upstream_at": null,
        "idle_ms": 0,
        "deadline_at": null,
        "deadline_reason": null,
        "bytes": { "client": 0, "upstream": 0 },
        "messages": { "client": 0, "upstream": 0 },
        "pings": { "sent": 0, "answered": 0, "rtt_ms": null },
    });
    assert_eq!(shown(&stream), expected);
    assert_eq!((stream.age(), stream.left()), (Duration::ZERO, None));
}

#[tokio::test(start_paused = true)]
async fn what_is_heard_and_asked_adds_up_for_each_side() {
    let stream = simple(None, &[]);
    let figures = &stream.figures;
    figures.heard(End::Client, Duration::ZERO, 10, 0);
    assert_eq!(
        shown(&stream)["last_client_at"],
        at(&stream, Duration::ZERO)
    );
    figures.heard(End::Client, 1_000 * MS, 20, 2);
    figures.heard(End::Client, 1_500 * MS, 5, 1);
    figures.heard(End::Upstream, 1_250 * MS, 100, 3);
    figures.pinged(2);
    figures.pinged(1);
    figures.answered(Duration::from_micros(1_500));
    figures.answered(Duration::from_micros(250));
    tokio::time::advance(2_000 * MS).await;
    let shown = shown(&stream);
    assert_eq!(shown["bytes"], json!({ "client": 35, "upstream": 100 }));
    assert_eq!(shown["messages"], json!({ "client": 3, "upstream": 3 }));
    let pings = json!({ "sent": 3, "answered": 2, "rtt_ms": 0.25 });
    assert_eq!(shown["pings"], pings);
    assert_eq!(shown["last_client_at"], at(&stream, 1_500 * MS));
    assert_eq!(shown["last_upstream_at"], at(&stream, 1_250 * MS));
    assert_eq!(shown["idle_ms"], 500);
    assert_eq!(stream.age(), 2_000 * MS);
    assert_eq!(figures.silence(End::Client, stream.age()), 500 * MS);
    assert_eq!(figures.silence(End::Upstream, stream.age()), 750 * MS);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_is_shown_and_an_idle_one_moves_with_the_client() {
    let stream = simple(None, &[]);
    let figures = &stream.figures;
    figures.heard(End::Client, 1_000 * MS, 1, 0);
    let deadline = |reason| Some((11_000 * MS, reason));
    let cases = [
        (Reason::ClientIdle, true, 13_000),
        (Reason::ClientIdle, false, 11_000),
        (Reason::Quiet, true, 11_000),
    ];
    for (reason, simple, behind) in cases {
        figures.heard(End::Client, 1_000 * MS, 1, 0);
        figures.set_deadline(deadline(reason), simple);
        assert_eq!(shown(&stream)["deadline_at"], at(&stream, 11_000 * MS));
        assert_eq!(shown(&stream)["deadline_reason"], reason.as_str());
        figures.heard(End::Client, 3_000 * MS, 1, 0);
        assert_eq!(shown(&stream)["deadline_at"], at(&stream, behind * MS));
        assert_eq!(stream.left(), Some(behind * MS));
    }
    tokio::time::advance(4_000 * MS).await;
    assert_eq!(stream.left(), Some(7_000 * MS));
    tokio::time::advance(8_000 * MS).await;
    assert_eq!(stream.left(), Some(Duration::ZERO));
    figures.set_deadline(None, true);
    assert_eq!(stream.left(), None);
    assert_eq!(shown(&stream)["deadline_reason"], Value::Null);
}

/// What is stored is one nanosecond more than what was heard, so that zero can mean never.
#[test]
fn an_instant_is_shown_to_the_nanosecond() {
    let stream = simple(None, &[]);
    let since = stream.opening.at.duration_since(SystemTime::UNIX_EPOCH);
    let into = u64::from(since.unwrap().subsec_nanos()) % 1_000_000;
    let last = Duration::from_nanos(2_000_000 - into - 1);
    stream.figures.heard(End::Client, last, 1, 0);
    assert_eq!(shown(&stream)["last_client_at"], at(&stream, last));
    let next = last + Duration::from_nanos(1);
    assert_ne!(shown(&stream)["last_client_at"], at(&stream, next));
}

#[test]
fn the_three_states_are_shown() {
    let stream = simple(None, &[]);
    stream.figures.set_overdue(true);
    assert_eq!(shown(&stream)["state"], "overdue");
    stream.figures.set_overdue(false);
    assert_eq!(shown(&stream)["state"], "open");
    stream.figures.set_half_closed();
    assert_eq!(shown(&stream)["state"], "half_closed");
}

#[test]
fn evidence_and_round_trips_are_in_milliseconds() {
    let evidence = Evidence::new(55_000 * MS, &[25_000 * MS, 50_000 * MS]);
    let expected = json!({ "silent_ms": 55_000, "unanswered_pings_ms": [25_000, 50_000] });
    assert_eq!(serde_json::to_value(evidence).unwrap(), expected);
    let stream = simple(None, &[]);
    let round = PingRound::new(&stream, Duration::from_micros(1_250));
    let expected = json!({ "id": stream.id, "listener": "chat", "rtt_ms": 1.25 });
    assert_eq!(serde_json::to_value(round).unwrap(), expected);
}

#[test]
fn an_overdue_stream_is_shown_with_the_word_of_its_reason() {
    let overdue = record::OverdueRecord {
        stream: simple(None, &[]).record(),
        reason: Reason::ClientIdle,
        idle_limit_ms: Some(55_000),
    };
    let shown = serde_json::to_value(overdue).unwrap();
    let told = (&shown["reason"], &shown["idle_limit_ms"], &shown["state"]);
    assert_eq!(
        told,
        (&json!("client_idle"), &json!(55_000), &json!("open"))
    );
}
