//! Texts that mean harm, or nothing at all.

use proptest::prelude::*;

use super::*;

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
