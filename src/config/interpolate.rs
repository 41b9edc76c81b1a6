//! `${NAME}`, `${NAME:-default}` and `$$` in scalars.
//!
//! serde-saphyr's own interpolation leaves quoted scalars alone, or else also expands `$NAME` and lets an unset name vanish;
//! the text of each scalar is therefore expanded here, after parsing, so that no value can change the structure.

use std::borrow::Cow;
use std::collections::HashMap;

/// Values by name, as of the start of the process.
pub type Environment = HashMap<String, String>;

/// Defaults within defaults deeper than this are a mistake.
const DEEPEST: usize = 8;

/// A reference that cannot be replaced, and what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum InterpolationError {
    /// The environment has no such name.
    #[error(
        "environment variable {0} is not set: set it, or write `${{{0}:-default}}` for a default, or `$${{{0}}}` for the text itself"
    )]
    Unset(String),
    /// A `${` that is no reference.
    #[error(
        "`{0}` is no reference: write `${{NAME}}` or `${{NAME:-default}}`, or `$$` for a dollar sign"
    )]
    Malformed(String),
}

/// Replaces the references in `text`; a `$` before anything but `{` and `$` stands for itself.
pub(super) fn interpolate<'a>(
    text: &'a str,
    environment: &Environment,
) -> Result<Cow<'a, str>, InterpolationError> {
    if !text.contains('$') {
        return Ok(Cow::Borrowed(text));
    }
    expand(text, environment, 0).map(Cow::Owned)
}

fn expand(
    text: &str,
    environment: &Environment,
    depth: usize,
) -> Result<String, InterpolationError> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some(after) = rest.strip_prefix("$$") {
            out.push('$');
            rest = after;
        } else if let Some(inner) = rest.strip_prefix("${") {
            let malformed = || InterpolationError::Malformed(rest.to_owned());
            let end = closing_brace(inner).ok_or_else(malformed)?;
            out.push_str(&value(&inner[..end], environment, depth)?);
            rest = &inner[end + 1..];
        } else {
            out.push('$');
            rest = &rest[1..];
        }
    }
    out.push_str(rest);
    Ok(out)
}

/// The place of the `}` that closes the reference whose inside `text` begins with.
fn closing_brace(text: &str) -> Option<usize> {
    let mut open = 0_usize;
    let mut previous = b' ';
    for (place, byte) in text.bytes().enumerate() {
        match byte {
            b'{' if previous == b'$' => open += 1,
            b'}' if open == 0 => return Some(place),
            b'}' => open -= 1,
            _ => {}
        }
        previous = byte;
    }
    None
}

fn value(
    inside: &str,
    environment: &Environment,
    depth: usize,
) -> Result<String, InterpolationError> {
    let (name, default) = match inside.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inside, None),
    };
    let is_name = name
        .bytes()
        .enumerate()
        .all(|(place, b)| b == b'_' || b.is_ascii_alphabetic() || place > 0 && b.is_ascii_digit());
    if name.is_empty() || !is_name || depth >= DEEPEST {
        return Err(InterpolationError::Malformed(format!("${{{inside}}}")));
    }
    match (environment.get(name), default) {
        (Some(value), None) => Ok(value.clone()),
        (Some(value), Some(_)) if !value.is_empty() => Ok(value.clone()),
        (_, Some(default)) => expand(default, environment, depth + 1),
        (None, None) => Err(InterpolationError::Unset(name.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn environment() -> Environment {
        [("PORT", "8080"), ("EMPTY", ""), ("TRICK", "${PORT}")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into()
    }

    #[test]
    fn references_are_replaced_once() {
        for (text, expected) in [
            ("ws://127.0.0.1:${PORT}", "ws://127.0.0.1:8080"),
            ("${PORT}${PORT}", "80808080"),
            ("${NONE:-9}", "9"),
            ("${EMPTY:-9}", "9"),
            ("${EMPTY}", ""),
            ("${NONE:-}", ""),
            ("${NONE:-${PORT}}", "8080"),
            ("${NONE:-${ALSO_NONE:-x}}y", "xy"),
            ("$${PORT}", "${PORT}"),
            ("$$$$", "$$"),
            ("pa$word", "pa$word"),
            ("$", "$"),
            ("${TRICK}", "${PORT}"),
        ] {
            assert_eq!(
                interpolate(text, &environment()).as_deref(),
                Ok(expected),
                "{text}"
            );
        }
    }

    #[test]
    fn what_cannot_be_replaced_is_an_error() {
        assert_eq!(
            interpolate("${NONE}", &environment()),
            Err(InterpolationError::Unset("NONE".to_owned()))
        );
        for text in [
            "${", "${}", "${PORT", "${1A}", "${A-b}", "${A:?b}", "${ A }", "${:-x}",
        ] {
            assert!(
                matches!(
                    interpolate(text, &environment()),
                    Err(InterpolationError::Malformed(_))
                ),
                "{text}"
            );
        }
        let deep = "${A:-".repeat(20) + &"}".repeat(20);
        assert!(interpolate(&deep, &environment()).is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_judged(text in "[${}:A\\-é ]*") {
            let _ = interpolate(&text, &environment());
        }
    }
}
