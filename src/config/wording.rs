//! The parser's errors in words that say what to write instead.

use serde_saphyr::{MessageFormatter as _, UserMessageFormatter};

/// The errors that people make most, with the fix; the library's words for the rest.
pub(super) fn explain(error: &serde_saphyr::Error) -> String {
    use serde_saphyr::Error as E;
    match error {
        E::SerdeUnknownField {
            field, expected, ..
        }
        | E::SerdeUnknownVariant {
            variant: field,
            expected,
            ..
        } => unknown_key(field, expected),
        E::SerdeMissingField { field, .. } => {
            format!("`{field}` is missing: add `{}`", example(field))
        }
        E::DuplicateMappingKey { key, .. } => format!(
            "{} is written twice: remove one of the two",
            key.as_ref()
                .map_or_else(|| "a key".to_owned(), |key| format!("`{key}`"))
        ),
        E::MultipleDocuments { .. } => {
            "a second document begins here: write one document, without `---`".to_owned()
        }
        E::ExpectedMappingEndAfterEnumVariantValue { .. } => {
            "one rule has one key: begin another list item with `- `".to_owned()
        }
        E::Unexpected { expected, .. } if expected.contains("mapping") => {
            "found no keys: write keys with values below it, indented".to_owned()
        }
        E::Unexpected { expected, .. } if expected.contains("sequence") => {
            "found no list: write its items in `[ ]`".to_owned()
        }
        E::UnknownAnchor { .. } => {
            "this alias has no anchor: write `&` and its name at a value before it".to_owned()
        }
        E::UnsupportedTag { tag, .. } => format!("the tag `{tag}` has no meaning here: remove it"),
        _ => UserMessageFormatter.format_message(error).into_owned(),
    }
}

fn unknown_key(key: &str, expected: &[&str]) -> String {
    let nearest = expected
        .iter()
        .map(|known| (distance(key, known), known))
        .min_by_key(|(distance, _)| *distance)
        // Beyond a third of the letters it is another word.
        .filter(|(distance, known)| *distance <= known.len().max(3) / 3);
    let known = expected.join(", ");
    match nearest {
        Some((_, known_key)) => {
            format!("unknown key `{key}`: did you mean `{known_key}`? Known here: {known}")
        }
        None => format!("unknown key `{key}`: remove it. Known here: {known}"),
    }
}

/// Levenshtein's distance.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// A line that supplies a required key.
fn example(key: &str) -> &str {
    match key {
        "listen" => "listen: ADDRESS",
        "upstream" => "upstream: ws://127.0.0.1:8080",
        "certificates" => "certificates: [ { cert: FILE, key: FILE } ]",
        "cert" => "cert: FILE",
        "key" => "key: FILE",
        "url" => "url: http://127.0.0.1:8080/_sidebeat",
        "length_prefix" => "length_prefix: { bytes: 4, includes_itself: true }",
        "bytes" => "bytes: 4",
        "includes_itself" => "includes_itself: true",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_near_key_is_proposed() {
        assert_eq!(
            unknown_key("idle_limits", &["ping", "idle_limit"]),
            "unknown key `idle_limits`: did you mean `idle_limit`? Known here: ping, idle_limit"
        );
        assert_eq!(
            unknown_key("colour", &["ping", "idle_limit"]),
            "unknown key `colour`: remove it. Known here: ping, idle_limit"
        );
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
    }
}
