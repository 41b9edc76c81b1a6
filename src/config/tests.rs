//! The cases under tests/cases/config and the contract's example.

mod flags;
mod hostile;

use std::path::{Path, PathBuf};

use serde_json::Value;

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
            environment: fuzz::environment(directory),
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

/// The comments at the top of a good case are `pointer = value` into the redacted configuration.
#[test]
fn good_cases_become_what_they_say() {
    let files = Files::new();
    let cases = cases("good");
    let mut seen = 0;
    for case in &cases {
        let shown = files.source(case).load().unwrap().redacted();
        let text = std::fs::read_to_string(case).unwrap();
        for line in text.lines().filter_map(|line| line.strip_prefix("# /")) {
            let (pointer, expected) = line.split_once(" = ").unwrap();
            let expected: Value = serde_json::from_str(expected).unwrap();
            let found = shown.pointer(&format!("/{pointer}"));
            assert_eq!(found, Some(&expected), "{}: {pointer}", case.display());
            seen += 1;
        }
    }
    assert_eq!((cases.len(), seen), (10, 62));
}

#[test]
fn what_is_shown_is_a_configuration_again() {
    let files = Files::new();
    let cases = cases("good");
    for case in &cases {
        let mut config = files.source(case).load().unwrap();
        let shown = config.redacted().to_string().replace('$', "$$");
        let again = files.load(&shown).unwrap();
        // Not all is shown: what a hook's URL had of secrets, and how an upstream was written.
        for hook in config.hooks.values_mut() {
            let path = hook.url.path();
            let host = hook.url.authority().unwrap().as_str();
            let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
            let scheme = hook.url.scheme_str().unwrap();
            hook.url = format!("{scheme}://{host}{path}").parse().unwrap();
        }
        assert_eq!(again, config, "{}", case.display());
        assert!(!shown.contains("user:secret"), "{}", case.display());
    }
    assert_eq!(cases.len(), 10);
}

#[test]
fn the_documented_values_are_the_defaults() {
    let files = Files::new();
    let load = |name: &str| {
        let case = Path::new(CASES).join("good").join(name);
        let mut config = files.source(&case).load().unwrap();
        for listener in config.listeners.values_mut() {
            // `ping: off` and `identity: []` on tcp are the defaults, too.
            assert_eq!(
                listener.heartbeat.ping.is_some(),
                listener.protocol.is_websocket()
            );
            std::sync::Arc::make_mut(listener).hidden_paths.clear();
        }
        config
    };
    assert_eq!(load("contract.yaml"), load("defaults.yaml"));
}

#[test]
fn a_hook_at_the_own_upstream_is_hidden_from_clients_of_that_listener() {
    let files = Files::new();
    let case = Path::new(CASES).join("good/hooks.yaml");
    let config = files.source(&case).load().unwrap();
    assert_eq!(config.listeners["chat"].hidden_paths, ["/_sidebeat"]);
    assert!(config.listeners["other"].hidden_paths.is_empty());
}

#[test]
fn files_are_those_whose_content_matters() {
    let files = Files::new();
    let case = Path::new(CASES).join("good/defaults.yaml");
    let source = files.source(&case);
    let config = source.load().unwrap();
    let names: Vec<String> = source
        .files(&config)
        .iter()
        .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
        .collect();
    assert_eq!(
        names,
        [
            "defaults.yaml",
            "cert.pem",
            "key.pem",
            "ca.pem",
            "ca.pem",
            "cert.pem",
            "key.pem",
            "secret",
            "token",
            "token",
        ]
    );
}

#[test]
fn a_missing_file_is_named() {
    let source = ConfigSource {
        file: Some("/nonexistent/sidebeat.yaml".into()),
        ..ConfigSource::default()
    };
    assert_eq!(
        source.load().unwrap_err().to_string(),
        "cannot read /nonexistent/sidebeat.yaml: No such file or directory (os error 2): check the path after -c (or SIDEBEAT_CONFIG) and its permissions"
    );
}
