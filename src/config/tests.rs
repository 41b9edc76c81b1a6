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
            environment: [
                ("DIR", directory),
                ("PORT", "9000"),
                ("NUMBER", "55"),
                ("WORD", "off"),
                ("EMPTY", ""),
                ("TRICK", "a: b # not a comment"),
            ]
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

fn one_listener() -> Flags {
    let some = |text: &str| Some(text.to_owned());
    Flags {
        listen: some("ws://127.0.0.1:8080"),
        upstream: some("ws://127.0.0.1:8000"),
        ..Flags::default()
    }
}

fn by_flags(flags: Flags) -> Result<Config, ConfigError> {
    ConfigSource {
        flags,
        ..ConfigSource::default()
    }
    .load()
}

#[test]
fn flags_alone_make_a_listener_and_a_hook_named_main() {
    let files = Files::new();
    let path = |name: &str| Some(files.0.path().join(name).to_str().unwrap().to_owned());
    let some = |text: &str| Some(text.to_owned());
    let config = by_flags(Flags {
        listen: some("wss://0.0.0.0:8443"),
        tls_cert: path("cert.pem"),
        tls_key: path("key.pem"),
        idle_limit: some("20s"),
        ping_interval: some("5s"),
        close_hook: some("http://127.0.0.1:8000/closed"),
        hook_secret_file: path("secret"),
        admin: some("http://127.0.0.1:9000/"),
        telemetry: some("off"),
        log_format: some("json"),
        log_level: some("debug"),
        ..one_listener()
    })
    .unwrap();
    let shown = config.redacted();
    for (pointer, expected) in [
        ("/listeners/main/listen", json!("wss://0.0.0.0:8443")),
        ("/listeners/main/heartbeat/idle_limit", json!("20s")),
        ("/listeners/main/heartbeat/ping/interval", json!("5s")),
        ("/hooks/main/url", json!("http://127.0.0.1:8000/closed")),
        ("/hooks/main/events", json!(["closed"])),
        ("/admin/listen", json!("127.0.0.1:9000")),
        ("/telemetry", json!("off")),
        ("/log", json!({ "format": "json", "level": "debug" })),
    ] {
        assert_eq!(shown.pointer(pointer), Some(&expected), "{pointer}");
    }
    assert_eq!(config.listeners["main"].hidden_paths, ["/closed"]);
    assert_eq!(config.files().len(), 3);

    let off = by_flags(Flags {
        ping_interval: some("off"),
        admin: some("off"),
        ..one_listener()
    })
    .unwrap();
    assert_eq!(off.listeners["main"].heartbeat.ping, None);
    assert_eq!(off.admin, None);
}

#[test]
fn mistakes_in_flags_name_the_flag_and_its_variable() {
    let some = |text: &str| Some(text.to_owned());
    let cases = [
        (
            Flags {
                idle_limit: some("55"),
                ..one_listener()
            },
            "--idle-limit (SIDEBEAT_IDLE_LIMIT): idle_limit: `55` has no unit: write `55s`",
        ),
        (
            Flags {
                listen: some("wss://0.0.0.0:1"),
                ..one_listener()
            },
            "--listen (SIDEBEAT_LISTEN): listen: wss:// needs a certificate: add --tls-cert FILE and --tls-key FILE, or write ws://",
        ),
        (
            Flags {
                upstream: None,
                ..one_listener()
            },
            "--listen (SIDEBEAT_LISTEN): this needs an app: add --upstream, such as ws://127.0.0.1:8000",
        ),
        (
            Flags {
                close_hook: some("http://a/"),
                ..Flags::default()
            },
            "--close-hook (SIDEBEAT_CLOSE_HOOK): this needs a listener: add --listen, such as ws://0.0.0.0:8080",
        ),
        (
            Flags {
                tls_cert: some("/c"),
                ..one_listener()
            },
            "--tls-cert (SIDEBEAT_TLS_CERT): this needs its private key: add --tls-key",
        ),
        (
            Flags {
                tls_cert: some("/dev/null"),
                tls_key: some("/dev/null"),
                ..one_listener()
            },
            "--tls-cert (SIDEBEAT_TLS_CERT): tls: ws:// has no TLS: remove it, or listen on wss://",
        ),
        (
            Flags {
                hook_secret_file: some("/s"),
                ..one_listener()
            },
            "--hook-secret-file (SIDEBEAT_HOOK_SECRET_FILE): this signs for a hook: add --close-hook URL",
        ),
        (
            Flags {
                log_level: some("loud"),
                ..one_listener()
            },
            "--log-level (SIDEBEAT_LOG_LEVEL): level: `loud` is not known here: write `error` or `warn` or `info` or `debug` or `trace`",
        ),
        (
            Flags {
                admin: some("0.0.0.0:1"),
                ..one_listener()
            },
            "--admin (SIDEBEAT_ADMIN): listen: 0.0.0.0:1 can be reached from outside: add `token_file: FILE`, or listen on 127.0.0.1 or unix:/path",
        ),
    ];
    for (flags, expected) in cases {
        assert_eq!(by_flags(flags).unwrap_err().to_string(), expected);
    }
}

#[test]
fn with_nothing_given_both_ways_are_shown() {
    // A level alone is no listener; neither is a value that a template left empty.
    for flags in [
        Flags::default(),
        Flags {
            log_level: Some("info".to_owned()),
            ..Flags::default()
        },
        Flags {
            listen: Some(String::new()),
            ..Flags::default()
        },
    ] {
        let error = by_flags(flags).unwrap_err();
        assert_eq!(error, ConfigError::Nothing);
        let shown = error.to_string();
        assert!(
            shown.contains("--listen ws://") && shown.contains("-c FILE"),
            "{shown}"
        );
    }
}

#[test]
fn flags_override_the_file_but_do_not_add_to_its_listeners() {
    let files = Files::new();
    let text = "listeners: { chat: { listen: 'ws://0.0.0.0:1', upstream: 'ws://a' } }\nlog: { level: warn, format: json }\nadmin: { hosts: [ a ] }\n";
    let file = files.0.path().join("sidebeat.yaml");
    std::fs::write(&file, text).unwrap();
    let mut source = files.source(&file);
    source.flags = Flags {
        log_level: Some("debug".to_owned()),
        admin: Some("127.0.0.1:9999".to_owned()),
        telemetry: Some("127.0.0.1:9998".to_owned()),
        ..Flags::default()
    };
    let shown = source.load().unwrap().redacted();
    assert_eq!(shown["log"], json!({ "level": "debug", "format": "json" }));
    assert_eq!(
        shown["admin"],
        json!({ "listen": "127.0.0.1:9999", "hosts": ["a"] })
    );
    assert_eq!(shown["telemetry"]["listen"], "127.0.0.1:9998");

    source.flags = Flags {
        idle_limit: Some("5s".to_owned()),
        ..Flags::default()
    };
    assert_eq!(
        source.load().unwrap_err().to_string(),
        format!(
            "--idle-limit (SIDEBEAT_IDLE_LIMIT): {} has listeners of its own: remove the flag, or the listeners from the file",
            file.display()
        )
    );

    std::fs::write(&file, "hooks: { app: { url: 'http://a/' } }\n").unwrap();
    source.flags = one_listener();
    let config = source.load().unwrap();
    assert!(config.listeners.contains_key("main") && config.hooks.contains_key("app"));
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

#[test]
fn a_value_cannot_change_the_structure_or_reach_the_terminal() {
    let files = Files::new();
    let mut source = files.source(&files.0.path().join("sidebeat.yaml"));
    let text = "listeners: { chat: { listen: 'ws://0.0.0.0:1', upstream: 'ws://a', connect_timeout: '${EVIL}' } }\n";
    std::fs::write(source.file.as_ref().unwrap(), text).unwrap();
    source
        .environment
        .insert("EVIL".to_owned(), "5s\n    http: refuse\x1b[31m".to_owned());
    let shown = source.load().unwrap_err().to_string();
    assert!(
        shown.contains("connect_timeout: `5s     http: refuse [31m` is no duration"),
        "{shown}"
    );
}

#[test]
fn deep_nesting_and_bombs_are_refused() {
    let files = Files::new();
    for text in [
        "[".repeat(100_000),
        "{a: ".repeat(100_000),
        "listeners: ".to_owned() + &"{a: ".repeat(100_000),
        "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nlisteners: [*c,*c]\n".to_owned(),
        "\u{feff}".to_owned(),
        "\0".to_owned(),
        "&𞹋".to_owned(),
    ] {
        assert!(files.load(&text).is_err());
    }
}

/// Text that looks like a configuration more often than chance.
fn almost_yaml() -> impl Strategy<Value = String> {
    let words = vec![
        "listeners",
        "hooks",
        "chat",
        "listen",
        "upstream",
        "heartbeat",
        "idle_limit",
        "ping",
        "tls",
        "framing",
        "length_prefix",
        "ws://0.0.0.0:1",
        "tcp://[::]:2",
        "55s",
        "0",
        "1.5",
        "off",
        "true",
        "null",
        "~",
        "${A}",
        "${",
        "$$",
        "&a",
        "*a",
        "<<",
        "!x",
        "- ",
        ": ",
        ":\n  ",
        ":\n    ",
        "\n",
        "{",
        "}",
        "[",
        "]",
        ",",
        "\"",
        "'",
        "#",
        "|",
        ">",
        "\t",
        " ",
        "é",
        "\u{2028}",
        "---\n",
    ];
    proptest::collection::vec(proptest::sample::select(words), 0..40)
        .prop_map(|words| words.concat())
}

proptest! {
    #[test]
    fn any_text_is_judged(text in prop_oneof![any::<String>(), almost_yaml()]) {
        let environment = Environment::new();
        if let Err(error) = load::read(&text, &environment) {
            prop_assert!(!error.to_string().is_empty());
        }
    }

    #[test]
    fn any_change_of_a_good_file_is_judged(case in 0_usize..10, at in 0_usize..3000, junk in "\\PC{0,3}") {
        let case = &cases("good")[case];
        let mut text = std::fs::read_to_string(case).unwrap();
        let mut at = at % text.len();
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        text.insert_str(at, &junk);
        let _ = load::read(&text, &Environment::new());
        text.truncate(at);
        let _ = load::read(&text, &Environment::new());
    }
}

#[test]
fn what_a_fuzzer_begins_with_is_survived() {
    let cases = [cases("good"), cases("bad")].concat();
    for case in &cases {
        fuzz::configuration(&std::fs::read(case).unwrap());
    }
    assert_eq!(cases.len(), 155);
}
