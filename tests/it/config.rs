//! The command line tells good configurations from bad ones by its exit code.

use std::path::Path;
use std::process::{Command, Output};

/// Runs sidebeat with these variables and no other of its own.
fn sidebeat(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sidebeat"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("SIDEBEAT_") {
            command.env_remove(name);
        }
    }
    command
        .args(arguments)
        .envs(variables.iter().copied())
        .output()
        .expect("the binary runs")
}

fn told(output: &Output) -> (Option<i32>, String, String) {
    (
        output.status.code(),
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

const ONE: [&str; 4] = [
    "--listen",
    "ws://127.0.0.1:8080",
    "--upstream",
    "ws://127.0.0.1:8000",
];

#[test]
fn a_good_configuration_ends_with_0_and_what_follows_from_it() {
    let (code, out, err) = told(&sidebeat(&[&["check"][..], &ONE].concat(), &[]));
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert!(
        out.contains("listener main: ws://127.0.0.1:8080 to ws://127.0.0.1:8000"),
        "{out}"
    );
    assert!(out.contains("to 55s after its death"), "{out}");
}

#[test]
fn a_bad_file_ends_with_78_and_the_place_of_the_mistake() {
    let case = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/cases/config/bad/idle_limit_bare.yaml"
    );
    for (arguments, variables) in [
        (vec!["check", "-c", case], vec![]),
        (vec!["check", "--config", case], vec![]),
        (vec!["check"], vec![("SIDEBEAT_CONFIG", case)]),
    ] {
        let (code, out, err) = told(&sidebeat(&arguments, &variables));
        assert_eq!((code, out.as_str()), (Some(78), ""));
        assert!(
            err.starts_with(&format!(
                "{case}:7:19: idle_limit: `55` has no unit: write `55s`\n"
            )),
            "{err}"
        );
        assert!(
            err.ends_with("7 |       idle_limit: 55\n  |                   ^^\n"),
            "{err}"
        );
    }
}

#[test]
fn nothing_to_do_ends_with_78_and_both_ways() {
    let (code, _, err) = told(&sidebeat(&["check"], &[]));
    assert_eq!(code, Some(78));
    assert!(err.contains("--listen") && err.contains("-c FILE"), "{err}");
}

#[test]
fn wrong_usage_ends_with_2() {
    for arguments in [
        &[][..],
        &["chekc"],
        &["check", "--idle", "5s"],
        &["check", "--grace", "60"],
        &["schema", "nothing"],
    ] {
        let (code, out, err) = told(&sidebeat(arguments, &[]));
        assert_eq!((code, out.as_str()), (Some(2), ""), "{arguments:?}");
        assert!(
            err.contains("Usage: sidebeat") || err.contains("--help"),
            "{err}"
        );
    }
}

#[test]
fn a_flag_beats_its_variable_and_that_beats_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("sidebeat.yaml");
    let text = "listeners: { chat: { listen: 'ws://127.0.0.1:1', upstream: 'ws://a' } }\nlog: { level: of-the-file }\n";
    std::fs::write(&file, text).unwrap();
    let level = |arguments: &[&str], variables: &[(&str, &str)]| {
        let base = ["check", "-c", file.to_str().unwrap()];
        let (code, _, err) = told(&sidebeat(&[&base[..], arguments].concat(), variables));
        (code, err)
    };
    // A level that is not known is told of by whoever gave it.
    let (code, err) = level(&[], &[]);
    assert!(
        code == Some(78) && err.contains("`of-the-file` is not known"),
        "{err}"
    );
    let variable = [("SIDEBEAT_LOG_LEVEL", "of-the-variable")];
    let (code, err) = level(&[], &variable);
    assert!(
        code == Some(78) && err.contains("`of-the-variable` is not known"),
        "{err}"
    );
    let (code, err) = level(&["--log-level", "of-the-flag"], &variable);
    assert!(
        code == Some(78) && err.contains("`of-the-flag` is not known"),
        "{err}"
    );
    let (code, err) = level(&["--log-level", "debug"], &variable);
    assert_eq!((code, err.as_str()), (Some(0), ""));
}

#[test]
fn one_listener_by_variables_alone() {
    let variables = [
        ("SIDEBEAT_LISTEN", "tcp://127.0.0.1:8080"),
        ("SIDEBEAT_UPSTREAM", "tcp://127.0.0.1:8000"),
        ("SIDEBEAT_IDLE_LIMIT", "20s"),
        ("SIDEBEAT_TLS_CERT", ""),
    ];
    let (code, out, err) = told(&sidebeat(&["check"], &variables));
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert!(out.contains("0s to 20s after its death"), "{out}");
    let (code, _, err) = told(&sidebeat(&["check"], &[("SIDEBEAT_UPSTREAM", "tcp://a:1")]));
    assert_eq!(code, Some(78));
    assert!(err.starts_with("--upstream (SIDEBEAT_UPSTREAM): "), "{err}");
}

#[test]
fn flags_of_a_listener_do_not_mix_with_listeners_of_a_file() {
    let case = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/cases/config/good/planes.yaml"
    );
    assert!(Path::new(case).exists());
    let arguments = [&["check", "-c", case][..], &ONE].concat();
    let (code, _, err) = told(&sidebeat(&arguments, &[]));
    assert_eq!(code, Some(78));
    assert!(err.contains("has listeners of its own"), "{err}");
}

#[test]
fn schema_and_completions_are_printed() {
    let (code, out, _) = told(&sidebeat(&["schema", "config"], &[]));
    assert_eq!(code, Some(0));
    let schema: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(schema["title"], "sidebeat configuration");
    for shell in ["bash", "zsh", "fish"] {
        let (code, out, _) = told(&sidebeat(&["completions", shell], &[]));
        assert!(code == Some(0) && out.contains("sidebeat"), "{shell}");
    }
    let (code, out, _) = told(&sidebeat(&["--version"], &[]));
    assert_eq!(
        (code, out),
        (
            Some(0),
            concat!("sidebeat ", env!("CARGO_PKG_VERSION"), "\n").to_owned()
        )
    );
}
