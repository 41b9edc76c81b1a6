//! The demo shows a client being heard, asked, closed and reported, and leaves nothing behind.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use tungstenite::Message;

/// Long enough for the slowest machine: nothing here waits that long unless it fails.
const PATIENCE: Duration = Duration::from_secs(120);

struct Demo {
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
    /// What the first lines say: name to the rest of the line.
    places: HashMap<String, String>,
}

impl Demo {
    fn start(home: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_sidebeat"))
            .arg("demo")
            .env("TMPDIR", home)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in out.lines() {
                if sender.send(line.unwrap()).is_err() {
                    return;
                }
            }
        });
        let mut demo = Self {
            child,
            lines,
            seen: Vec::new(),
            places: HashMap::new(),
        };
        demo.wait_for(&["Ctrl-C ends the demo."]);
        let entry = |line: &String| {
            let (name, place) = line.strip_prefix("  ")?.split_once("  ")?;
            Some((name.to_owned(), place.trim().to_owned()))
        };
        demo.places = demo.seen.iter().filter_map(entry).collect();
        demo
    }

    /// The line that contains all of `parts`, of those printed so far or still to come.
    fn wait_for(&mut self, parts: &[&str]) -> String {
        let until = Instant::now() + PATIENCE;
        let fits = |line: &String| parts.iter().all(|part| line.contains(part));
        if let Some(line) = self.seen.iter().find(|line| fits(line)) {
            return line.clone();
        }
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left).unwrap_or_else(|error| {
                panic!("{error}: no line with {parts:?} in {:#?}", self.seen)
            });
            self.seen.push(line.clone());
            if fits(&line) {
                return line;
            }
        }
    }

    /// The first or second address of a place, `host:port`.
    fn address(&self, name: &str, which: usize) -> &str {
        let url = self.places[name].split_whitespace().nth(which).unwrap();
        url.split_once("://")
            .unwrap()
            .1
            .trim_end_matches("/metrics")
    }

    fn get(&self, address: &str, path: &str) -> String {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    /// Ends it as Ctrl-C or a supervisor would; the exit code.
    fn end(mut self, signal: &str) -> Option<i32> {
        let kill = format!("kill -{signal} {}", self.child.id());
        assert!(
            Command::new("sh")
                .args(["-c", &kill])
                .status()
                .unwrap()
                .success()
        );
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < until, "it does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // It has ended already unless the test failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A client that opens a WebSocket and then never says anything.
fn silent_client(address: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let request = format!(
        "GET / HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).unwrap();
    stream
}

fn files(home: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(home).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn a_client_is_echoed_and_a_silent_one_is_closed_and_reported() {
    let home = tempfile::tempdir().unwrap();
    let mut demo = Demo::start(home.path());
    assert_eq!(files(home.path()).len(), 1);

    let mut silent = silent_client(demo.address("WebSocket", 0));
    let silent_address = silent.local_addr().unwrap().to_string();

    let url = format!("ws://{}/", demo.address("WebSocket", 0));
    let stream = TcpStream::connect(demo.address("WebSocket", 0)).unwrap();
    let (mut live, _) = tungstenite::client(url, stream).unwrap();
    live.send(Message::text("hello")).unwrap();
    assert_eq!(live.read().unwrap(), Message::text("hello"));

    let mut line = BufReader::new(TcpStream::connect(demo.address("lines", 0)).unwrap());
    line.get_mut().write_all(b"hello\n").unwrap();
    let mut echoed = String::new();
    line.read_line(&mut echoed).unwrap();
    assert_eq!(echoed, "hello\n");

    assert!(
        demo.get(demo.address("page", 0), "/")
            .contains("An echo app")
    );
    let metrics = demo.get(demo.address("metrics", 0), "/metrics");
    assert!(metrics.contains("sidebeat_streams_active{listener=\"ws\"}"));

    demo.wait_for(&[" ping ", " ws client"]);
    let opened = demo.wait_for(&[" hook ", "stream.opened", &silent_address]);
    let id = opened
        .split_once(" stream=")
        .unwrap()
        .1
        .split(' ')
        .next()
        .unwrap()
        .to_owned();
    demo.wait_for(&[" close ", &id, "reason=client_idle by=sidecar"]);
    let hook = [
        "stream.closed",
        &id,
        "client_idle",
        "signature valid -> 204",
    ];
    demo.wait_for(&hook);
    let mut rest = Vec::new();
    silent.read_to_end(&mut rest).unwrap();
    assert!(rest.ends_with(b"\x88\x0d\x03\xe9client_idle"), "{rest:?}");

    assert_eq!(demo.end("TERM"), Some(0));
    assert!(files(home.path()).is_empty());
}

#[test]
fn an_interrupt_closes_what_is_open_and_ends_it() {
    let home = tempfile::tempdir().unwrap();
    let mut demo = Demo::start(home.path());
    let mut client = silent_client(demo.address("WebSocket", 0));
    demo.wait_for(&["stream.opened"]);
    assert_eq!(demo.end("INT"), Some(0));
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).unwrap();
    assert!(rest.ends_with(b"\x88\x07\x03\xf4drain"), "{rest:?}");
    assert!(files(home.path()).is_empty());
}

#[test]
fn a_port_that_is_taken_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let hook_receiver = taken.local_addr().unwrap().port();
    let ended = Command::new(env!("CARGO_BIN_EXE_sidebeat"))
        .args(["demo", "--port", &(hook_receiver - 8).to_string()])
        .output()
        .unwrap();
    assert_eq!(ended.status.code(), Some(71));
    let told = String::from_utf8(ended.stderr).unwrap();
    assert!(told.contains("cannot bind"), "{told}");
}
