//! Parameters and body fields: whatever is unknown, malformed or out of range is refused by its name.

use std::time::Duration;

use http::StatusCode;
use serde_json::{Map, Value};

use super::problem::Problem;

/// No drain or close is meant to take longer; a longer one is a typing error.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// Decodes a query; every name must be in `known`.
pub(super) fn parameters(
    query: Option<&str>,
    known: &[&str],
) -> Result<Vec<(String, String)>, Problem> {
    let mut parameters = Vec::new();
    for pair in query.unwrap_or_default().split('&') {
        if pair.is_empty() {
            continue;
        }
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let malformed = || Problem::parameter(name, "not valid percent-encoded UTF-8");
        let name = decode(name).ok_or_else(malformed)?;
        if !known.contains(&name.as_str()) {
            return Err(unknown(&name, "parameter", known));
        }
        let value = decode(value).ok_or_else(malformed)?;
        parameters.push((name, value));
    }
    Ok(parameters)
}

/// `application/x-www-form-urlencoded` of the URL standard, but strict: what is not UTF-8 is an error and not replaced.
fn decode(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                let (high, low) = (digit()?, digit()?);
                u8::try_from(high * 16 + low).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(decoded).ok()
}

/// The members of a JSON body that nobody has taken yet.
pub(super) struct Fields {
    left: Map<String, Value>,
    known: Vec<&'static str>,
}

impl Fields {
    /// Reads a body; an empty one is an empty object.
    pub(super) fn parse(body: &[u8]) -> Result<Self, Problem> {
        let malformed = |detail: String| Problem::new(StatusCode::BAD_REQUEST, detail);
        let left = if body.trim_ascii().is_empty() {
            Map::new()
        } else {
            match serde_json::from_slice(body) {
                Ok(Value::Object(left)) => left,
                Ok(_) => return Err(malformed("the body must be a JSON object".to_owned())),
                Err(error) => return Err(malformed(format!("the body is not JSON: {error}"))),
            }
        };
        Ok(Self {
            left,
            known: Vec::new(),
        })
    }

    /// Takes a duration with a unit, or `off` as zero.
    pub(super) fn duration_or_off(
        &mut self,
        name: &'static str,
    ) -> Result<Option<Duration>, Problem> {
        self.known.push(name);
        let duration = match self.left.remove(name) {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::String(text)) if text == "off" => Some(Duration::ZERO),
            Some(Value::String(text)) => humantime::parse_duration(&text)
                .ok()
                .filter(|duration| !duration.is_zero() && *duration <= LONGEST),
            Some(_) => None,
        };
        duration.map(Some).ok_or_else(|| {
            Problem::parameter(
                name,
                "write a duration of at most 24h such as \"20s\", or \"off\"",
            )
        })
    }

    /// Refuses what is left.
    pub(super) fn finish(self) -> Result<(), Problem> {
        match self.left.keys().next() {
            Some(name) => Err(unknown(name, "field", &self.known)),
            None => Ok(()),
        }
    }
}

fn unknown(name: &str, what: &str, known: &[&str]) -> Problem {
    let detail = if known.is_empty() {
        format!("this call takes no {what}")
    } else {
        format!("unknown {what}; this call takes {}", known.join(", "))
    };
    Problem::parameter(name, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_decoded_and_its_names_are_known() {
        let known = ["uid", "tag"];
        let pairs = parameters(Some("tag=room%3A7&tag=a+b&uid=&&uid=%C3%BC"), &known).unwrap();
        let pairs: Vec<_> = pairs
            .iter()
            .map(|(n, v)| (n.as_str(), v.as_str()))
            .collect();
        assert_eq!(
            pairs,
            [("tag", "room:7"), ("tag", "a b"), ("uid", ""), ("uid", "ü")]
        );
        assert!(parameters(None, &[]).unwrap().is_empty());
        for (query, culprit) in [
            ("uid=1&limt=5", "limt"),
            ("uid=%", "uid"),
            ("uid=%4", "uid"),
            ("uid=%zz", "uid"),
            ("tag=%ff", "tag"),
            ("%74ags=1", "tags"),
            ("%=1", "%"),
            ("UID=1", "UID"),
        ] {
            let problem = parameters(Some(query), &known).unwrap_err();
            assert_eq!(problem.status, StatusCode::BAD_REQUEST, "{query}");
            assert_eq!(problem.parameter.as_deref(), Some(culprit), "{query}");
        }
    }

    #[test]
    fn durations_carry_a_unit_or_are_off() {
        let read = |body: &str| {
            let mut fields = Fields::parse(body.as_bytes()).unwrap();
            fields.duration_or_off("spread")
        };
        assert_eq!(read(""), Ok(None));
        assert_eq!(read("{}"), Ok(None));
        assert_eq!(read(r#"{"spread":null}"#), Ok(None));
        assert_eq!(read(r#"{"spread":"off"}"#), Ok(Some(Duration::ZERO)));
        let seconds = |seconds| Ok(Some(Duration::from_secs(seconds)));
        assert_eq!(read(r#"{"spread":"20s"}"#), seconds(20));
        assert_eq!(read(r#"{"spread":"1m30s"}"#), seconds(90));
        assert_eq!(read(r#"{"spread":"24h"}"#), seconds(86_400));
        for bad in [
            "20", "\"20\"", "\"0s\"", "\"-1s\"", "\"25h\"", "\"\"", "[]", "true",
        ] {
            let problem = read(&format!(r#"{{"spread":{bad}}}"#)).unwrap_err();
            assert_eq!(problem.parameter.as_deref(), Some("spread"), "{bad}");
        }
    }

    #[test]
    fn a_body_is_an_object_of_known_fields() {
        for bad in ["[]", "1", "{", "{\"a\":1}x", "\u{0}"] {
            let problem = Fields::parse(bad.as_bytes()).err().unwrap();
            assert_eq!(problem.status, StatusCode::BAD_REQUEST, "{bad}");
        }
        let mut fields = Fields::parse(br#"{"spread":"1s","sprad":"2s"}"#).unwrap();
        fields.duration_or_off("spread").unwrap();
        let problem = fields.finish().unwrap_err();
        assert_eq!(problem.parameter.as_deref(), Some("sprad"));
        assert!(problem.detail.contains("spread"), "{}", problem.detail);
    }
}
