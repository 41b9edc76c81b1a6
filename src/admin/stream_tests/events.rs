//! Events as they happen.

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::*;
use crate::proto::cause::Reason;

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
        stream
            .figures
            .set_deadline(Some((deadline, Reason::ClientIdle)), false);
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
