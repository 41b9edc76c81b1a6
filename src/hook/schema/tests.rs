use super::*;
use crate::hook::message::tests::{every_kind, written_event};
use crate::hook::sign::Secret;

#[test]
fn every_event_meets_the_schema_and_the_schema_knows_every_field() {
    let schema = schema();
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
    let schema = schema();
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

/// The captured event of the documentation: still of the schema, and signed by the example key of Standard Webhooks.
#[test]
fn the_event_in_the_documentation_is_a_real_one() {
    let page = include_str!("../../../docs/hooks.md");
    let block = |language: &str| {
        let start = page.split_once(&format!("```{language}\n")).unwrap().1;
        start.split_once("```").unwrap().0
    };
    let (head, json) = (block("http"), block("json"));
    let body: Value = serde_json::from_str(json).unwrap();
    let schema = schema();
    let definition = &schema["$defs"]["sidebeat.stream.closed"];
    assert_eq!(check(&schema, definition, &body), Ok(()));
    // As it was sent: without what a reader needs, which is the white space outside of strings.
    let mut quoted = false;
    let sent = |c: &char| {
        quoted ^= *c == '"';
        quoted || !c.is_whitespace()
    };
    let sent: String = json.chars().filter(sent).collect();
    let header = |name: &str| {
        let mut lines = head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(other, _)| *other == name).unwrap().1
    };
    assert_eq!(header("content-length"), sent.len().to_string());
    let secret = Secret::parse(b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
    let timestamp = header("webhook-timestamp").parse().unwrap();
    let signature = secret.sign(header("webhook-id"), timestamp, sent.as_bytes());
    assert_eq!(header("webhook-signature"), signature);
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
