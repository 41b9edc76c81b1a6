//! Calls that change streams.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use crate::admin::Peer;
use crate::admin::fixture::Play;
use crate::admin::tests::exchange;
use crate::proto::framing::Unfit;
use crate::worker::Refusal;

const TEXT: &str = "Content-Type: text/plain\r\n";

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
            .answer(Peer::Unix(None), request(method, path.clone()))
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
