use serde_json::{Value, json};

use super::super::schema;
use super::super::tests::{closed, opened, overdue};
use super::*;

const AT: Duration = Duration::from_millis(1_795_000_000_123);

fn written_event(event: &Event, sequence: u64) -> (Message, Value) {
    let message = Message::new(
        event,
        UNIX_EPOCH + AT,
        "/sidebeat/chat/pod-1/boot",
        sequence,
    );
    let body = serde_json::from_slice(&message.body).unwrap();
    (message, body)
}

fn every_kind() -> [Event; 5] {
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
    let early = Message::new(event, UNIX_EPOCH - Duration::from_secs(1), "/s", 1);
    let body: Value = serde_json::from_slice(&early.body).unwrap();
    assert_eq!(body["time"], "1970-01-01T00:00:00.000Z");
}

#[test]
fn the_source_names_namespace_pod_and_boot() {
    let boot = Uuid::from_u128(9);
    let host = || Some("vm.example".to_owned());
    let of = |variables: &'static [(&'static str, &'static str)]| {
        let find = move |name: &str| {
            let found = variables.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        source_from(boot, find, host)
    };
    let source = of(&[("POD_NAMESPACE", "chat"), ("POD_NAME", "legacy-7d9f")]);
    assert_eq!(source, format!("/sidebeat/chat/legacy-7d9f/{boot}"));
    let source = of(&[("SIDEBEAT_POD_NAME", "a b/é"), ("POD_NAME", "other")]);
    assert_eq!(source, format!("/sidebeat/-/a%20b%2F%C3%A9/{boot}"));
    let source = of(&[("SIDEBEAT_POD_NAME", "")]);
    assert_eq!(source, format!("/sidebeat/-/vm.example/{boot}"));
    let source = source_from(boot, |_| None, || None);
    assert_eq!(source, format!("/sidebeat/-/-/{boot}"));
    assert!(host_name().is_some());
}

#[test]
fn every_event_meets_the_schema_and_the_schema_knows_every_field() {
    let schema = schema::schema();
    for event in every_kind() {
        let (_, body) = written_event(&event, 1);
        let kinds = schema["oneOf"].as_array().unwrap();
        let fitting = kinds
            .iter()
            .filter(|kind| check(&schema, kind, &body).is_ok());
        assert_eq!(fitting.count(), 1, "{body:#}");
        let definition = &schema["$defs"][type_name(event.kind())];
        assert_eq!(check(&schema, definition, &body), Ok(()));
        let known = fields(&schema, definition);
        assert_eq!(known, keys_of(&body));
        let known = fields(&schema, &definition["properties"]["data"]);
        assert_eq!(known, keys_of(&body["data"]));
    }
}

#[test]
fn the_check_of_the_schema_can_fail() {
    let schema = schema::schema();
    let (_, good) = written_event(&every_kind()[1], 1);
    let definition = &schema["$defs"]["sidebeat.stream.closed"];
    for (pointer, wrong) in [
        ("/data/reason", json!("bored")),
        ("/data/client/address", json!(7)),
        ("/data/bytes/client", json!("7")),
        ("/data/duration_ms", json!(-1)),
        ("/data/uid", json!([])),
        ("/specversion", json!("2.0")),
    ] {
        let mut body = good.clone();
        *body.pointer_mut(pointer).unwrap() = wrong;
        assert!(check(&schema, definition, &body).is_err(), "{pointer}");
    }
    let mut body = good.clone();
    body["data"].as_object_mut().unwrap().remove("uid");
    assert!(check(&schema, definition, &body).is_err());
}

fn keys_of(value: &Value) -> Vec<String> {
    let mut keys: Vec<String> = value.as_object().unwrap().keys().cloned().collect();
    keys.sort();
    keys
}

fn resolve<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    match schema["$ref"].as_str() {
        Some(reference) => root.pointer(reference.strip_prefix('#').unwrap()).unwrap(),
        None => schema,
    }
}

fn fields(root: &Value, schema: &Value) -> Vec<String> {
    let schema = resolve(root, schema);
    let mut fields = keys_of(&schema["properties"]);
    for also in schema["allOf"].as_array().into_iter().flatten() {
        fields.extend(self::fields(root, also));
    }
    fields.sort();
    fields
}

/// As much of JSON Schema as ours uses.
pub(in crate::hook) fn check(root: &Value, schema: &Value, value: &Value) -> Result<(), String> {
    let schema = resolve(root, schema);
    let fail = |what: &str| Err(format!("{value} is against {what} of {schema}"));
    if let Some(wanted) = schema.get("const")
        && wanted != value
    {
        return fail("const");
    }
    if let Some(words) = schema["enum"].as_array()
        && !words.contains(value)
    {
        return fail("enum");
    }
    let fits = match schema["type"].as_str() {
        None => true,
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("integer") => value.is_i64() || value.is_u64(),
        Some("number") => value.is_number(),
        Some("null") => value.is_null(),
        Some(other) => return fail(other),
    };
    if !fits {
        return fail("type");
    }
    if let (Some(least), Some(number)) = (schema["minimum"].as_f64(), value.as_f64())
        && number < least
    {
        return fail("minimum");
    }
    for name in schema["required"].as_array().into_iter().flatten() {
        if value.get(name.as_str().unwrap()).is_none() {
            return fail(name.as_str().unwrap());
        }
    }
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        if let Some(value) = value.get(name) {
            check(root, field, value)?;
        }
    }
    for item in value.as_array().into_iter().flatten() {
        check(root, &schema["items"], item)?;
    }
    for also in schema["allOf"].as_array().into_iter().flatten() {
        check(root, also, value)?;
    }
    if let Some(choices) = schema["anyOf"].as_array()
        && choices
            .iter()
            .all(|choice| check(root, choice, value).is_err())
    {
        return fail("anyOf");
    }
    Ok(())
}
