//! The kinds of scalars: what each text means, and its JSON Schema.

use std::borrow::Cow;
use std::marker::PhantomData;
use std::path::PathBuf;
use std::time::Duration;

use http::HeaderName;
use ipnet::IpNet;
use schemars::{Schema, json_schema};

use super::leaf::Kind;
use super::units::{UnitError, parse_count, parse_duration, parse_percent, parse_size};

/// `55s`.
#[derive(Debug)]
pub(super) enum Span {}

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
pub(super) enum Size {}

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
pub(super) enum Percent {}

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
pub(super) enum Count {}

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

/// Another kind, or `off` for none of it.
#[derive(Debug)]
pub(super) struct OrOff<K>(PhantomData<K>);

impl<K: Kind> Kind for OrOff<K> {
    type Value = Option<K::Value>;
    fn expected() -> Cow<'static, str> {
        format!("{} or `off`", K::expected()).into()
    }
    fn parse(text: &str) -> Result<Self::Value, String> {
        if is_off(text) {
            return Ok(None);
        }
        if is_on(text) {
            return Err(format!(
                "`{text}` is no value here: write {}",
                Self::expected()
            ));
        }
        let zero = text.bytes().any(|b| b == b'0')
            && text
                .bytes()
                .all(|b| matches!(b, b'0' | b'.' | b'a'..=b'z' | b'A'..=b'Z'));
        K::parse(text).map(Some).map_err(|message| {
            if zero {
                format!(
                    "`{text}` is zero: write `off` to disable it, or {}",
                    K::expected()
                )
            } else {
                message
            }
        })
    }
    fn schema() -> Schema {
        json_schema!({ "anyOf": [K::schema(), Off::schema()] })
    }
}

/// `off` alone, where a map or a list may stand as well.
#[derive(Debug)]
pub(super) enum Off {}

impl Kind for Off {
    type Value = ();
    fn expected() -> Cow<'static, str> {
        "`off` or keys with values".into()
    }
    fn parse(text: &str) -> Result<(), String> {
        if is_off(text) {
            Ok(())
        } else {
            Err(format!(
                "`{text}` has no meaning here: write {}",
                Self::expected()
            ))
        }
    }
    fn schema() -> Schema {
        json_schema!({ "enum": ["off", false] })
    }
}

/// `off` alone, where a list of networks may stand as well.
#[derive(Debug)]
pub(super) enum NoNetworks {}

impl Kind for NoNetworks {
    type Value = ();
    fn expected() -> Cow<'static, str> {
        "`off` or a list of networks such as `[10.0.0.0/8]`".into()
    }
    fn parse(text: &str) -> Result<(), String> {
        if is_off(text) {
            Ok(())
        } else {
            Err(format!("`{text}` is no list: write {}", Self::expected()))
        }
    }
    fn schema() -> Schema {
        Off::schema()
    }
}

/// Free text that is not empty.
#[derive(Debug)]
pub(super) enum Text {}

impl Kind for Text {
    type Value = String;
    fn expected() -> Cow<'static, str> {
        "a text".into()
    }
    fn parse(text: &str) -> Result<String, String> {
        if text.is_empty() {
            return Err("this is empty: write a value or remove the key".to_owned());
        }
        Ok(text.to_owned())
    }
    fn schema() -> Schema {
        json_schema!({ "type": "string", "minLength": 1 })
    }
    const FREE_TEXT: bool = true;
}

/// The path of a file or directory.
#[derive(Debug)]
pub(super) enum File {}

impl Kind for File {
    type Value = PathBuf;
    fn expected() -> Cow<'static, str> {
        "a path".into()
    }
    fn parse(text: &str) -> Result<PathBuf, String> {
        if text.is_empty() {
            return Err("this is empty: write a path or remove the key".to_owned());
        }
        Ok(PathBuf::from(text))
    }
    fn schema() -> Schema {
        Text::schema()
    }
    const FREE_TEXT: bool = true;
}

/// `10.0.0.0/8`; a lone address is a network of one.
#[derive(Debug)]
pub(super) enum Network {}

impl Kind for Network {
    type Value = IpNet;
    fn expected() -> Cow<'static, str> {
        "a network such as `10.0.0.0/8`".into()
    }
    fn parse(text: &str) -> Result<IpNet, String> {
        text.parse::<IpNet>()
            .or_else(|_| text.parse::<std::net::IpAddr>().map(IpNet::from))
            .map(|network| network.trunc())
            .map_err(|_| format!("`{text}` is no network: write `10.0.0.0/8` or `fd00::/8`"))
    }
    fn schema() -> Schema {
        Text::schema()
    }
    const FREE_TEXT: bool = true;
}

/// The name of an HTTP header.
#[derive(Debug)]
pub(super) enum Header {}

impl Kind for Header {
    type Value = HeaderName;
    fn expected() -> Cow<'static, str> {
        "the name of a header".into()
    }
    fn parse(text: &str) -> Result<HeaderName, String> {
        HeaderName::from_bytes(text.as_bytes())
            .map_err(|_| format!("`{text}` is no header name: write letters, digits and `-` only"))
    }
    fn schema() -> Schema {
        Text::schema()
    }
    const FREE_TEXT: bool = true;
}

/// `true` or `false`.
#[derive(Debug)]
pub(super) enum YesNo {}

impl Kind for YesNo {
    type Value = bool;
    fn expected() -> Cow<'static, str> {
        "`true` or `false`".into()
    }
    fn parse(text: &str) -> Result<bool, String> {
        match text {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(format!(
                "`{text}` is not `true` or `false`: write one of them"
            )),
        }
    }
    fn schema() -> Schema {
        json_schema!({ "type": "boolean" })
    }
}

/// A close code that a server may send (RFC 6455 section 7.4).
#[derive(Debug)]
pub(super) enum CloseCode {}

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

/// How many bytes a length takes.
#[derive(Debug)]
pub(super) enum PrefixBytes {}

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

/// `auto` or a number.
#[derive(Debug)]
pub(super) enum AutoOrCount {}

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

/// Helm turns `off` into `false`.
fn is_off(text: &str) -> bool {
    matches!(text, "off" | "false")
}

fn is_on(text: &str) -> bool {
    matches!(text, "on" | "true")
}
