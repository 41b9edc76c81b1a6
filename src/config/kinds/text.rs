//! Texts, and `true` or `false`.

use std::borrow::Cow;
use std::path::PathBuf;

use http::HeaderName;
use ipnet::IpNet;
use schemars::{Schema, json_schema};

use super::Kind;

/// Free text that is not empty.
#[derive(Debug)]
pub(in crate::config) enum Text {}

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
pub(in crate::config) enum File {}

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
pub(in crate::config) enum Network {}

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
pub(in crate::config) enum Header {}

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
pub(in crate::config) enum YesNo {}

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
