//! Scalars that are one of a few words.

use std::borrow::Cow;
use std::marker::PhantomData;

use schemars::{Schema, json_schema};
use serde_json::{Value, json};

use super::kinds::Kind;
use super::ready::{ClientAuth, EventKind, HttpPolicy, LogFormat, ProxyVersion, TlsVersion};
use crate::proto::heart::{IdleCounts, Mode, When};

/// An enum whose variants are words.
pub(super) trait Word: Copy + PartialEq + 'static {
    /// Every variant with its word.
    const WORDS: &'static [(&'static str, Self)];

    /// The word of this variant.
    fn word(self) -> &'static str {
        Self::WORDS
            .iter()
            .find(|(_, value)| *value == self)
            .map_or("", |(word, _)| word)
    }
}

/// One of the words of `W`.
#[derive(Debug)]
pub(super) struct Choice<W>(PhantomData<W>);

impl<W: Word> Kind for Choice<W> {
    type Value = W;
    fn expected() -> Cow<'static, str> {
        let words: Vec<String> = W::WORDS
            .iter()
            .map(|(word, _)| format!("`{word}`"))
            .collect();
        words.join(" or ").into()
    }
    fn parse(text: &str) -> Result<W, String> {
        W::WORDS
            .iter()
            .find(|(word, _)| *word == text)
            .map(|(_, value)| *value)
            .ok_or_else(|| format!("`{text}` is not known here: write {}", Self::expected()))
    }
    fn schema() -> Schema {
        let words = W::WORDS.iter().map(|(word, _)| json!(word));
        // `1.2` without quotes is a number to YAML and the same word to us.
        let numbers = W::WORDS
            .iter()
            .filter_map(|(word, _)| word.parse::<f64>().ok().map(|number| json!(number)));
        let all: Vec<Value> = words.chain(numbers).collect();
        json_schema!({ "enum": all })
    }
}

impl Word for HttpPolicy {
    const WORDS: &'static [(&'static str, Self)] =
        &[("pass", Self::Pass), ("refuse", Self::Refuse)];
}

impl Word for ClientAuth {
    const WORDS: &'static [(&'static str, Self)] =
        &[("required", Self::Required), ("optional", Self::Optional)];
}

impl Word for TlsVersion {
    const WORDS: &'static [(&'static str, Self)] = &[("1.2", Self::V1_2), ("1.3", Self::V1_3)];
}

impl Word for ProxyVersion {
    const WORDS: &'static [(&'static str, Self)] = &[("v1", Self::V1), ("v2", Self::V2)];
}

impl Word for EventKind {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("opened", Self::Opened),
        ("closed", Self::Closed),
        ("overdue", Self::Overdue),
        ("started", Self::Started),
        ("draining", Self::Draining),
    ];
}

impl Word for IdleCounts {
    const WORDS: &'static [(&'static str, Self)] =
        &[("traffic", Self::Traffic), ("messages", Self::Messages)];
}

impl Word for When {
    const WORDS: &'static [(&'static str, Self)] =
        &[("idle", Self::Idle), ("always", Self::Always)];
}

impl Word for Mode {
    const WORDS: &'static [(&'static str, Self)] =
        &[("enforce", Self::Enforce), ("observe", Self::Observe)];
}

impl Word for LogFormat {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("auto", Self::Auto),
        ("json", Self::Json),
        ("text", Self::Text),
    ];
}

impl Word for tracing::Level {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("error", Self::ERROR),
        ("warn", Self::WARN),
        ("info", Self::INFO),
        ("debug", Self::DEBUG),
        ("trace", Self::TRACE),
    ];
}

/// `first_message: whole`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FirstMessage {
    /// The uid is the whole message.
    Whole,
}

impl Word for FirstMessage {
    const WORDS: &'static [(&'static str, Self)] = &[("whole", Self::Whole)];
}

/// The framings without parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PlainFraming {
    /// No messages known.
    Raw,
    /// LF ends a message.
    Line,
}

impl Word for PlainFraming {
    const WORDS: &'static [(&'static str, Self)] = &[("raw", Self::Raw), ("line", Self::Line)];
}
