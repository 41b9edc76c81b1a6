//! Streams that were open when a process was killed.

use super::*;
use crate::hook::schema::tests::check;

#[tokio::test]
async fn streams_open_at_a_crash_are_reported_once_in_order_and_under_their_last_uid() {
    let (receiver, open) = gated().await;
    open.send(true).unwrap();
    let (directory, app) = (tempfile::tempdir().unwrap(), everything(&receiver));
    let first = Life::begin(directory.path(), &[("app", &app)]);
    first.proxy.opened(1, Some("42"));
    first.proxy.opened(2, None);
    first.proxy.opened(3, Some("42"));
    first.proxy.closed(3, Some("42"));
    first.proxy.hooks.rebound(&entry(2, "late"));
    receiver.wait_for(5).await;
    // Also what the receiver has said to them: an event whose answer is not written comes again.
    first.proxy.settled().await;
    first.committed().await;
    let left = first.kill();
    // Nothing of what the second process says comes through before it is killed, too.
    open.send(false).unwrap();
    let second = Life::begin(left.path(), &[("app", &app)]);
    second.committed().await;
    let left = second.kill();
    let before = receiver.all().len();
    open.send(true).unwrap();
    let third = Life::begin(left.path(), &[("app", &app)]);
    third.proxy.opened(4, Some("42"));
    third.committed().await;
    third.proxy.settled().await;

    let received = distinct(&receiver.all()[before..]);
    let received: Vec<Value> = received.iter().map(Received::event).collect();
    let of = |kind: &str| -> Vec<&Value> {
        received
            .iter()
            .filter(|event| event["type"] == kind)
            .collect()
    };
    let schema = schema();
    for event in &received {
        let definition = &schema["$defs"][event["type"].as_str().unwrap()];
        check(&schema, definition, event).unwrap();
    }
    // No order is promised between what two processes say of themselves.
    let started = of(STARTED);
    let (found, rest): (Vec<&Value>, Vec<&Value>) = started
        .into_iter()
        .partition(|event| event["data"]["recovered"] == 2);
    assert_eq!((found.len(), rest.len()), (1, 1));
    assert_eq!(rest[0]["data"]["recovered"], 0, "nothing was open any more");
    let mut closed = of(CLOSED);
    closed.retain(|event| event["data"]["reason"] == "sidecar_crash");
    let uids: HashSet<&str> = closed
        .iter()
        .map(|event| event["data"]["uid"].as_str().unwrap())
        .collect();
    assert_eq!((closed.len(), uids), (2, HashSet::from(["42", "late"])));
    assert_ne!(closed[0]["sequence"], closed[1]["sequence"]);
    for event in &closed {
        let data = &event["data"];
        assert_eq!(data["by"], "sidecar");
        assert_eq!(data["uid_streams_left"], 0);
        assert_eq!(data["closed_at"], event["time"]);
        assert_eq!(
            data["bytes"],
            serde_json::json!({"client": null, "upstream": null})
        );
        assert_eq!(data["pings"]["sent"], Value::Null);
        assert_eq!(
            event["source"], found[0]["source"],
            "of the process that found it"
        );
        assert_eq!(event["partitionkey"], data["uid"]);
    }
    let late = closed
        .iter()
        .find(|event| event["data"]["uid"] == "late")
        .unwrap();
    assert_eq!(late["data"]["uid_source"], "query");
    assert_eq!(late["data"]["tags"], serde_json::json!(["vip"]));
    // The user who is back is told of after he was gone.
    let place = |kind: &str, subject: u128| {
        let subject = Uuid::from_u128(subject).to_string();
        received
            .iter()
            .position(|event| event["type"] == kind && event["subject"] == *subject)
            .unwrap()
    };
    assert!(place(CLOSED, 1) < place(OPENED, 4));
    let all = events(&receiver, CLOSED);
    let ids: HashSet<&str> = all
        .iter()
        .map(|event| event["id"].as_str().unwrap())
        .collect();
    assert_eq!(ids.len(), 3, "one id for each stream that closed");
}

fn entry(stream: u128, uid: &str) -> Arc<Entry> {
    let mut entry = crate::registry::tests::entry("chat", "203.0.113.9:50122", Some(uid), &["vip"]);
    Arc::get_mut(&mut entry).unwrap().id = Uuid::from_u128(stream);
    entry
}

#[tokio::test]
async fn a_hook_that_wants_only_closed_learns_of_a_crash() {
    let receiver = Receiver::start(|_, _| Answer::Status(200)).await;
    let app = config::Hook {
        events: vec![EventKind::Closed],
        ..receiver.hook()
    };
    let directory = tempfile::tempdir().unwrap();
    let first = Life::begin(directory.path(), &[("app", &app)]);
    let hooks = &first.proxy.hooks;
    assert!(hooks.wants(EventKind::Opened, "chat") && hooks.wants(EventKind::Closed, "other"));
    first.proxy.opened(1, None);
    first.proxy.opened(2, None);
    first.proxy.closed(2, None);
    first.committed().await;
    first.proxy.settled().await;
    let second = Life::begin(first.kill().path(), &[("app", &app)]);
    second.proxy.settled().await;
    let reasons: Vec<Value> = events(&receiver, CLOSED)
        .iter()
        .map(|event| event["data"]["reason"].clone())
        .collect();
    assert_eq!(reasons, ["client_idle", "sidecar_crash"]);
    assert_eq!(receiver.all().len(), 2);
}

#[tokio::test]
async fn a_reload_neither_loses_nor_invents_streams() {
    let receiver = Receiver::start(|_, _| Answer::Status(200)).await;
    let (directory, app) = (tempfile::tempdir().unwrap(), everything(&receiver));
    let first = Life::begin(directory.path(), &[("app", &app)]);
    first.proxy.opened(1, None);
    first.proxy.opened(2, None);
    first.committed().await;
    first.proxy.hooks.reload(&IndexMap::new()).unwrap();
    // No hook wants it, but the log has to know that the stream is over.
    assert!(first.proxy.hooks.wants(EventKind::Closed, "chat"));
    assert!(!first.proxy.hooks.wants(EventKind::Opened, "chat"));
    first.proxy.closed(1, None);
    first.committed().await;
    let second = Life::begin(first.kill().path(), &[("app", &app)]);
    second.proxy.settled().await;
    let closed = events(&receiver, CLOSED);
    assert_eq!(closed.len(), 1);
    assert_eq!(closed[0]["subject"], Uuid::from_u128(2).to_string());
}
