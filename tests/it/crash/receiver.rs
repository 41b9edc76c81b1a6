//! A receiver of hooks that fails at random, and what it may say in the end about what it got.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

use super::Shared;

/// One request.
struct Received {
    event: Value,
    body: Vec<u8>,
    /// Whether it was taken; the sender may not have learnt of that.
    taken: bool,
}

/// What a request gets.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Answer {
    Taken,
    TakenSlowly,
    /// The sender has to believe that it was not.
    TakenWithoutAWord,
    Refused,
    RefusedWithoutAWord,
}

pub(super) struct Receiver {
    pub(super) address: SocketAddr,
    received: Shared<Vec<Received>>,
}

/// The conclusion of [`Receiver::check`].
pub(super) struct Told {
    /// Streams that were told of.
    pub(super) streams: HashSet<String>,
    /// Processes that told of their start.
    pub(super) boots: usize,
}

impl Receiver {
    pub(super) async fn start(seed: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let receiver = Self {
            address: listener.local_addr().unwrap(),
            received: Shared::default(),
        };
        let random = Arc::new(Mutex::new(StdRng::seed_from_u64(seed)));
        let received = receiver.received.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream, received.clone(), random.clone()));
            }
        });
        receiver
    }

    /// Holds everything that came against the contract.
    pub(super) fn check(&self) -> Told {
        let received = self.received.lock().unwrap();
        let mut bodies = HashMap::new();
        // By stream: the ids of its events by kind, in the order of their first arrival.
        let mut streams: HashMap<String, Vec<(&str, String)>> = HashMap::new();
        let mut taken = HashSet::new();
        let mut of_uid: HashMap<String, Vec<(String, String)>> = HashMap::new();
        let mut boots = HashSet::new();
        for Received {
            event,
            body,
            taken: accepted,
        } in received.iter()
        {
            let text = |name: &str| event[name].as_str().unwrap().to_owned();
            let id = text("id");
            let known = bodies.insert(id.clone(), body);
            assert!(
                known.is_none_or(|known| known == body),
                "another body of {id}: {event:#}"
            );
            let kind = event["type"].as_str().unwrap().rsplit('.').next().unwrap();
            if kind == "started" {
                boots.insert(text("source"));
                continue;
            }
            let stream = text("subject");
            if kind == "closed" {
                assert!(
                    taken.contains(&stream),
                    "closed before opened was taken: {event:#}"
                );
            } else if *accepted {
                taken.insert(stream.clone());
            }
            if known.is_some() {
                continue;
            }
            streams.entry(stream).or_default().push((kind, id));
            if let Some(uid) = event["data"]["uid"].as_str() {
                // The boot id is a UUIDv7: sources in the order of the boots.
                of_uid
                    .entry(uid.to_owned())
                    .or_default()
                    .push((text("source"), text("sequence")));
            }
        }
        for (stream, events) in &streams {
            let kinds: Vec<&str> = events.iter().map(|(kind, _)| *kind).collect();
            assert_eq!(kinds, ["opened", "closed"], "{stream}: {events:?}");
        }
        assert!(
            of_uid.values().any(|order| order.len() > 2),
            "no uid came twice"
        );
        for (uid, order) in of_uid {
            assert!(order.is_sorted(), "uid {uid}: {order:?}");
        }
        let crashed = |received: &&Received| received.event["data"]["reason"] == "sidecar_crash";
        println!(
            "{} requests, {} of crashes",
            received.len(),
            received.iter().filter(crashed).count()
        );
        Told {
            streams: streams.into_keys().collect(),
            boots: boots.len(),
        }
    }
}

fn draw(random: &Mutex<StdRng>) -> Answer {
    match random.lock().unwrap().random_range(0..100) {
        0..5 => Answer::Refused,
        5..7 => Answer::RefusedWithoutAWord,
        7..9 => Answer::TakenWithoutAWord,
        9..12 => Answer::TakenSlowly,
        _ => Answer::Taken,
    }
}

async fn serve(stream: TcpStream, received: Shared<Vec<Received>>, random: Arc<Mutex<StdRng>>) {
    stream.set_nodelay(true).unwrap();
    let mut stream = BufReader::new(stream);
    while let Some(body) = request(&mut stream).await {
        let event = serde_json::from_slice(&body).unwrap();
        let answer = draw(&random);
        let taken = matches!(
            answer,
            Answer::Taken | Answer::TakenSlowly | Answer::TakenWithoutAWord
        );
        received
            .lock()
            .unwrap()
            .push(Received { event, body, taken });
        let status = match answer {
            Answer::Taken => "204 No Content",
            Answer::TakenSlowly => {
                tokio::time::sleep(Duration::from_millis(50)).await;
                "204 No Content"
            }
            Answer::Refused => "500 Internal Server Error\r\nContent-Length: 0",
            Answer::TakenWithoutAWord | Answer::RefusedWithoutAWord => return,
        };
        let answer = format!("HTTP/1.1 {status}\r\n\r\n");
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// The body of the next request; `None` at the end, or if the sender was killed within it.
async fn request(stream: &mut BufReader<TcpStream>) -> Option<Vec<u8>> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        if line == "\r\n" {
            break;
        }
        if let Some((name, value)) = line.split_once(": ")
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some(body)
}
