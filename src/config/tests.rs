//! The cases under tests/cases/config, the contract's example, and precedence.

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const CASES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cases/config");

/// A directory with the files that cases name by `${DIR}`.
struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        for name in ["cert.pem", "key.pem", "ca.pem", "secret", "token"] {
            std::fs::write(directory.path().join(name), name).unwrap();
        }
        Self(directory)
    }

    fn source(&self, file: &Path) -> ConfigSource {
        let directory = self.0.path().to_str().unwrap();
        ConfigSource {
            file: Some(file.to_owned()),
            flags: Flags::default(),
            environment: [("DIR", directory), ("PORT", "9000"), ("NUMBER", "55"), ("WORD", "off")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
        }
    }

    fn load(&self, text: &str) -> Result<Config, ConfigError> {
        let file = self.0.path().join("sidebeat.yaml");
        std::fs::write(&file, text).unwrap();
        self.source(&file).load()
    }
}

fn cases(kind: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(Path::new(CASES).join(kind))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
}

/// The first line of a bad case is a comment with `line:column: message`.
#[test]
fn bad_cases_are_told_where_and_why() {
    let files = Files::new();
    let cases = cases("bad");
    for case in &cases {
        let text = std::fs::read_to_string(case).unwrap();
        let expected = text.lines().next().unwrap().trim_start_matches("# ");
        let ConfigError::Invalid(problem) = files.source(case).load().unwrap_err() else {
            panic!("{}: another error", case.display());
        };
        let shown = problem.to_string();
        if std::env::var_os("REVIEW").is_some() {
            eprintln!("{}\n{shown}\n", case.file_name().unwrap().to_str().unwrap());
            continue;
        }
        let (first, excerpt) = shown.split_once('\n').unwrap_or((&shown, ""));
        let told = first
            .strip_prefix(&format!("{}:", case.display()))
            .unwrap()
            .replace(files.0.path().to_str().unwrap(), "DIR");
        assert_eq!(told, expected, "{}", case.display());
        assert!(excerpt.ends_with('^'), "{}: {excerpt}", case.display());
    }
    assert_eq!(cases.len(), 145);
}
