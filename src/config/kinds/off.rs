//! What can be turned off.

use std::borrow::Cow;
use std::marker::PhantomData;

use schemars::{Schema, json_schema};

use super::Kind;

/// Another kind, or `off` for none of it.
#[derive(Debug)]
pub(in crate::config) struct OrOff<K>(PhantomData<K>);

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
pub(in crate::config) enum Off {}

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
pub(in crate::config) enum NoNetworks {}

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

/// Helm turns `off` into `false`.
pub(super) fn is_off(text: &str) -> bool {
    matches!(text, "off" | "false")
}

fn is_on(text: &str) -> bool {
    matches!(text, "on" | "true")
}
