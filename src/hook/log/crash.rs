//! The closing record of a stream that was open when its process was killed.

use std::time::{Duration, SystemTime};

use serde_json::{Map, Value, json};

use super::record::BoundEntry;
use crate::hook::clock::rfc3339;
use crate::proto::cause::{Cause, Reason};

/// What was known of a stream only by the process that is gone.
const UNKNOWN: [&str; 5] = [
    "last_client_at",
    "last_upstream_at",
    "idle_ms",
    "deadline_at",
    "deadline_reason",
];

/// The closing record from the body of the stream's `opened` event and its identity since then; `now` is the start of
/// this process. `None` if `opened` is no such body.
pub(super) fn closing_record(
    opened: &[u8],
    identity: Option<&BoundEntry>,
    now: SystemTime,
) -> Option<Value> {
    let mut event: Value = serde_json::from_slice(opened).ok()?;
    let mut record = match event.get_mut("data")?.take() {
        Value::Object(record) => record,
        _ => return None,
    };
    let opened_at = record.get("opened_at")?.as_str()?;
    let opened_at = humantime::parse_rfc3339(opened_at).ok()?;
    if let Some(identity) = identity {
        record.insert("uid".to_owned(), json!(identity.uid));
        record.insert("uid_source".to_owned(), json!(identity.uid_source));
        record.insert("tags".to_owned(), json!(identity.tags));
    }
    // No stream of any uid is open in a process that starts.
    let left = record.get("uid").is_some_and(Value::is_string).then_some(0);
    for field in UNKNOWN {
        record.insert(field.to_owned(), Value::Null);
    }
    for group in ["bytes", "messages", "pings"] {
        let fields = record.get_mut(group)?.as_object_mut()?;
        fields.values_mut().for_each(|value| *value = Value::Null);
    }
    let cause = Cause::new(Reason::SidecarCrash);
    // A clock that was set back makes no negative time.
    let duration = now.duration_since(opened_at).unwrap_or(Duration::ZERO);
    let Value::Object(mut closing) = json!({
        "closed_at": rfc3339(now),
        "duration_ms": duration.as_millis() as u64,
        "reason": cause.reason.as_str(),
        "by": cause.by.as_str(),
        "close_code": cause.code,
        "close_reason": null,
        "detail": null,
        "idle_limit_ms": null,
        "lateness_ms": null,
        "uid_streams_left": left,
    }) else {
        return None;
    };
    record.append(&mut closing);
    Some(Value::Object(Map::from_iter(record)))
}
