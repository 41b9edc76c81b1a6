//! What is wrong with a configuration, where, and what to write instead.

use std::fmt;
use std::path::PathBuf;

use serde_saphyr::Location;

use super::wording::explain;

/// The longest piece of a line shown, in characters.
const SHOWN: usize = 100;

/// A configuration that cannot be used; exit code 78.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The configuration file itself.
    #[error("cannot read {}: {reason}: check the path after -c (or SIDEBEAT_CONFIG) and its permissions", path.display())]
    Unreadable {
        /// As given.
        path: PathBuf,
        /// The error of the operating system.
        reason: String,
    },
    /// Neither a file nor flags.
    #[error(
        "nothing to listen on. Either give one listener by flags:\n  \
         --listen ws://0.0.0.0:8080 --upstream ws://127.0.0.1:8000\n\
         or a file with listeners by -c FILE (or SIDEBEAT_CONFIG):\n  \
         listeners:\n    chat:\n      listen: ws://0.0.0.0:8080\n      upstream: ws://127.0.0.1:8000"
    )]
    Nothing,
    /// A value of the file or of a flag.
    #[error("{0}")]
    Invalid(Box<Problem>),
}

/// A mistake at a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The path of the file, or the name of the flag.
    pub source: String,
    /// Line and column from 1; `None` for flags.
    pub position: Option<(usize, usize)>,
    /// What is wrong and what to write instead.
    pub message: String,
    /// The line with a caret below the mistake.
    excerpt: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)?;
        if let Some((line, column)) = self.position {
            write!(f, ":{line}:{column}")?;
        }
        write!(f, ": {}", self.message)?;
        match &self.excerpt {
            Some(excerpt) => write!(f, "\n{excerpt}"),
            None => Ok(()),
        }
    }
}

/// Where a value was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// In the file.
    File {
        /// The value itself, also behind an alias or a merge.
        value: Location,
        /// Where the key with the value (or its alias) stands.
        used: Location,
    },
    /// In a flag or its environment variable.
    Flag(&'static str),
}

/// The text of a configuration file and the name it goes by in messages.
#[derive(Debug, Clone, Copy)]
pub(super) struct Page<'a> {
    /// The path as given.
    pub name: &'a str,
    /// The whole text.
    pub text: &'a str,
}

impl Page<'_> {
    /// A mistake in the value at `place`.
    pub(super) fn at_value(&self, place: Place, message: impl Into<String>) -> ConfigError {
        match place {
            Place::File { value, .. } => self.at_location(value, message.into()),
            Place::Flag(flag) => without_position(flag, message.into()),
        }
    }

    /// A mistake in the presence of `key`, whose value is at `place`.
    pub(super) fn at_key(
        &self,
        place: Place,
        key: &str,
        message: impl Into<String>,
    ) -> ConfigError {
        match place {
            Place::File { used, .. } => match self.find_key(used, key) {
                Some((line, column)) => self.problem(line, column, key.len(), message.into()),
                None => self.at_location(used, message.into()),
            },
            Place::Flag(flag) => without_position(flag, message.into()),
        }
    }

    /// The very text of a plain scalar.
    pub(super) fn written(&self, place: Place) -> Option<&str> {
        let Place::File { value, .. } = place else {
            return None;
        };
        let start = usize::try_from(value.span().byte_offset()?).ok()?;
        let length = usize::try_from(value.span().byte_len()?).ok()?;
        self.text
            .get(start..start.checked_add(length)?)
            .map(str::trim)
    }

    /// An error of the parser or of a type, in our words.
    pub(super) fn at_parser(&self, error: &serde_saphyr::Error) -> ConfigError {
        let mut innermost = error.without_snippet();
        while let serde_saphyr::Error::AliasError { error, .. } = innermost {
            innermost = error.without_snippet();
        }
        let message = explain(innermost);
        let Some(location) = innermost.location().or_else(|| error.location()) else {
            return self.problem(1, 1, 1, message);
        };
        let about_value = matches!(
            innermost,
            serde_saphyr::Error::Message { .. } | serde_saphyr::Error::Unexpected { .. }
        );
        match self.key_before(location).filter(|_| about_value) {
            Some(key) => self.at_location(location, format!("{key}: {message}")),
            None => self.at_location(location, message),
        }
    }

    /// A mistake of the configuration as a whole.
    pub(super) fn at_start(&self, message: impl Into<String>) -> ConfigError {
        match self.text {
            "" => without_position(self.name, message.into()),
            _ => self.problem(1, 1, 1, message.into()),
        }
    }

    fn at_location(&self, location: Location, message: String) -> ConfigError {
        let number = |n: u64| usize::try_from(n).unwrap_or(usize::MAX).max(1);
        self.problem(
            number(location.line()),
            number(location.column()),
            number(location.span().len()),
            message,
        )
    }

    fn problem(&self, line: usize, column: usize, length: usize, message: String) -> ConfigError {
        ConfigError::Invalid(Box::new(Problem {
            source: self.name.to_owned(),
            position: Some((line, column)),
            message: one_line(&message),
            excerpt: self.excerpt(line, column, length),
        }))
    }

    /// Line and column of `key` in front of the value at `used`; values know their place, keys of structs do not.
    fn find_key(&self, used: Location, key: &str) -> Option<(usize, usize)> {
        let end = usize::try_from(used.span().byte_offset()?).ok()?;
        let before = self.text.get(..end)?;
        let (start, _) = before.rmatch_indices(key).find(|(start, _)| {
            let bounded = before[..*start]
                .chars()
                .next_back()
                .is_none_or(|c| c.is_whitespace() || "{,'\"-".contains(c));
            let after = before[start + key.len()..].trim_start_matches(['"', '\'']);
            bounded && after.trim_start().starts_with(':')
        })?;
        let line_start = before[..start].rfind('\n').map_or(0, |at| at + 1);
        Some((
            before[..start].matches('\n').count() + 1,
            before[line_start..start].chars().count() + 1,
        ))
    }

    /// The key right before a value; where there is no value the parser stands on the colon.
    fn key_before(&self, location: Location) -> Option<&str> {
        let end = usize::try_from(location.span().byte_offset()?).ok()?;
        let before = self.text.get(..end)?.trim_end();
        let before = before.strip_suffix(':').unwrap_or(before).trim_end();
        let rest = before.trim_end_matches(|c: char| c.is_ascii_alphanumeric() || c == '_');
        Some(&before[rest.len()..]).filter(|key| !key.is_empty())
    }

    fn excerpt(&self, line: usize, column: usize, length: usize) -> Option<String> {
        let text = self.text.lines().nth(line - 1)?;
        let width = text.chars().count();
        let column = column.min(width + 1);
        // A window of the line that holds the caret.
        let skipped = if width > SHOWN {
            (column - 1).saturating_sub(SHOWN / 2)
        } else {
            0
        };
        let shown: String = text
            .chars()
            .skip(skipped)
            .take(SHOWN)
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        let indent = column - 1 - skipped;
        let room = shown.chars().count().saturating_sub(indent).max(1);
        let carets = "^".repeat(length.clamp(1, room));
        let number = line.to_string();
        let margin = " ".repeat(number.len());
        Some(format!(
            "{margin} |\n{number} | {shown}\n{margin} | {}{carets}",
            " ".repeat(indent)
        ))
    }
}

fn without_position(source: &str, message: String) -> ConfigError {
    ConfigError::Invalid(Box::new(Problem {
        source: source.to_owned(),
        position: None,
        message: one_line(&message),
        excerpt: None,
    }))
}

/// Values land in messages: no control character of theirs reaches a terminal or splits a log line.
fn one_line(message: &str) -> String {
    message
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caret_stays_in_sight_on_long_lines() {
        let text = "x".repeat(300);
        let page = Page {
            name: "f",
            text: &text,
        };
        let ConfigError::Invalid(problem) = page.problem(1, 250, 500, "no".to_owned()) else {
            panic!("another error");
        };
        let shown = problem.to_string();
        assert!(shown.starts_with("f:1:250: no\n"), "{shown}");
        let widths: Vec<usize> = shown.lines().map(|line| line.chars().count()).collect();
        assert!(widths.iter().all(|width| *width <= SHOWN + 4), "{shown}");
        assert!(shown.ends_with('^'));
    }
}
