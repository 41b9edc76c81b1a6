//! What a command prints.

use std::fmt::Write as _;

use serde_json::{Map, Value};

use super::CtlError;
use crate::admin::client::Endpoint;

/// What a command prints, collected so that a closed pipe cannot break it off half-way.
#[derive(Default)]
pub(crate) struct Output {
    pub(crate) json: bool,
    pub(crate) text: String,
}

impl Output {
    /// One answer, as JSON or in words.
    pub(super) fn value(&mut self, value: &Value, words: impl FnOnce(&Value) -> String) {
        if self.json {
            self.write_json(value);
        } else {
            self.text += &words(value);
        }
    }

    /// A value on lines of its own.
    pub(super) fn write_json(&mut self, value: &Value) {
        let _ = writeln!(self.text, "{value:#}");
    }

    /// Shows the answer of each process: as it is for one, under its address for several.
    pub(crate) fn each<T: serde::Serialize>(
        &mut self,
        endpoints: &[Endpoint],
        results: Vec<Result<T, CtlError>>,
        show: fn(&T) -> String,
    ) -> Result<(), CtlError> {
        let asked = results.len();
        let mut errors = Vec::new();
        let mut answers = Map::new();
        for (endpoint, result) in endpoints.iter().zip(results) {
            match result {
                Ok(answer) if self.json => {
                    let answer = serde_json::to_value(&answer).unwrap_or_default();
                    answers.insert(endpoint.to_string(), answer);
                }
                Ok(answer) => {
                    if asked > 1 {
                        let _ = writeln!(self.text, "{endpoint}");
                    }
                    self.text += &show(&answer);
                }
                Err(error) => errors.push(error),
            }
        }
        if self.json {
            let answer = match (asked, answers.len()) {
                (1, 1) => answers.into_iter().next().map(|(_, answer)| answer),
                (1, _) => None,
                _ => Some(Value::Object(answers)),
            };
            if let Some(answer) = answer {
                self.write_json(&answer);
            }
        }
        collected(errors, asked)
    }
}

/// One error as it is; several are printed, so that each process has its line.
pub(crate) fn collected(mut errors: Vec<CtlError>, asked: usize) -> Result<(), CtlError> {
    if asked == 1 {
        return errors.pop().map_or(Ok(()), Err);
    }
    for error in &errors {
        eprintln!("sidebeat: {error}");
    }
    match errors.len() {
        0 => Ok(()),
        failed => Err(CtlError::Some { failed, asked }),
    }
}

/// Columns as wide as their widest cell behind an empty line; nothing for no rows.
pub(super) fn table<const N: usize>(heads: [&str; N], rows: Vec<[String; N]>) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let mut lines = vec![heads.map(str::to_owned)];
    lines.extend(rows);
    format!("\n{}", columns(&lines))
}

/// Columns as wide as their widest cell.
pub(super) fn columns<L: AsRef<[String]>>(lines: &[L]) -> String {
    let mut widths = Vec::new();
    for line in lines {
        widths.resize(widths.len().max(line.as_ref().len()), 0);
        for (width, cell) in widths.iter_mut().zip(line.as_ref()) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for line in lines {
        let mut row = String::new();
        for (width, cell) in widths.iter().zip(line.as_ref()) {
            let _ = write!(row, "{cell:width$}  ");
        }
        text += row.trim_end();
        text.push('\n');
    }
    text
}
