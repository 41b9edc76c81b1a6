//! The JSON Schema of the configuration file, for editors and checks of charts.

use super::raw::RawConfig;

/// The schema (draft 2020-12); anything it accepts is well-formed, what fits together is told by `check`.
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(RawConfig).to_value()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use serde_json::Value;

    use super::*;

    const CASES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cases/config");

    /// Whether `value` fits `node`, by the keywords that the schema uses; `pattern` only where it is for a reference.
    fn fits(root: &Value, node: &Value, value: &Value) -> bool {
        let Some(node) = node.as_object() else {
            return node == &Value::Bool(true);
        };
        let list = |key: &str| node[key].as_array().unwrap();
        node.iter().all(|(key, rule)| match key.as_str() {
            "$ref" => {
                let pointer = rule.as_str().unwrap().trim_start_matches('#');
                fits(root, root.pointer(pointer).unwrap(), value)
            }
            "anyOf" => list(key).iter().any(|node| fits(root, node, value)),
            "oneOf" => {
                let fitting = list(key).iter().filter(|node| fits(root, node, value));
                fitting.count() == 1
            }
            "type" => match rule.as_str().unwrap() {
                "object" => value.is_object(),
                "array" => value.is_array(),
                "string" => value.is_string(),
                "integer" => value.is_u64(),
                "boolean" => value.is_boolean(),
                other => panic!("type {other}"),
            },
            "enum" => list(key).contains(value),
            "const" => rule == value,
            "minimum" => value.as_u64().is_none_or(|n| n >= rule.as_u64().unwrap()),
            "maximum" => value.as_u64().is_none_or(|n| n <= rule.as_u64().unwrap()),
            "minLength" => value.as_str().is_none_or(|s| !s.is_empty()),
            "minItems" => value.as_array().is_none_or(|a| !a.is_empty()),
            "pattern" => rule != r"\$\{" || value.as_str().is_none_or(|text| text.contains("${")),
            "items" => value
                .as_array()
                .is_none_or(|items| items.iter().all(|item| fits(root, rule, item))),
            "required" => value.as_object().is_none_or(|map| {
                list(key)
                    .iter()
                    .all(|name| map.contains_key(name.as_str().unwrap()))
            }),
            "properties" => value.as_object().is_none_or(|map| {
                map.iter()
                    .all(|(name, value)| rule.get(name).is_none_or(|rule| fits(root, rule, value)))
            }),
            "additionalProperties" => value.as_object().is_none_or(|map| {
                let known = node.get("properties");
                map.iter()
                    .filter(|(name, _)| known.is_none_or(|known| known.get(name).is_none()))
                    .all(|(_, value)| fits(root, rule, value))
            }),
            "$schema" | "$defs" | "title" | "description" | "default" => true,
            other => panic!("keyword {other}"),
        })
    }

    fn read(case: &str) -> Value {
        let text = std::fs::read_to_string(Path::new(CASES).join(case)).unwrap();
        let options = serde_saphyr::options! { strict_booleans: true };
        serde_saphyr::from_str_with_options(&text, options).unwrap()
    }

    #[test]
    fn good_cases_fit() {
        let schema = schema();
        let mut seen = 0;
        for entry in std::fs::read_dir(Path::new(CASES).join("good")).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            assert!(
                fits(&schema, &schema, &read(&format!("good/{name}"))),
                "{name}"
            );
            seen += 1;
        }
        assert_eq!(seen, 10);
    }

    #[test]
    fn malformed_cases_do_not_fit() {
        let schema = schema();
        for name in [
            "admin_on",
            "close_code",
            "framing_bytes_three",
            "framing_no_bytes",
            "framing_two_keys",
            "framing_word",
            "hook_events_empty",
            "hook_events_scalar",
            "hook_no_url",
            "hook_rate_zero",
            "idle_limit_bare",
            "idle_limit_empty",
            "idle_limit_list",
            "idle_limit_true",
            "identity_two_keys",
            "identity_unknown",
            "listener_list",
            "listeners_null",
            "listen_missing",
            "log_level",
            "mode_word",
            "ping_unknown",
            "streams_off",
            "tls_no_certificates",
            "tls_no_key",
            "unknown_in_listener",
            "unknown_top_level",
            "workers_word",
        ] {
            let case = read(&format!("bad/{name}.yaml"));
            assert!(!fits(&schema, &schema, &case), "{name}");
        }
    }

    /// Compares what `node` documents as defaults with what `shown` really has.
    fn compare(root: &Value, node: &Value, shown: &Value, path: &str, seen: &mut BTreeSet<String>) {
        let node = match node.get("$ref") {
            Some(pointer) => {
                let pointer = pointer.as_str().unwrap().trim_start_matches('#');
                root.pointer(pointer).unwrap()
            }
            None => node,
        };
        let alternatives = node.get("anyOf").and_then(Value::as_array);
        for node in alternatives.into_iter().flatten() {
            compare(root, node, shown, path, seen);
        }
        let Some(map) = shown.as_object() else {
            return;
        };
        for (key, value) in map {
            let path = format!("{path}/{key}");
            let property = node.pointer(&format!("/properties/{key}"));
            let rule = property.or(node.get("additionalProperties"));
            if let Some(default) = property.and_then(|property| property.get("default")) {
                assert_eq!(default, value, "{path}");
                seen.insert(key.clone());
            }
            if let Some(rule) = rule {
                compare(root, rule, value, &path, seen);
            }
        }
    }

    #[test]
    fn documented_defaults_are_the_real_ones() {
        let text = "listeners: { a: { listen: 'ws://0.0.0.0:1', upstream: 'ws://a' }, b: { listen: 'tcp://0.0.0.0:2', upstream: 'tcp://a:1', framing: { length_prefix: { bytes: 4, includes_itself: true } } }, c: { listen: 'tcp://0.0.0.0:3', upstream: 'tcp://a:1' } }\nhooks: { h: { url: 'http://a' } }";
        let config = super::super::load::read(text, &Default::default()).unwrap();
        let mut shown = config.redacted();
        // The only key here that is not at its default.
        let framing = shown["listeners"]["b"]["framing"].take();
        assert_eq!(framing["length_prefix"]["max"], "10MiB");
        shown["listeners"]["b"]["framing"] = "raw".into();
        let schema = schema();
        let mut seen = BTreeSet::new();
        compare(&schema, &schema, &shown, "", &mut seen);
        let unseen: Vec<&String> = std::iter::once(&schema)
            .chain(schema["$defs"].as_object().unwrap().values())
            .filter_map(|node| node["properties"].as_object())
            .flatten()
            .filter(|(key, rule)| rule.get("default").is_some() && !seen.contains(*key))
            .map(|(key, _)| key)
            .collect();
        // `max` is seen above; the others are shown only of a listener with certificates.
        assert_eq!(unseen, ["max", "client_auth", "min_version"]);
    }
}
