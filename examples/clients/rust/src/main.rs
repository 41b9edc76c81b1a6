//! A client to try with: sidebeat-client URL [SILENCE IN SECONDS]. It sends the lines of its input, and prints what it gets and its states as JSON.

use std::time::Duration;

use sidebeat_client::{Connection, Event, Options};
use tokio::io::{AsyncBufReadExt, BufReader, stdin};

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().expect("a URL");
    let silence = arguments
        .next()
        .map_or(60.0, |seconds| seconds.parse().expect("seconds"));
    let mut chat = Connection::open(
        &url,
        Options {
            silence: Duration::from_secs_f64(silence),
            ..Options::default()
        },
    );
    let mut lines = BufReader::new(stdin()).lines();
    let mut more = true;
    loop {
        tokio::select! {
            line = lines.next_line(), if more => match line {
                Ok(Some(line)) => { chat.send(line); }
                _ => more = false,
            },
            event = chat.next() => match event {
                Some(event) => tell(event),
                // Not a return: the runtime would wait for a thread that reads.
                None => std::process::exit(0),
            },
        }
    }
}

/// JSON without a library: Rust's escapes are JSON's for what a chat has to say.
fn tell(event: Event) {
    match event {
        Event::Connecting => println!(r#"{{"state": "connecting"}}"#),
        Event::Open => println!(r#"{{"state": "open"}}"#),
        Event::Message(message) => println!(
            r#"{{"message": {:?}}}"#,
            message.to_text().unwrap_or("(bytes)")
        ),
        Event::Waiting((code, reason), delay) => {
            let delay = delay.as_secs_f64();
            println!(
                r#"{{"state": "waiting", "code": {code}, "reason": {reason:?}, "delay": {delay}}}"#
            );
        }
        Event::Stopped((code, reason)) => {
            println!(r#"{{"state": "stopped", "code": {code}, "reason": {reason:?}}}"#);
        }
    }
}
