//! Parameters and body fields: whatever is unknown, malformed or out of range is refused by its name.

use std::ops::RangeInclusive;
use std::time::Duration;

use http::StatusCode;
use serde_json::{Map, Value};

use super::problem::Problem;
use crate::config::parse_duration;
use crate::registry::{PARAMETERS, Selector, is_word};

/// No drain or close is meant to take longer; a longer one is a typing error.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// The parameters of a query that nobody has taken yet.
pub(super) struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// Reads a query; every name must be in `known`.
    pub(super) fn parse(query: Option<&str>, known: &[&str]) -> Result<Self, Problem> {
        Ok(Self(parameters(query, known)?))
    }

    /// Takes a parameter that may be given once.
    pub(super) fn take(&mut self, name: &str) -> Result<Option<String>, Problem> {
        let (mut mine, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut self.0)
            .into_iter()
            .partition(|(other, _)| other == name);
        self.0 = rest;
        match mine.len() {
            0 | 1 => Ok(mine.pop().map(|(_, value)| value)),
            _ => Err(Problem::parameter(name, "may be given once")),
        }
    }

    /// Takes `true` or `false`; the latter if it is absent.
    pub(super) fn flag(&mut self, name: &str) -> Result<bool, Problem> {
        match self.take(name)?.as_deref() {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(_) => Err(Problem::parameter(name, "write true or false")),
        }
    }

    /// Takes a whole number.
    pub(super) fn number(
        &mut self,
        name: &str,
        range: RangeInclusive<u64>,
    ) -> Result<Option<u64>, Problem> {
        let Some(text) = self.take(name)? else {
            return Ok(None);
        };
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        match text
            .parse()
            .ok()
            .filter(|number| digits && range.contains(number))
        {
            Some(number) => Ok(Some(number)),
            None => {
                let (least, most) = range.into_inner();
                let detail = format!("write a whole number from {least} to {most}");
                Err(Problem::parameter(name, detail))
            }
        }
    }

    /// Takes a duration with a unit, or `off` as zero.
    pub(super) fn duration_or_off(&mut self, name: &str) -> Result<Option<Duration>, Problem> {
        let text = self.take(name)?;
        text.map(|text| duration_or_off(name, &text)).transpose()
    }

    /// Takes every parameter of a selector.
    pub(super) fn selector(&mut self) -> Result<Selector, Problem> {
        let mut selector = Selector::default();
        let (mine, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut self.0)
            .into_iter()
            .partition(|(name, _)| PARAMETERS.contains(&name.as_str()));
        self.0 = rest;
        for (name, value) in mine {
            selector
                .set(&name, &value)
                .map_err(|detail| Problem::parameter(&name, detail))?;
        }
        Ok(selector)
    }

    /// Takes a selector for a call that changes every stream it matches: none at all is a slip, `all=true` is not.
    pub(super) fn bulk_selector(&mut self) -> Result<Selector, Problem> {
        let all = self.flag("all")?;
        let selector = self.selector()?;
        if selector.is_empty() && !all {
            let detail = "write a selector such as uid=42, or all=true for every stream";
            return Err(Problem::parameter("all", detail));
        }
        Ok(selector)
    }
}

fn duration_or_off(name: &str, text: &str) -> Result<Duration, Problem> {
    if text == "off" {
        return Ok(Duration::ZERO);
    }
    let duration = parse_duration(text)
        .ok()
        .filter(|duration| *duration <= LONGEST);
    duration.ok_or_else(|| {
        let detail = "write a duration of at most 24h such as \"20s\", or \"off\"";
        Problem::parameter(name, detail)
    })
}

/// Decodes a query; every name must be in `known`.
fn parameters(query: Option<&str>, known: &[&str]) -> Result<Vec<(String, String)>, Problem> {
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
        match self.left.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => duration_or_off(name, &text).map(Some),
            // What is no text is as wrong as an empty one.
            Some(_) => duration_or_off(name, "").map(Some),
        }
    }

    /// Takes a word of at most `max` bytes; `Some(None)` is null.
    pub(super) fn word_or_null(
        &mut self,
        name: &'static str,
        max: usize,
    ) -> Result<Option<Option<Box<str>>>, Problem> {
        self.known.push(name);
        match self.left.remove(name) {
            None => Ok(None),
            Some(Value::Null) => Ok(Some(None)),
            Some(value) => word(name, value, max).map(|word| Some(Some(word))),
        }
    }

    /// Takes a list of at most `most` words of at most `max` bytes; null is an empty one.
    pub(super) fn words(
        &mut self,
        name: &'static str,
        max: usize,
        most: usize,
    ) -> Result<Option<Vec<Box<str>>>, Problem> {
        self.known.push(name);
        match self.left.remove(name) {
            None => Ok(None),
            Some(Value::Null) => Ok(Some(Vec::new())),
            Some(Value::Array(words)) if words.len() <= most => {
                let words = words.into_iter().map(|value| word(name, value, max));
                words.collect::<Result<_, _>>().map(Some)
            }
            Some(_) => {
                let detail = format!("write a list of at most {most} texts");
                Err(Problem::parameter(name, detail))
            }
        }
    }

    /// Refuses what is left.
    pub(super) fn finish(self) -> Result<(), Problem> {
        match self.left.keys().next() {
            Some(name) => Err(unknown(name, "field", &self.known)),
            None => Ok(()),
        }
    }
}

fn word(name: &str, value: Value, max: usize) -> Result<Box<str>, Problem> {
    match value {
        Value::String(text) if is_word(&text, max) => Ok(text.into()),
        _ => {
            let detail = format!("write a text of 1 to {max} bytes without control characters");
            Err(Problem::parameter(name, detail))
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
