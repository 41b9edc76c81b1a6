//! Events that a process could not deliver before its end.

use super::*;

#[tokio::test]
async fn events_left_by_a_process_come_with_the_same_bytes_and_at_once() {
    let (receiver, open) = gated().await;
    let (directory, app) = (tempfile::tempdir().unwrap(), everything(&receiver));
    let patient = config::Hook {
        give_up_after: Duration::from_secs(7_200),
        ..app.clone()
    };
    let first = Life::begin(directory.path(), &[("app", &patient)]);
    for stream in 0..10 {
        first.proxy.opened(stream, Some("42"));
        first.proxy.closed(stream, Some("42"));
    }
    // Even if it happened long before any process was there to try.
    let long_ago = SystemTime::now() - Duration::from_secs(3_600);
    let event = Event::Closed(Arc::new(closed(77, None)));
    first.proxy.hooks.emit(event, long_ago, Instant::now());
    first.committed().await;
    let refused = receiver.all();
    let left = first.kill();
    open.send(true).unwrap();
    let before = receiver.all().len();
    let second = Life::begin(left.path(), &[("app", &app)]);
    second.proxy.settled().await;
    let delivered = distinct(&receiver.all()[before..]);
    // Twenty, the old one, and a start of each.
    assert_eq!(delivered.len(), 23);
    let of_uid = |requests: &[Received]| -> Vec<Value> {
        let events = requests.iter().map(Received::event);
        events
            .filter(|event| event["partitionkey"] == "42")
            .collect()
    };
    let sequences: Vec<String> = of_uid(&delivered)
        .iter()
        .map(|event| event["sequence"].to_string())
        .collect();
    assert!(
        sequences.len() == 20 && sequences.is_sorted(),
        "{sequences:?}"
    );
    for request in &refused {
        let again = delivered
            .iter()
            .find(|other| other.header("webhook-id") == request.header("webhook-id"));
        assert_eq!(again.unwrap().body, request.body);
    }
    let delivered = second.proxy.result("delivered");
    assert_eq!((delivered, second.proxy.result("expired")), (11.0, 0.0));
}

#[tokio::test]
async fn what_a_queue_has_no_room_for_waits_in_the_log_and_keeps_its_order() {
    const EVENTS: usize = CAPACITY + 1_000;
    let (receiver, open) = gated().await;
    let (directory, app) = (tempfile::tempdir().unwrap(), receiver.hook());
    let first = Life::begin(directory.path(), &[("app", &app)]);
    for nth in 0..EVENTS {
        let uid = (nth % 100).to_string();
        first.proxy.closed(nth as u128, Some(&uid));
    }
    first.committed().await;
    let queued = "sidebeat_hook_queue_events{hook=\"app\"}";
    assert_eq!(first.proxy.hooks.status()[0].queued, EVENTS);
    assert_eq!(first.proxy.metric(queued), Some(EVENTS as f64));
    assert_eq!(first.proxy.result("dropped"), 0.0);
    let left = first.kill();
    open.send(true).unwrap();
    let before = receiver.all().len();
    let second = Life::begin(left.path(), &[("app", &app)]);
    second.proxy.closed(EVENTS as u128, Some("0"));
    second.proxy.settled().await;
    assert_eq!(second.proxy.result("delivered"), (EVENTS + 1) as f64);
    let mut of_uid: std::collections::HashMap<String, Vec<String>> = Default::default();
    let mut numbers = HashSet::new();
    for request in distinct(&receiver.all()[before..]) {
        let event = request.event();
        let number = (event["source"].to_string(), event["sequence"].to_string());
        assert!(numbers.insert(number), "a second one: {event}");
        let time = event["time"].as_str().unwrap();
        let order = format!("{time} {}", event["sequence"]);
        let uid = event["partitionkey"].to_string();
        of_uid.entry(uid).or_default().push(order);
    }
    assert_eq!(of_uid.len(), 100);
    assert!(of_uid.values().all(|order| order.is_sorted()));
}

#[tokio::test]
async fn a_clock_that_was_set_back_neither_delays_nor_expires_what_was_left() {
    let (receiver, open) = gated().await;
    let (directory, app) = (tempfile::tempdir().unwrap(), everything(&receiver));
    let first = Life::begin(directory.path(), &[("app", &app)]);
    let tomorrow = SystemTime::now() + Duration::from_secs(86_400);
    let mut record = opened(1, Some("42"));
    record.opened_at = humantime::format_rfc3339_millis(tomorrow).to_string();
    let hooks = &first.proxy.hooks;
    let (opened, closed) = (Arc::new(record), Arc::new(closed(2, None)));
    hooks.emit(Event::Opened(opened), tomorrow, Instant::now());
    hooks.emit(Event::Closed(closed), tomorrow, Instant::now());
    first.committed().await;
    let left = first.kill();
    open.send(true).unwrap();
    let second = Life::begin(left.path(), &[("app", &app)]);
    second.proxy.settled().await;
    assert_eq!(second.proxy.result("delivered"), 2.0);
    let closed = events(&receiver, CLOSED);
    let crashed = |event: &&Value| event["data"]["reason"] == "sidecar_crash";
    let crashed = closed.iter().find(crashed).unwrap();
    assert_eq!(crashed["data"]["duration_ms"], 0);
    assert!(crashed["time"].as_str().unwrap() < crashed["data"]["opened_at"].as_str().unwrap());
}
