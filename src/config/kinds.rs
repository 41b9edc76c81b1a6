//! The kinds of scalars: what each text means, and its JSON Schema.

mod number;
mod off;
mod text;

use std::borrow::Cow;

use schemars::Schema;

pub(super) use number::{AutoOrCount, CloseCode, Count, Percent, PrefixBytes, Size, Span};
pub(super) use off::{NoNetworks, Off, OrOff};
pub(super) use text::{File, Header, Network, Text, YesNo};

/// What a scalar means: how its text becomes a value.
pub(super) trait Kind {
    /// The ready value.
    type Value;
    /// Completes "expected …".
    fn expected() -> Cow<'static, str>;
    /// Reads the text; the error says what to write instead.
    fn parse(text: &str) -> Result<Self::Value, String>;
    /// The JSON Schema of the text, references by `${NAME}` left out.
    fn schema() -> Schema;
    /// Whether the meaning is free text, in which `${NAME}` needs no extra mention in the schema.
    const FREE_TEXT: bool = false;
}
