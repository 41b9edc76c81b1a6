//! The stream calls over real sockets; the streams themselves are played.

mod change;
mod events;

use std::time::Duration;

use serde_json::{Value, json};
use uuid::Uuid;

use super::fixture::Plane;
use super::tests::{Answer, ask};
use crate::proto::cause::End;
use crate::registry::record::Evidence;
use crate::registry::tests::end;

async fn get(plane: &Plane, path: &str) -> Answer {
    ask(plane, &format!("GET {path}"), "", "").await
}

fn ids(answer: &Answer) -> Vec<Uuid> {
    let items = answer.json()["items"].take();
    let items: Vec<Value> = serde_json::from_value(items).unwrap();
    items
        .iter()
        .map(|item| item["id"].as_str().unwrap().parse().unwrap())
        .collect()
}

#[tokio::test]
async fn a_stream_is_shown_with_every_field() {
    let plane = Plane::open();
    let stream = plane.enter(Some("42"), &["room:7"]);
    stream
        .figures
        .heard(End::Client, Duration::from_millis(5), 10, 1);
    stream.figures.answered(Duration::from_micros(1500));
    let answer = get(&plane, &format!("/v1/streams/{}", stream.id)).await;
    assert_eq!(answer.status, 200);
    let mut shown = answer.json();
    for moving in ["opened_at", "last_client_at", "idle_ms"] {
        assert!(!shown[moving].is_null(), "{moving}");
        shown[moving] = Value::Null;
    }
    let expected = json!({
        "id": stream.id, "listener": "chat", "protocol": "ws", "state": "open",
        "uid": "42", "uid_source": "query", "tags": ["room:7"],
        "client": { "address": "192.0.2.7:4000", "source": "socket" },
        "upstream": { "address": "127.0.0.1:8080", "local_address": "127.0.0.1:40000" },
        "host": null, "path": "/chat", "subprotocol": null, "user_agent": null,
        "opened_at": null, "last_client_at": null, "last_upstream_at": null, "idle_ms": null,
        "deadline_at": null, "deadline_reason": null,
        "bytes": { "client": 10, "upstream": 0 }, "messages": { "client": 1, "upstream": 0 },
        "pings": { "sent": 0, "answered": 1, "rtt_ms": 1.5 },
    });
    assert_eq!(shown, expected);
}

#[tokio::test]
async fn an_ended_stream_is_410_with_its_record_and_an_unknown_one_404() {
    let plane = Plane::open();
    let stream = plane.enter(None, &[]);
    let asked_after = [25_100, 50_000].map(Duration::from_millis);
    end(
        &plane.registry,
        &stream,
        Evidence::new(Duration::from_millis(55_003), &asked_after),
    );
    let path = format!("/v1/streams/{}", stream.id);
    for (method, path) in [
        ("GET", path.clone()),
        ("PATCH", path.clone()),
        ("DELETE", path.clone()),
        ("POST", format!("{path}/ping")),
        ("POST", format!("{path}/messages")),
    ] {
        let answer = ask(&plane, &format!("{method} {path}"), "", "").await;
        assert_eq!(answer.status, 410, "{method} {path}");
        let record = answer.json();
        assert_eq!(
            (&record["reason"], &record["by"]),
            (&json!("client_idle"), &json!("sidecar"))
        );
        let evidence = json!({ "silent_ms": 55_003, "unanswered_pings_ms": [25_100, 50_000] });
        assert_eq!(record["evidence"], evidence);
        let unknown = path.replace(&stream.id.to_string(), &Uuid::now_v7().to_string());
        let answer = ask(&plane, &format!("{method} {unknown}"), "", "").await;
        assert_eq!(
            (answer.status, answer.problem()),
            (404, None),
            "{method} {unknown}"
        );
    }
    let closed = get(&plane, "/v1/closed").await.json();
    assert_eq!(closed["items"].as_array().unwrap().len(), 1);
    assert_eq!(closed["items"][0]["id"], json!(stream.id));
}

#[tokio::test]
async fn a_list_has_pages_and_counts_what_matches() {
    let plane = Plane::open();
    let streams: Vec<_> = (0..5)
        .map(|n| plane.enter(Some(if n == 4 { "b" } else { "a" }), &[]))
        .collect();
    let all: Vec<_> = streams.iter().map(|stream| stream.id).collect();
    let mut listed = Vec::new();
    let mut path = "/v1/streams?uid=a&limit=3".to_owned();
    loop {
        let answer = get(&plane, &path).await;
        assert_eq!(answer.json()["matched"], 4);
        listed.extend(ids(&answer));
        match answer.json()["next_cursor"].as_str() {
            Some(cursor) => path = format!("/v1/streams?uid=a&limit=3&cursor={cursor}"),
            None => break,
        }
    }
    assert_eq!(listed, all[..4]);
    let everything = get(&plane, "/v1/streams").await;
    assert_eq!(
        (ids(&everything), everything.json()["next_cursor"].is_null()),
        (all.clone(), true)
    );
    let exact = get(&plane, "/v1/streams?limit=5").await;
    assert!(
        exact.json()["next_cursor"].is_null(),
        "a full last page is the last"
    );
    for _ in 0..300 {
        plane.enter(None, &[]);
    }
    let lines = "Accept: application/x-ndjson\r\n";
    let answer = ask(&plane, "GET /v1/streams", lines, "").await;
    assert!(
        answer.head.contains("content-type: application/x-ndjson"),
        "{}",
        answer.head
    );
    let body = dechunk(&answer.body);
    let found: Vec<Value> = body
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(found.len(), 305);
    let some = ask(&plane, "GET /v1/streams?uid=a&limit=2", lines, "").await;
    assert_eq!(dechunk(&some.body).lines().count(), 2);
}

fn dechunk(body: &str) -> String {
    let mut text = String::new();
    let mut rest = body;
    while let Some((size, behind)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        text += &behind[..size];
        rest = behind[size..].strip_prefix("\r\n").unwrap();
    }
    text
}

#[tokio::test]
async fn what_a_query_cannot_mean_is_400_with_its_name() {
    let plane = Plane::open();
    let stream = format!("/v1/streams/{}", plane.enter(None, &[]).id);
    let long = "x".repeat(124);
    let cases = [
        ("GET /v1/streams?limit=0", "limit"),
        ("GET /v1/streams?limit=1001", "limit"),
        ("GET /v1/streams?limit=%2B5", "limit"),
        ("GET /v1/streams?limit=5&limit=5", "limit"),
        ("GET /v1/streams?limit=", "limit"),
        ("GET /v1/streams?cursor=next", "cursor"),
        ("GET /v1/streams?cursor=-1", "cursor"),
        ("GET /v1/streams?cursor=18446744073709551616", "cursor"),
        ("GET /v1/streams?idle_over=30", "idle_over"),
        ("GET /v1/streams?age_over=0s", "age_over"),
        ("GET /v1/streams?client=nobody", "client"),
        ("GET /v1/streams?uid=", "uid"),
        ("GET /v1/streams?uid=1&uid=2", "uid"),
        ("GET /v1/streams?tag=%00", "tag"),
        ("GET /v1/streams?all=true", "all"),
        ("GET /v1/streams?listner=chat", "listner"),
        ("GET /v1/closed?limit=5", "limit"),
        ("GET /v1/events?nearest=0", "nearest"),
        ("GET /v1/streams/42", "id"),
        ("DELETE /v1/streams", "all"),
        ("DELETE /v1/streams?all=false", "all"),
        ("DELETE /v1/streams?all=yes", "all"),
        ("DELETE /v1/streams?all=true&spread=10", "spread"),
        ("DELETE /v1/streams?all=true&spread=25h", "spread"),
        ("DELETE /v1/streams?all=true&code=1005", "code"),
        ("POST /v1/messages", "all"),
        ("POST /v1/messages?spread=1s", "spread"),
    ];
    for (call, culprit) in cases {
        let answer = ask(&plane, call, "", "").await;
        assert_eq!(
            (answer.status, answer.problem().as_deref()),
            (400, Some(culprit)),
            "{call}"
        );
    }
    for (query, culprit) in [
        ("code=999", "code"),
        ("code=1004", "code"),
        ("code=1014", "code"),
        ("code=2999", "code"),
        ("code=5000", "code"),
        ("code=1e3", "code"),
        (&format!("reason={long}"), "reason"),
        ("abort=1", "abort"),
        ("abort", "abort"),
        ("spread=1s", "spread"),
        ("uid=1", "uid"),
    ] {
        let answer = ask(&plane, &format!("DELETE {stream}?{query}"), "", "").await;
        assert_eq!(
            (answer.status, answer.problem().as_deref()),
            (400, Some(culprit)),
            "{query}"
        );
    }
    assert_eq!(plane.registry.len(), 1, "what is refused changes nothing");
}

#[tokio::test]
async fn the_configuration_is_shown() {
    let plane = Plane::open();
    let answer = get(&plane, "/v1/config").await;
    assert_eq!(
        (answer.status, answer.json()),
        (200, json!({ "workers": "auto" }))
    );
}
