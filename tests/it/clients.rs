//! A tungstenite client holds a conversation while the proxy pings it five times a second.
//!
//! Other clients (a browser, Python, Node), which compress, are tested in `tests/outside/test_clients.py`.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::Frame;
use tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tungstenite::{Bytes, Error, Message, WebSocket};

const INTERVAL: Duration = Duration::from_millis(200);

/// How long the conversations last: seconds in `SIDEBEAT_TEST_TALK_SECONDS`, else a few.
fn duration() -> Duration {
    let told = std::env::var("SIDEBEAT_TEST_TALK_SECONDS");
    Duration::from_secs_f64(told.map_or(4.0, |seconds| seconds.parse().unwrap()))
}

/// A running proxy with a ws and a wss listener.
struct Proxy {
    child: Child,
    ca: CertificateDer<'static>,
    ws: String,
    wss: String,
    telemetry: String,
}

impl Proxy {
    fn start(app: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        let issued = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let (cert, key, file) = (
            home.path().join("tls.crt"),
            home.path().join("tls.key"),
            home.path().join("sidebeat.yaml"),
        );
        std::fs::write(&cert, issued.cert.pem()).unwrap();
        std::fs::write(&key, issued.signing_key.serialize_pem()).unwrap();
        let config = serde_json::json!({
            "listeners": {
                "ws": {
                    "listen": "ws://127.0.0.1:0",
                    "upstream": format!("ws://{app}"),
                    "heartbeat": {"ping": {"interval": "200ms", "when": "always"}},
                },
                "wss": {
                    "listen": "wss://127.0.0.1:0",
                    "upstream": format!("ws://{app}"),
                    "tls": {"certificates": [{"cert": cert, "key": key}]},
                    "heartbeat": {"ping": {"interval": "200ms", "when": "always"}},
                },
            },
            "admin": {"listen": "127.0.0.1:0"},
            "telemetry": {"listen": "127.0.0.1:0"},
            "log": {"format": "json"},
        });
        std::fs::write(&file, config.to_string()).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_sidebeat"))
            .args(["run", "-c"])
            .arg(&file)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut addresses = std::collections::HashMap::new();
        while addresses.len() < 4 {
            let line: serde_json::Value =
                serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
            if line["message"] == "listening" {
                let (_, address) = line["address"].as_str().unwrap().split_once("://").unwrap();
                addresses.insert(
                    line["listener"].as_str().unwrap().to_owned(),
                    address.to_owned(),
                );
            }
        }
        // Nobody may wait for the reader of its log.
        std::thread::spawn(move || lines.for_each(drop));
        Self {
            child,
            ca: CertificateDer::from_pem_slice(issued.cert.pem().as_bytes()).unwrap(),
            ws: addresses["ws"].clone(),
            wss: addresses["wss"].clone(),
            telemetry: addresses["telemetry"].clone(),
        }
    }

    fn secure(&self, address: &str) -> impl Read + Write + use<> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.ca.clone()).unwrap();
        let config = rustls::ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from("localhost").unwrap();
        let session = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
        rustls::StreamOwned::new(session, TcpStream::connect(address).unwrap())
    }

    /// One sample of the metrics, by its full name with labels.
    fn metric(&self, sample: &str) -> u64 {
        let mut stream = TcpStream::connect(&self.telemetry).unwrap();
        let head = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let line = answer
            .lines()
            .find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {sample} in {answer}"))
            .parse()
            .unwrap()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An app that echoes each message, and counts the pongs that reach it; its address.
fn echo(pongs: &'static AtomicU64) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            std::thread::spawn(move || {
                let mut socket = tungstenite::accept(stream.unwrap()).unwrap();
                loop {
                    match socket.read() {
                        Ok(message @ (Message::Text(_) | Message::Binary(_))) => {
                            socket.send(message).unwrap();
                        }
                        // An answer to a ping that is older than the last four (a client that was busy for so long).
                        Ok(Message::Pong(token)) if token.len() == 8 => {
                            pongs.fetch_add(1, Ordering::Relaxed);
                        }
                        // tungstenite has queued the answer to a Close itself.
                        Ok(Message::Close(_)) => {}
                        Err(Error::ConnectionClosed) => return,
                        other => panic!("the app saw {other:?}"),
                    }
                }
            });
        }
    });
    address
}

fn random_message(rng: &mut StdRng, size: usize) -> Message {
    if rng.random_bool(0.5) {
        let text: String = (0..size / 2).map(|_| rng.random::<char>()).collect();
        Message::text(text)
    } else {
        let mut bytes = vec![0; size];
        rng.fill(&mut bytes[..]);
        Message::binary(bytes)
    }
}

/// A few small messages, or one large one: what a client may send before it reads without a risk of both ends waiting.
fn random_burst(rng: &mut StdRng) -> Vec<Message> {
    if rng.random_bool(0.1) {
        let size = rng.random_range(0..500_000);
        return vec![random_message(rng, size)];
    }
    let count = rng.random_range(1..8);
    (0..count)
        .map(|_| {
            let size = [0, 1, 125, 126, 4000][rng.random_range(0..5)];
            random_message(rng, size)
        })
        .collect()
}

/// The message in up to four fragments, cut at any byte.
fn fragments(rng: &mut StdRng, message: &Message) -> Vec<Message> {
    let first = match message {
        Message::Text(_) => Data::Text,
        _ => Data::Binary,
    };
    let data: Bytes = message.clone().into_data();
    let count = rng.random_range(1..5);
    let mut left = data;
    (0..count)
        .map(|number| {
            let last = number == count - 1;
            let size = if last {
                left.len()
            } else {
                rng.random_range(0..=left.len())
            };
            let opcode = if number == 0 { first } else { Data::Continue };
            let piece = left.split_to(size);
            Message::Frame(Frame::message(piece, OpCode::Data(opcode), last))
        })
        .collect()
}

fn read_message<S: Read + Write>(socket: &mut WebSocket<S>) -> Message {
    loop {
        match socket.read().unwrap() {
            Message::Ping(token) => assert_eq!(token.len(), 8, "not a ping of the proxy's"),
            other => return other,
        }
    }
}

/// Talks for a while and closes; the number of messages.
fn converse(stream: impl Read + Write, seed: u64) -> u64 {
    let (mut socket, _) = tungstenite::client("ws://localhost/", stream)
        .map_err(|error| error.to_string())
        .unwrap();
    let mut rng = StdRng::seed_from_u64(seed);
    let end = Instant::now() + duration();
    let mut messages = 0;
    while Instant::now() < end {
        let burst = random_burst(&mut rng);
        for message in &burst {
            for fragment in fragments(&mut rng, message) {
                socket.send(fragment).unwrap();
            }
        }
        for message in burst {
            assert!(
                read_message(&mut socket) == message,
                "seed {seed}, message {messages}"
            );
            messages += 1;
        }
    }
    let goodbye = CloseFrame {
        code: CloseCode::Normal,
        reason: "enough".into(),
    };
    socket.close(Some(goodbye.clone())).unwrap();
    assert_eq!(read_message(&mut socket), Message::Close(Some(goodbye)));
    assert!(matches!(socket.read(), Err(Error::ConnectionClosed)));
    messages
}

#[test]
fn a_tungstenite_conversation_under_pings_is_byte_for_byte() {
    static PONGS_OF_THE_APP: AtomicU64 = AtomicU64::new(0);
    let proxy = Proxy::start(&echo(&PONGS_OF_THE_APP));
    let seed = rand::random();
    let messages = std::thread::scope(|scope| {
        let plain = TcpStream::connect(&proxy.ws).unwrap();
        let secure = proxy.secure(&proxy.wss);
        let talks = [
            scope.spawn(move || converse(plain, seed)),
            scope.spawn(move || converse(secure, seed + 1)),
        ];
        talks.map(|talk| talk.join().unwrap())
    });
    let least = duration().as_millis() / INTERVAL.as_millis() / 2;
    let (mut pings, mut pongs) = (0, PONGS_OF_THE_APP.load(Ordering::Relaxed));
    for (listener, messages) in [("ws", messages[0]), ("wss", messages[1])] {
        let counted =
            |name: &str, labels: &str| proxy.metric(&format!("sidebeat_{name}_total{{{labels}}}"));
        let label = format!("listener=\"{listener}\"");
        let patience = Instant::now() + Duration::from_secs(30);
        while counted(
            "streams_closed",
            &format!("{label},reason=\"client_close\""),
        ) == 0
        {
            assert!(Instant::now() < patience, "the stream does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(messages > 0);
        for end in ["client", "upstream"] {
            let seen = counted("stream_messages", &format!("from=\"{end}\",{label}"));
            assert_eq!(seen, messages, "{listener}, from {end}");
        }
        let sent = counted("pings_sent", &format!("{label},to=\"client\""));
        assert!(u128::from(sent) >= least, "{listener}: {sent} pings");
        pings += sent;
        pongs += counted("pongs_received", &format!("from=\"client\",{label}"));
    }
    // tungstenite may answer only the newest of several; some were on their way at the Close.
    assert!(pongs <= pings && pongs > pings / 2, "{pongs} of {pings}");
}
