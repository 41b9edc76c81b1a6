use serde_json::{Value, json};

use super::*;
use crate::hook::tests::{closed, opened, overdue};

const AT: Duration = Duration::from_millis(1_795_000_000_123);

pub(in crate::hook) fn written_event(event: &Event, sequence: u64) -> (Message, Value) {
    let at = Moment {
        wall: UNIX_EPOCH + AT,
        steady: AT - Duration::from_secs(3_600),
    };
    let message = Message::new(event, at, "/sidebeat/chat/pod-1/boot", sequence);
    let body = serde_json::from_slice(&message.body).unwrap();
    (message, body)
}

pub(in crate::hook) fn every_kind() -> [Event; 5] {
    [
        Event::Opened(Arc::new(opened(1, None))),
        Event::Closed(Arc::new(closed(1, Some("42")))),
        Event::Overdue(Arc::new(overdue(1, Some("42")))),
        Event::Started {
            former_boot_id: None,
            recovered: 3,
        },
        Event::Draining {
            streams: 7,
            delay: Duration::from_secs(90),
            spread: Duration::ZERO,
        },
    ]
}

#[test]
fn a_closed_event_has_the_attributes_of_the_contract() {
    let event = Event::Closed(Arc::new(closed(7, Some("42"))));
    let (message, mut body) = written_event(&event, 4711);
    let stream = Uuid::from_u128(7).to_string();
    let data = body["data"].take();
    assert_eq!(
        body,
        json!({
            "specversion": "1.0",
            "type": "sidebeat.stream.closed",
            "source": "/sidebeat/chat/pod-1/boot",
            "id": message.id,
            "time": "2026-11-18T11:06:40.123Z",
            "sequence": "00000000000000004711",
            "partitionkey": "42",
            "subject": stream,
            "datacontenttype": "application/json",
            "data": null,
        })
    );
    assert_eq!(data["id"], stream);
    assert_eq!(data["reason"], "client_idle");
    assert!(message.id.starts_with("evt_") && !message.id.contains('.'));
    assert_eq!(message.keys.stream, Some(Uuid::from_u128(7)));
    assert_eq!(message.keys.uid.as_deref(), Some("42"));
}

#[test]
fn the_partition_key_is_the_uid_else_the_stream() {
    let (message, body) = written_event(&Event::Opened(Arc::new(opened(7, None))), 1);
    assert_eq!(body["partitionkey"], Uuid::from_u128(7).to_string());
    assert_eq!(message.keys.uid, None);
    let (_, body) = written_event(&every_kind()[4], 1);
    assert_eq!(body.get("partitionkey"), None);
    assert_eq!(body.get("subject"), None);
    assert_eq!(
        body["data"],
        json!({"streams": 7, "delay": "1m30s", "spread": "0s"})
    );
}

#[test]
fn ids_differ_and_a_clock_before_1970_is_survived() {
    let event = &every_kind()[3];
    let (first, second) = (written_event(event, 1).0, written_event(event, 2).0);
    assert_ne!(first.id, second.id);
    // What happens once to a stream has one id, whoever reports it.
    let closed = [closed(7, None), closed(7, Some("42")), closed(8, None)];
    let closed = closed.map(|record| Event::Closed(Arc::new(record)));
    let [first, second, other] = closed.map(|event| written_event(&event, 1).0.id);
    assert_eq!(first, second);
    assert_ne!(first, other);
    assert!(!first.contains('.'));
    let early = Moment {
        wall: UNIX_EPOCH - Duration::from_secs(1),
        steady: Duration::ZERO,
    };
    let early = Message::new(event, early, "/s", 1);
    let body: Value = serde_json::from_slice(&early.body).unwrap();
    assert_eq!(body["time"], "1970-01-01T00:00:00.000Z");
}
