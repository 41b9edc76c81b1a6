//! What a correct proxy makes of bytes from clients and apps, by one file for each case in `tests/cases/http/`.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::path::{Path, PathBuf};

use crate::support::app::{App, Script, Then};
use crate::support::case::Case;
use crate::support::http::{Answer, Method};
use crate::support::{Rejected, Sidebeat};

/// Fewer than there are would mean that some were not found.
const CASES: usize = 311;

fn config(app: &App) -> String {
    let app = app.address();
    format!(
        "
listeners:
  plain: {{ listen: ws://127.0.0.1:0, upstream: ws://{app} }}
  refuse: {{ listen: ws://127.0.0.1:0, upstream: ws://{app}, http: refuse }}
  trusting: {{ listen: ws://127.0.0.1:0, upstream: ws://{app}, trusted_proxies: [127.0.0.0/8, 10.0.0.0/8] }}
  hasty: {{ listen: ws://127.0.0.1:0, upstream: ws://{app}, answer_timeout: 200ms, http_timeout: 200ms, limits: {{ handshake_timeout: 200ms }} }}
  small: {{ listen: ws://127.0.0.1:0, upstream: ws://{app}, limits: {{ request_head: 8KiB }} }}
  dead: {{ listen: ws://127.0.0.1:0, upstream: unix:/nowhere/app.sock }}
  reads: {{ listen: ws://127.0.0.1:0, upstream: ws://{app}, heartbeat: {{ ping: {{ data: ping, reply: pong }} }} }}
hooks:
  app: {{ url: http://{app}/_sidebeat, events: [closed], listeners: [dead] }}
admin: off
telemetry: {{ listen: 127.0.0.1:0 }}
"
    )
}

#[test]
fn every_case_of_the_corpus_is_answered_as_it_says() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/http");
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    let app = App::start();
    let sidebeat = Sidebeat::start(&config(&app));
    let mut wrong = Vec::new();
    for path in &paths {
        let case = Case::read(path);
        let found = run(&case, &app, &sidebeat);
        if !found.is_empty() {
            wrong.push(format!("{}:\n    {}", case.name, found.join("\n    ")));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} wrong\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert_eq!(paths.len(), CASES);
}

/// What is wrong; nothing.
fn run(case: &Case, app: &App, sidebeat: &Sidebeat) -> Vec<String> {
    app.set(script(case));
    let listener = case.text("listener").unwrap_or("plain");
    let before = sidebeat.rejected(listener);
    let talked = std::panic::catch_unwind(|| talk(case, sidebeat, listener));
    let heard = app.heard();
    let mut wrong = Wrong::default();
    match talked {
        Ok(talked) => judge_answers(case, &talked, &mut wrong),
        Err(panic) => wrong.0.push(format!(
            "the client: {}",
            panic.downcast_ref::<String>().map_or("?", String::as_str)
        )),
    }
    judge_heard(case, &heard, &mut wrong);
    let counted = difference(before, sidebeat.rejected(listener));
    wrong.compare("counted", &counted, case.text("counted").unwrap());
    wrong.0
}

fn script(case: &Case) -> Script {
    let default = Script::default();
    Script {
        after: match case.bytes("app-after") {
            Some(b"nothing") => Vec::new(),
            Some(text) => text.to_vec(),
            None => default.after,
        },
        answer: case.bytes("app").map_or(default.answer, <[u8]>::to_vec),
        then: match case.text("app-then") {
            Some("shutdown") => Then::Shutdown,
            Some(other) => panic!("{other}?"),
            None => Then::Listen,
        },
    }
}

struct Talked {
    answers: String,
    text: Vec<u8>,
    tunnel: Option<Vec<u8>>,
}

fn talk(case: &Case, sidebeat: &Sidebeat, listener: &str) -> Talked {
    let mut stream = sidebeat.connect(listener);
    // A proxy that refuses may close while the rest is still being sent.
    let _ = stream.write_all(case.bytes("client").unwrap());
    if case.text("client-then") == Some("shutdown") {
        stream.shutdown(Shutdown::Write).unwrap();
    }
    let (mut answers, mut text) = (Vec::new(), Vec::new());
    for expected in case.text("answers").unwrap().split(' ') {
        match expected {
            "close" => answers.push(end(&mut stream)),
            "open" => {
                let _ = stream.write_all(b"GET /probe HTTP/1.1\r\nHost: a\r\n\r\n");
                let answer = Answer::try_read(&mut stream, Method::Get);
                let open = answer.is_some_and(|answer| answer.status == 200);
                answers.push(if open {
                    "open".into()
                } else {
                    "no probe".into()
                });
            }
            _ => {
                let head = expected.ends_with("/head");
                let method = if head { Method::Head } else { Method::Get };
                let Some(answer) = Answer::try_read(&mut stream, method) else {
                    answers.push("close".into());
                    break;
                };
                text.extend_from_slice(answer.head.as_bytes());
                text.extend_from_slice(&answer.body);
                let suffix = if head { "/head" } else { "" };
                answers.push(format!("{}{suffix}", answer.status));
            }
        }
    }
    if let Some(then) = case.bytes("then") {
        stream.write_all(then).unwrap();
    }
    let tunnel = case.bytes("tunnel").map(|expected| {
        let mut got = vec![0; expected.len()];
        stream.read_exact(&mut got).unwrap();
        got
    });
    Talked {
        answers: answers.join(" "),
        text,
        tunnel,
    }
}

fn end(stream: &mut impl Read) -> String {
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(0) => "close".into(),
        other => format!("{other:?} instead of the end: {:?}", shown(&rest)),
    }
}

#[derive(Default)]
struct Wrong(Vec<String>);

impl Wrong {
    fn compare(&mut self, what: &str, got: &str, expected: &str) {
        if got != expected {
            self.0.push(format!("{what}: {got} instead of {expected}"));
        }
    }

    fn has(&mut self, case: &Case, key: &str, text: &[u8]) {
        for part in case.all(&format!("{key}-has")) {
            if !contains(text, part) {
                let (text, part) = (shown(text), shown(part));
                self.0.push(format!("{key}-has: no {part:?} in {text:?}"));
            }
        }
        for part in case.all(&format!("{key}-lacks")) {
            if contains(text, part) {
                let (text, part) = (shown(text), shown(part));
                self.0.push(format!("{key}-lacks: {part:?} in {text:?}"));
            }
        }
    }
}

fn judge_answers(case: &Case, talked: &Talked, wrong: &mut Wrong) {
    wrong.compare("answers", &talked.answers, case.text("answers").unwrap());
    wrong.has(case, "answer", &talked.text);
    if let Some((got, expected)) = talked.tunnel.as_deref().zip(case.bytes("tunnel")) {
        wrong.compare("tunnel", &shown(got), &shown(expected));
    }
}

fn judge_heard(case: &Case, heard: &[Vec<u8>], wrong: &mut Wrong) {
    let connections = match heard.len() {
        0 => "nothing".to_owned(),
        count => count.to_string(),
    };
    match case.text("reached").unwrap() {
        "any" => {}
        expected => wrong.compare("reached", &connections, expected),
    }
    wrong.has(case, "reached", &heard.concat());
    if let Some(end) = case.bytes("reached-ends") {
        let last = heard.last().map_or(&[][..], Vec::as_slice);
        if !last.ends_with(end) {
            wrong.compare("reached-ends", &shown(last), &shown(end));
        }
    }
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

fn shown(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

fn difference(before: Rejected, after: Rejected) -> String {
    let grown =
        after.iter().filter_map(
            |(reason, count)| match count - before.get(reason).unwrap_or(&0) {
                0 => None,
                1 => Some(reason.clone()),
                more => Some(format!("{reason}*{more}")),
            },
        );
    let grown: Vec<_> = grown.collect();
    if grown.is_empty() {
        "none".to_owned()
    } else {
        grown.join(" ")
    }
}
