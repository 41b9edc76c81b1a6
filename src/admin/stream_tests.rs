//! The stream calls over real sockets; the streams themselves are played.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use uuid::Uuid;

use super::fixture::{Plane, Play};
use super::tests::{Answer, ask, exchange};
use crate::proto::cause::End;
use crate::proto::framing::Unfit;
use crate::registry::record::Evidence;
use crate::registry::tests::end;
use crate::worker::Refusal;

const TEXT: &str = "Content-Type: text/plain\r\n";

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
async fn a_patch_replaces_adds_removes_and_unbinds() {
    let plane = Plane::open();
    let stream = plane.enter(Some("1"), &["a"]);
    let path = format!("PATCH /v1/streams/{}", stream.id);
    let patched = async |body: &str| {
        let answer = ask(&plane, &path, "", body).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        let now = answer.json();
        (
            now["uid"].clone(),
            now["uid_source"].clone(),
            now["tags"].clone(),
        )
    };
    let same = patched("").await;
    assert_eq!(
        same,
        (json!("1"), json!("query"), json!(["a"])),
        "absent is unchanged"
    );
    let bound = patched(r#"{"uid":"42","tags":["room:7"]}"#).await;
    assert_eq!(bound, (json!("42"), json!("api"), json!(["room:7"])));
    let mixed = patched(r#"{"add_tags":["x","room:7"],"remove_tags":["y"]}"#).await;
    assert_eq!(mixed.2, json!(["room:7", "x"]));
    let unbound = patched(r#"{"uid":null,"tags":null}"#).await;
    assert_eq!(unbound, (Value::Null, Value::Null, json!([])));
    assert_eq!(
        ids(&get(&plane, "/v1/streams?uid=42").await),
        [] as [Uuid; 0]
    );
    let long = "x".repeat(129);
    let many = json!((0..33).map(|n| n.to_string()).collect::<Vec<_>>());
    for (body, culprit) in [
        (json!({ "uid": "" }), "uid"),
        (json!({ "uid": 42 }), "uid"),
        (json!({ "uid": long }), "uid"),
        (json!({ "uid": "a\u{7f}" }), "uid"),
        (json!({ "tags": "x" }), "tags"),
        (json!({ "tags": [1] }), "tags"),
        (json!({ "tags": many }), "tags"),
        (json!({ "add_tags": [&long[..65]] }), "add_tags"),
        (json!({ "remove_tags": [""] }), "remove_tags"),
        (json!({ "user": "42" }), "user"),
    ] {
        let answer = ask(&plane, &path, "", &body.to_string()).await;
        assert_eq!(
            (answer.status, answer.problem().as_deref()),
            (400, Some(culprit)),
            "{body}"
        );
    }
    patched(&json!({ "tags": (0..32).map(|n| n.to_string()).collect::<Vec<_>>() }).to_string())
        .await;
    let answer = ask(&plane, &path, "", r#"{"add_tags":["one more"]}"#).await;
    assert_eq!(
        (answer.status, answer.problem().as_deref()),
        (400, Some("add_tags"))
    );
}

#[tokio::test]
async fn a_close_is_202_with_the_record_or_410_if_something_was_faster() {
    let mut plane = Plane::open();
    let mut told = plane.play(Play::Obey);
    for (query, expected) in [
        ("", "Goodbye Some(1008) admin_close"),
        (
            "?code=4001&reason=logged%20out",
            "Goodbye Some(4001) logged out",
        ),
        ("?code=1000&abort=true", "Reset Some(1000) admin_close"),
        ("?reason=&abort=false", "Goodbye Some(1008) "),
    ] {
        let stream = plane.enter(None, &[]);
        let answer = ask(
            &plane,
            &format!("DELETE /v1/streams/{}{query}", stream.id),
            "",
            "",
        )
        .await;
        assert_eq!(answer.status, 202, "{query}");
        assert_eq!(answer.json()["id"], json!(stream.id));
        assert_eq!(told.recv().await.unwrap(), expected);
    }
    let mut plane = Plane::open();
    let _told = plane.play(Play::HasEnded);
    let stream = plane.enter(None, &[]);
    let answer = ask(&plane, &format!("DELETE /v1/streams/{}", stream.id), "", "").await;
    assert_eq!(
        (answer.status, answer.json()["id"].clone()),
        (410, json!(stream.id))
    );
}

#[tokio::test]
async fn a_message_is_text_or_binary_by_its_type() {
    let mut plane = Plane::open();
    let mut told = plane.play(Play::Obey);
    let path = format!("POST /v1/streams/{}/messages", plane.enter(None, &[]).id);
    for (kind, expected) in [
        ("", "binary {}"),
        (TEXT, "text {}"),
        ("Content-Type: Text/HTML; charset=utf-8\r\n", "text {}"),
        ("Content-Type: application/json\r\n", "text {}"),
        ("Content-Type: application/cloudevents+json\r\n", "text {}"),
        ("Content-Type: application/octet-stream\r\n", "binary {}"),
    ] {
        let answer = ask(&plane, &path, kind, "{}").await;
        assert_eq!(
            (answer.status, answer.json()),
            (200, json!({ "bytes": 2 })),
            "{kind}"
        );
        assert_eq!(told.recv().await.unwrap(), expected, "{kind}");
    }
    let request = format!(
        "{path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 1\r\n{TEXT}\r\n"
    );
    let mut client = TcpStream::connect(plane.address()).await.unwrap();
    client
        .write_all(&[request.as_bytes(), b"\xff"].concat())
        .await
        .unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 400") && answer.contains("UTF-8"),
        "{answer}"
    );
    let large = format!(
        "{path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 1048577\r\n\r\n"
    );
    assert_eq!(exchange(&plane, &large).await.status, 413);
    assert!(told.try_recv().is_err());
}

#[tokio::test]
async fn what_a_stream_refuses_has_its_status() {
    let unfit = |unfit| Play::Refuse(Refusal::Unfit(unfit));
    for (play, message, ping) in [
        (Play::Obey, 200, 200),
        (Play::Refuse(Refusal::Raw), 409, 409),
        (Play::Refuse(Refusal::NoReply), 409, 409),
        (Play::Refuse(Refusal::HalfClosed), 409, 409),
        (Play::LetGo, 409, 409),
        (unfit(Unfit::SeveralLines), 400, 400),
        (unfit(Unfit::TooLarge { limit: 5 }), 413, 413),
        (Play::Refuse(Refusal::Full), 503, 503),
        (Play::HasEnded, 410, 410),
    ] {
        let mut plane = Plane::open();
        let _told = plane.play(play);
        for (call, status) in [("messages", message), ("ping", ping)] {
            let path = format!("POST /v1/streams/{}/{call}", plane.enter(None, &[]).id);
            let answer = ask(&plane, &path, "", "").await;
            assert_eq!(answer.status, status, "{call} {play:?}");
            if (call, play) == ("ping", Play::Obey) {
                assert_eq!(answer.json(), json!({ "rtt_ms": 12.345 }));
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn who_does_not_answer_is_waited_for_five_seconds() {
    let plane = Plane::open();
    let id = plane.enter(None, &[]).id;
    let request = |method: &str, path: String| {
        let request = http::Request::builder()
            .method(method)
            .uri(path)
            .header("host", "localhost");
        request
            .body(http_body_util::Empty::<bytes::Bytes>::new())
            .unwrap()
    };
    for (method, path, status) in [
        ("POST", format!("/v1/streams/{id}/messages"), 503),
        ("POST", format!("/v1/streams/{id}/ping"), 504),
        ("DELETE", format!("/v1/streams/{id}"), 503),
        ("POST", "/v1/messages?all=true".to_owned(), 200),
        ("DELETE", "/v1/streams?all=true&spread=10s".to_owned(), 200),
    ] {
        let began = tokio::time::Instant::now();
        let answer = plane
            .api
            .answer(super::Peer::Unix(None), request(method, path.clone()))
            .await;
        assert_eq!(answer.status().as_u16(), status, "{method} {path}");
        assert_eq!(began.elapsed().as_secs(), 5, "{method} {path}");
    }
}

#[tokio::test]
async fn bulk_calls_count_what_was_done() {
    let mut plane = Plane::open();
    for n in 0..10 {
        plane.enter(Some(if n < 7 { "a" } else { "b" }), &[]);
    }
    let mut told = plane.play(Play::Obey);
    let answer = ask(&plane, "POST /v1/messages?uid=a", TEXT, "hello").await;
    assert_eq!(
        (answer.status, answer.json()),
        (200, json!({ "matched": 7, "done": 7, "failed": 0 }))
    );
    for _ in 0..7 {
        assert_eq!(told.recv().await.unwrap(), "text hello");
    }
    let nobody = ask(&plane, "POST /v1/messages?uid=c", TEXT, "hello").await;
    assert_eq!(
        nobody.json(),
        json!({ "matched": 0, "done": 0, "failed": 0 })
    );
    let answer = ask(
        &plane,
        "DELETE /v1/streams?uid=b&code=4000&reason=bye",
        "",
        "",
    )
    .await;
    assert_eq!(
        (answer.status, answer.json()),
        (200, json!({ "matched": 3, "done": 3, "failed": 0 }))
    );
    assert_eq!(told.recv().await.unwrap(), "Goodbye Some(4000) bye");
    assert_eq!(plane.registry.len(), 7);
    let answer = ask(&plane, "DELETE /v1/streams?all=true&spread=off", "", "").await;
    assert_eq!(answer.json()["done"], 7);
    assert!(plane.registry.is_empty());
}

/// One event after the other, as they come.
struct Events(BufReader<TcpStream>);

impl Events {
    async fn watch(plane: &Plane, target: &str, accept: &str) -> Self {
        let mut client = TcpStream::connect(plane.address()).await.unwrap();
        let request = format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n{accept}\r\n");
        client.write_all(request.as_bytes()).await.unwrap();
        let mut events = Self(BufReader::new(client));
        assert_eq!(events.line().await, "HTTP/1.1 200 OK");
        while !events.line().await.is_empty() {}
        events
    }

    async fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).await.unwrap();
        line.trim_end().to_owned()
    }

    /// The next line that begins with `start`; the sizes of chunks and all others are passed over.
    async fn next(&mut self, start: &str) -> String {
        loop {
            let line = self.line().await;
            if let Some(rest) = line.strip_prefix(start) {
                return rest.to_owned();
            }
        }
    }
}

#[tokio::test]
async fn events_come_live_as_sse_or_by_lines() {
    let plane = Plane::open();
    let mut sse = Events::watch(&plane, "/v1/events", "").await;
    let mut lines = Events::watch(&plane, "/v1/events", "Accept: application/x-ndjson\r\n").await;
    assert_eq!(
        sse.next(":").await,
        " sidebeat",
        "it says at once that it is there"
    );
    let stream = plane.enter(Some("42"), &[]);
    ask(
        &plane,
        &format!("PATCH /v1/streams/{}", stream.id),
        "",
        r#"{"uid":"43"}"#,
    )
    .await;
    end(&plane.registry, &stream, Evidence::default());
    for (kind, uid) in [("opened", "42"), ("bound", "43"), ("closed", "43")] {
        assert_eq!(sse.next("event: ").await, kind);
        let event: Value = serde_json::from_str(&sse.next("data: ").await).unwrap();
        assert_eq!(event["type"], kind);
        assert_eq!(
            (&event["data"]["id"], &event["data"]["uid"]),
            (&json!(stream.id), &json!(uid))
        );
        assert!(humantime::parse_rfc3339(event["time"].as_str().unwrap()).is_ok());
        let line: Value = serde_json::from_str(&format!("{{{}", lines.next("{").await)).unwrap();
        assert_eq!(line, event);
    }
}

#[tokio::test]
async fn the_streams_nearest_to_their_deadline_come_on_request() {
    let plane = Plane::open();
    let streams: Vec<_> = (0..4).map(|_| plane.enter(None, &[])).collect();
    for (stream, left) in streams.iter().zip([30, 10, 20]) {
        let deadline = Duration::from_secs(left);
        stream.figures.set_deadline(
            Some((deadline, crate::proto::cause::Reason::ClientIdle)),
            false,
        );
    }
    let mut events = Events::watch(&plane, "/v1/events?nearest=2", "").await;
    assert_eq!(events.next("event: ").await, "nearest");
    let event: Value = serde_json::from_str(&events.next("data: ").await).unwrap();
    assert_eq!(event["data"]["open"], 4);
    let items = event["data"]["items"].as_array().unwrap();
    let nearest: Vec<_> = items.iter().map(|item| &item["id"]).collect();
    assert_eq!(nearest, [&json!(streams[1].id), &json!(streams[2].id)]);
}

#[tokio::test]
async fn a_watcher_that_does_not_read_is_cut_and_holds_up_nobody() {
    let plane = Plane::open();
    let mut slow = Events::watch(&plane, "/v1/events", "").await;
    // More than the sockets and the ring of happenings hold.
    for _ in 0..40_000 {
        let stream = plane.enter(None, &["x"]);
        end(&plane.registry, &stream, Evidence::default());
        if stream.id.as_bytes()[15] == 0 {
            tokio::task::yield_now().await;
        }
    }
    loop {
        let comment = slow.next(":").await;
        if comment != " sidebeat" {
            assert!(comment.contains("too slow"), "{comment}");
            break;
        }
    }
    slow.next("0").await;
    let quick = Events::watch(&plane, "/v1/events", "").await;
    drop(quick);
}

#[tokio::test]
async fn only_so_many_watch_at_a_time() {
    let plane = Plane::open();
    let mut watchers = Vec::new();
    for _ in 0..32 {
        watchers.push(Events::watch(&plane, "/v1/events", "").await);
    }
    assert_eq!(get(&plane, "/v1/events").await.status, 503);
    drop(watchers);
    while plane.registry.feed.watch(1).is_none() {
        tokio::task::yield_now().await;
    }
    Events::watch(&plane, "/v1/events", "").await;
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
