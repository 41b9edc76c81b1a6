//! Flags instead of a file, and over one.

use serde_json::json;

use super::*;

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
