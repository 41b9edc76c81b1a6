//! Durations, sizes and numbers.

use std::borrow::Cow;
use std::time::Duration;

use schemars::{Schema, json_schema};

use super::Kind;
use super::off::is_off;
use crate::config::units::{UnitError, parse_count, parse_duration, parse_percent, parse_size};

/// `55s`.
#[derive(Debug)]
pub(in crate::config) enum Span {}

impl Kind for Span {
    type Value = Duration;
    fn expected() -> Cow<'static, str> {
        "a duration such as `55s`".into()
    }
    fn parse(text: &str) -> Result<Duration, String> {
        if is_off(text) {
            return Err(format!(
                "this cannot be `{text}`: write a duration such as `5s`"
            ));
        }
        parse_duration(text).map_err(|error| error.to_string())
    }
    fn schema() -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^(?=.*[1-9])([0-9]+d)?([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$",
        })
    }
}

/// `16KiB`.
#[derive(Debug)]
pub(in crate::config) enum Size {}

impl Kind for Size {
    type Value = u64;
    fn expected() -> Cow<'static, str> {
        "a size such as `16KiB`".into()
    }
    fn parse(text: &str) -> Result<u64, String> {
        parse_size(text).map_err(|error| error.to_string())
    }
    fn schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^0*[1-9][0-9]*(B|KiB|MiB|GiB|KB|kB|MB|GB)$" })
    }
}

/// `10%`.
#[derive(Debug)]
pub(in crate::config) enum Percent {}

impl Kind for Percent {
    type Value = f64;
    fn expected() -> Cow<'static, str> {
        "a percentage such as `10%`".into()
    }
    fn parse(text: &str) -> Result<f64, String> {
        if is_off(text) {
            return Err(format!("this cannot be `{text}`: write `0%`"));
        }
        parse_percent(text).map_err(|error| error.to_string())
    }
    fn schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^[0-9]+(\\.[0-9]+)?%$" })
    }
}

/// `500`.
#[derive(Debug)]
pub(in crate::config) enum Count {}

impl Kind for Count {
    type Value = u32;
    fn expected() -> Cow<'static, str> {
        "a whole number of at least 1".into()
    }
    fn parse(text: &str) -> Result<u32, String> {
        if is_off(text) {
            return Err(format!(
                "this cannot be `{text}`: write a whole number of at least 1"
            ));
        }
        let count = parse_count(text, u32::MAX.into()).map_err(|error| error.to_string())?;
        u32::try_from(count).map_err(|error| error.to_string())
    }
    fn schema() -> Schema {
        json_schema!({ "type": "integer", "minimum": 1, "maximum": u32::MAX })
    }
}

/// `auto` or a number.
#[derive(Debug)]
pub(in crate::config) enum AutoOrCount {}

impl Kind for AutoOrCount {
    type Value = Option<usize>;
    fn expected() -> Cow<'static, str> {
        "`auto` or a whole number of at least 1".into()
    }
    fn parse(text: &str) -> Result<Option<usize>, String> {
        // More threads than this are never meant.
        const MOST: u64 = 1024;
        if text == "auto" {
            return Ok(None);
        }
        match parse_count(text, MOST) {
            Ok(count) => Ok(usize::try_from(count).ok()),
            Err(error @ UnitError::TooMuch { .. }) => Err(error.to_string()),
            Err(_) => Err(format!(
                "`{text}` is no number of threads: write {}",
                Self::expected()
            )),
        }
    }
    fn schema() -> Schema {
        json_schema!({ "anyOf": [{ "const": "auto" }, { "type": "integer", "minimum": 1, "maximum": 1024 }] })
    }
}

/// How many bytes a length takes.
#[derive(Debug)]
pub(in crate::config) enum PrefixBytes {}

impl Kind for PrefixBytes {
    type Value = u8;
    fn expected() -> Cow<'static, str> {
        "1, 2, 4 or 8".into()
    }
    fn parse(text: &str) -> Result<u8, String> {
        match text.parse() {
            Ok(bytes @ (1 | 2 | 4 | 8)) => Ok(bytes),
            _ => Err(format!("`{text}` bytes make no length: write 1, 2, 4 or 8")),
        }
    }
    fn schema() -> Schema {
        json_schema!({ "enum": [1, 2, 4, 8] })
    }
}

/// A close code that a server may send (RFC 6455 section 7.4).
#[derive(Debug)]
pub(in crate::config) enum CloseCode {}

impl Kind for CloseCode {
    type Value = u16;
    fn expected() -> Cow<'static, str> {
        "a close code such as `1012`".into()
    }
    fn parse(text: &str) -> Result<u16, String> {
        match text.parse() {
            Ok(code @ (1000..=1003 | 1007..=1013 | 3000..=4999)) => Ok(code),
            _ => Err(format!(
                "`{text}` is no close code that may be sent: write 1000 to 1003, 1007 to 1013 or 3000 to 4999"
            )),
        }
    }
    fn schema() -> Schema {
        json_schema!({ "type": "integer", "anyOf": [
            { "minimum": 1000, "maximum": 1003 },
            { "minimum": 1007, "maximum": 1013 },
            { "minimum": 3000, "maximum": 4999 },
        ] })
    }
}
