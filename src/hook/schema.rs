//! JSON Schemas of the events, for `sidebeat schema events`.
//!
//! Written by hand: what an app may rely on is a promise of its own, not whatever the records happen to be. A test
//! holds every event against it.

use serde_json::{Map, Value, json};

use super::event::{KINDS, type_name};
use crate::config::EventKind;
use crate::proto::cause::{By, Reason};

/// The JSON Schema (2020-12) of a hook's request body: one of the five events.
pub fn schema() -> Value {
    let one_of: Vec<Value> = KINDS
        .iter()
        .map(|kind| json!({"$ref": format!("#/$defs/{}", type_name(*kind))}))
        .collect();
    let mut definitions = Map::new();
    definitions.insert("both".to_owned(), object(both(), &[]));
    definitions.insert("stream".to_owned(), object(stream(), &[]));
    for kind in KINDS {
        definitions.insert(type_name(kind).to_owned(), event(kind));
    }
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "sidebeat hook event",
        "description": "A CloudEvent 1.0 in structured JSON. Later versions may add fields.",
        "oneOf": one_of,
        "$defs": definitions,
    })
}

fn event(kind: EventKind) -> Value {
    let text = json!({"type": "string", "minLength": 1});
    let mut fields = json!({
        "specversion": {"const": "1.0"},
        "type": {"const": type_name(kind)},
        "source": {"type": "string", "pattern": "^/sidebeat/[^/]+/[^/]+/[^/]+$",
            "description": "/sidebeat/{namespace}/{pod}/{boot id}"},
        "id": {"type": "string", "pattern": "^[^.]+$",
            "description": "the duplicate key: the same over retries and restarts"},
        "time": time("when it happened"),
        "sequence": {"type": "string", "pattern": "^[0-9]{20}$", "description": "rises per source"},
        "datacontenttype": {"const": "application/json"},
        "data": data(kind),
    });
    if matches!(
        kind,
        EventKind::Opened | EventKind::Closed | EventKind::Overdue
    ) {
        fields["partitionkey"] = text.clone();
        fields["partitionkey"]["description"] = json!("the uid, else the stream id");
        fields["subject"] = text;
        fields["subject"]["description"] = json!("the stream id");
    }
    object(fields, &[])
}

fn data(kind: EventKind) -> Value {
    let stream = json!({"$ref": "#/$defs/stream"});
    match kind {
        EventKind::Opened => stream,
        EventKind::Closed => object(closed(), &[stream]),
        EventKind::Overdue => {
            let fields = json!({
                "reason": {"enum": words(Reason::ALL, |reason| reason.as_str())},
                "idle_limit_ms": or_null(count("milliseconds")),
            });
            object(fields, &[stream])
        }
        EventKind::Started => object(
            json!({
                "version": {"type": "string"},
                "former_boot_id": or_null(json!({"type": "string"})),
                "recovered": count("streams that the former process left open"),
            }),
            &[],
        ),
        EventKind::Draining => object(
            json!({
                "streams": count("open when the drain began"),
                "delay": {"type": "string", "description": "a duration with its unit, 5s"},
                "spread": {"type": "string", "description": "a duration with its unit, 10s"},
            }),
            &[],
        ),
    }
}

fn closed() -> Value {
    let authors = [By::Client, By::Upstream, By::Sidecar, By::Admin];
    json!({
        "closed_at": time("when its cause was fixed"),
        "duration_ms": count("milliseconds"),
        "reason": {"enum": words(Reason::ALL, |reason| reason.as_str())},
        "by": {"enum": words(&authors, |by| by.as_str())},
        "close_code": or_null(json!({"type": "integer", "minimum": 1000, "maximum": 4999})),
        "close_reason": or_null(json!({"type": "string"})),
        "detail": or_null(json!({"type": "string", "description": "for people"})),
        "idle_limit_ms": or_null(count("milliseconds")),
        "lateness_ms": or_null(json!({"type": "number", "description": "after the deadline"})),
        "uid_streams_left": or_null(count("open streams of the same uid in this process")),
    })
}

fn stream() -> Value {
    let text = || or_null(json!({"type": "string"}));
    let either = json!({"$ref": "#/$defs/both"});
    json!({
        "id": {"type": "string", "format": "uuid", "description": "a UUIDv7"},
        "listener": {"type": "string"},
        "protocol": {"enum": ["ws", "wss", "tcp", "tls"]},
        "state": {"enum": ["open", "half_closed", "overdue"]},
        "uid": text(),
        "uid_source": {"enum": ["response_header", "query", "header", "cookie", "first_message", "api", null]},
        "tags": {"type": "array", "items": {"type": "string"}},
        "client": object(json!({
            "address": {"type": "string", "description": "ip:port"},
            "source": {"enum": ["socket", "proxy_protocol", "forwarded"]},
        }), &[]),
        "upstream": object(json!({
            "address": {"type": "string"},
            "local_address": or_null(json!({"type": "string",
                "description": "what the app sees as its client's address"})),
        }), &[]),
        "host": text(),
        "path": text(),
        "subprotocol": text(),
        "user_agent": text(),
        "opened_at": time("when it opened"),
        "last_client_at": or_null(time("when the client was last heard")),
        "last_upstream_at": or_null(time("when the app was last heard")),
        "idle_ms": or_null(count("milliseconds since the client was heard")),
        "deadline_at": or_null(time("when it ends if nothing is heard")),
        "deadline_reason": text(),
        "bytes": either,
        "messages": either,
        "pings": object(json!({
            "sent": or_null(count("pings")),
            "answered": or_null(count("pings")),
            "rtt_ms": or_null(json!({"type": "number"})),
        }), &[]),
    })
}

fn both() -> Value {
    json!({
        "client": or_null(count("read from the client")),
        "upstream": or_null(count("read from the app")),
    })
}

/// An object in which every field is required; `also` are schemas that it has to meet besides.
fn object(fields: Value, also: &[Value]) -> Value {
    let names: Vec<&String> = fields.as_object().into_iter().flat_map(Map::keys).collect();
    let mut schema = json!({"type": "object", "required": names, "properties": fields});
    if !also.is_empty() {
        schema["allOf"] = json!(also);
    }
    schema
}

fn or_null(schema: Value) -> Value {
    json!({"anyOf": [schema, {"type": "null"}]})
}

fn count(what: &str) -> Value {
    json!({"type": "integer", "minimum": 0, "description": what})
}

fn time(what: &str) -> Value {
    json!({"type": "string", "format": "date-time", "description": what})
}

fn words<T: Copy>(all: &[T], word: impl Fn(T) -> &'static str) -> Vec<&'static str> {
    all.iter().copied().map(word).collect()
}

#[cfg(test)]
pub(super) mod tests;
