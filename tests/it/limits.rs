//! Limits: who has too much is told so, everybody else is served, and what was taken comes back.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::ServerName;

use crate::support::app::serve_each;
use crate::support::http::{Answer, Method};
use crate::support::{PATIENCE, Sidebeat, wait_until};

const OPENING: &str = "GET /chat HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// An app that takes every WebSocket and every other connection, and listens.
fn app() -> SocketAddr {
    serve_each(|mut stream| {
        stream.set_read_timeout(None).unwrap();
        let mut heard = Vec::new();
        let mut piece = [0; 4096];
        while let Ok(count @ 1..) = stream.read(&mut piece) {
            heard.extend_from_slice(&piece[..count]);
            if heard.starts_with(b"GET ") && heard.ends_with(b"\r\n\r\n") {
                let answer = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
                stream.write_all(answer.as_bytes()).unwrap();
                heard.clear();
            }
        }
    })
}

fn config(listeners: &str) -> String {
    format!(
        "listeners:\n{listeners}\nworkers: 2\nadmin: {{ listen: 127.0.0.1:0 }}\ntelemetry: {{ listen: 127.0.0.1:0 }}\n"
    )
}

/// Asks for a WebSocket behind `before`, a PROXY header, and with `headers`.
fn open_with(
    sidebeat: &Sidebeat,
    listener: &str,
    before: &str,
    headers: &str,
) -> (TcpStream, Answer) {
    let mut stream = sidebeat.connect(listener);
    stream
        .write_all(format!("{before}{OPENING}{headers}\r\n").as_bytes())
        .unwrap();
    let answer = Answer::read(&mut stream, Method::Get);
    (stream, answer)
}

fn open(sidebeat: &Sidebeat, listener: &str) -> (TcpStream, Answer) {
    open_with(sidebeat, listener, "", "")
}

/// Whether a connection is closed by the other side, with or without a reset.
fn is_closed(stream: &mut TcpStream) -> bool {
    !matches!(stream.read(&mut [0]), Ok(1..))
}

fn rejected(sidebeat: &Sidebeat, listener: &str, reason: &str) -> u64 {
    sidebeat
        .rejected(listener)
        .get(reason)
        .copied()
        .unwrap_or_default()
}

#[test]
fn one_address_has_no_more_streams_than_its_limit() {
    let sidebeat = Sidebeat::start(&config(&format!(
        "  main: {{ listen: ws://127.0.0.1:0, upstream: ws://{}, limits: {{ streams_per_ip: 2 }} }}",
        app()
    )));
    let (first, answer) = open(&sidebeat, "main");
    assert_eq!(answer.status, 101);
    let (_second, answer) = open(&sidebeat, "main");
    assert_eq!(answer.status, 101);
    let (mut third, answer) = open(&sidebeat, "main");
    assert_eq!(
        (answer.status, answer.header("retry-after")),
        (429, Some("1"))
    );
    assert!(is_closed(&mut third));
    assert_eq!(rejected(&sidebeat, "main", "too_many_streams_per_ip"), 1);
    drop(first);
    wait_until("the place is given back", || {
        open(&sidebeat, "main").1.status == 101
    });
}

#[test]
fn a_listener_has_no_more_streams_than_its_limit() {
    let sidebeat = Sidebeat::start(&config(&format!(
        "  main: {{ listen: ws://127.0.0.1:0, upstream: ws://{}, limits: {{ streams: 1 }} }}",
        app()
    )));
    let (first, answer) = open(&sidebeat, "main");
    assert_eq!(answer.status, 101);
    let (_, answer) = open(&sidebeat, "main");
    assert_eq!(
        (answer.status, answer.header("retry-after")),
        (503, Some("1"))
    );
    assert_eq!(rejected(&sidebeat, "main", "too_many_streams"), 1);
    drop(first);
    wait_until("the place is given back", || {
        open(&sidebeat, "main").1.status == 101
    });
}

#[test]
fn raw_connections_beyond_a_limit_are_closed_at_once() {
    let sidebeat = Sidebeat::start(&config(&format!(
        "  all: {{ listen: tcp://127.0.0.1:0, upstream: tcp://{0}, limits: {{ streams: 1 }} }}
  each: {{ listen: tcp://127.0.0.1:0, upstream: tcp://{0}, limits: {{ streams_per_ip: 1 }} }}",
        app()
    )));
    for (listener, reason) in [
        ("all", "too_many_streams"),
        ("each", "too_many_streams_per_ip"),
    ] {
        let first = sidebeat.connect(listener);
        let series = format!("sidebeat_streams_active{{listener=\"{listener}\"}}");
        wait_until("the first is open", || sidebeat.metric(&series) == 1);
        assert!(is_closed(&mut sidebeat.connect(listener)));
        assert_eq!(rejected(&sidebeat, listener, reason), 1);
        drop(first);
        wait_until("the first is gone", || sidebeat.metric(&series) == 0);
        let _second = sidebeat.connect(listener);
        wait_until("the second is open", || sidebeat.metric(&series) == 1);
    }
}

#[test]
fn openings_beyond_the_rate_are_refused_until_the_second_is_over() {
    let sidebeat = Sidebeat::start(&config(&format!(
        "  all: {{ listen: ws://127.0.0.1:0, upstream: ws://{0}, limits: {{ opens_per_second: 2 }} }}
  each: {{ listen: ws://127.0.0.1:0, upstream: ws://{0}, limits: {{ opens_per_second_per_ip: 2 }} }}",
        app()
    )));
    for listener in ["all", "each"] {
        let mut last = Instant::now();
        let mut opened = Vec::new();
        let refused = loop {
            let (_, answer) = open(&sidebeat, listener);
            if answer.status != 101 {
                break answer;
            }
            opened.push(last.elapsed());
            last = Instant::now();
            assert!(opened.len() < 100, "never refused: {opened:?}");
        };
        assert_eq!(
            (refused.status, refused.header("retry-after")),
            (429, Some("1"))
        );
        assert!(opened.len() >= 2, "refused below the limit");
        let before = rejected(&sidebeat, listener, "rate_limited");
        assert!(before >= 1);
        wait_until("the second is over", || {
            open(&sidebeat, listener).1.status == 101
        });
    }
}

#[test]
fn ordinary_requests_are_no_openings() {
    let app = serve_each(|mut stream| {
        let _ = stream.read(&mut [0; 4096]);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        let _ = stream.read(&mut [0]);
    });
    let sidebeat = Sidebeat::start(&config(&format!(
        "  main: {{ listen: ws://127.0.0.1:0, upstream: ws://{app}, limits: {{ opens_per_second: 1 }} }}"
    )));
    let mut client = sidebeat.connect("main");
    for _ in 0..20 {
        client
            .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            .unwrap();
        assert_eq!(Answer::read(&mut client, Method::Get).status, 200);
    }
    assert_eq!(sidebeat.rejected("main"), Default::default());
}

/// Opens a WebSocket of a client with this address.
type Opener<'t> = &'t dyn Fn(&str) -> (TcpStream, Answer);

#[test]
fn a_client_is_who_the_proxy_before_us_says() {
    let limits = "limits: { streams_per_ip: 1 }";
    let sidebeat = Sidebeat::start(&config(&format!(
        "  proxied: {{ listen: ws://127.0.0.1:0, upstream: ws://{0}, proxy_protocol: {{ accept: [127.0.0.0/8] }}, {limits} }}
  trusting: {{ listen: ws://127.0.0.1:0, upstream: ws://{0}, trusted_proxies: [127.0.0.0/8], {limits} }}
  not: {{ listen: ws://127.0.0.1:0, upstream: ws://{0}, {limits} }}",
        app()
    )));
    let proxied = |address: &str| {
        let family = if address.contains(':') {
            "TCP6"
        } else {
            "TCP4"
        };
        let other = if address.contains(':') {
            "::1"
        } else {
            "192.0.2.99"
        };
        let header = format!("PROXY {family} {address} {other} 1000 443\r\n");
        open_with(&sidebeat, "proxied", &header, "")
    };
    let trusting = |address: &str| {
        let header = format!("X-Forwarded-For: {address}\r\n");
        open_with(&sidebeat, "trusting", "", &header)
    };
    let openers: [Opener<'_>; 2] = [&proxied, &trusting];
    for opener in openers {
        let expected = [
            ("192.0.2.1", 101),
            ("192.0.2.1", 429),
            ("192.0.2.2", 101),
            ("2001:db8:0:1::1", 101),
            ("2001:db8:0:1:ffff::2", 429),
            ("2001:db8:0:2::1", 101),
        ];
        let mut held = Vec::new();
        for (address, status) in expected {
            let (stream, answer) = opener(address);
            assert_eq!(answer.status, status, "{address}");
            held.push(stream);
        }
    }
    let not = |address: &str| {
        let header = format!("X-Forwarded-For: {address}\r\n");
        open_with(&sidebeat, "not", "", &header)
    };
    let (_held, answer) = not("192.0.2.1");
    assert_eq!(answer.status, 101);
    assert_eq!(not("192.0.2.2").1.status, 429, "anybody can say so");
}

fn streams_limit(sidebeat: &Sidebeat) -> usize {
    let status: serde_json::Value =
        serde_json::from_str(&sidebeat.get("admin", "/v1/status")).unwrap();
    status["listeners"]["main"]["streams_limit"]
        .as_u64()
        .unwrap() as usize
}

#[test]
fn streams_are_lowered_to_what_the_descriptors_allow_and_no_more_are_taken() {
    let sidebeat = Sidebeat::start_with_descriptors(
        400,
        &config(&format!(
            "  main: {{ listen: ws://127.0.0.1:0, upstream: ws://{} }}",
            app()
        )),
    );
    let limit = streams_limit(&sidebeat);
    assert!((100..200).contains(&limit), "{limit}");
    let line = sidebeat.line(|line| line["streams"] == limit && line["configured"] == 100_000);
    assert_eq!(line["level"], "warn");
    for _ in 0..2 {
        let mut held = Vec::new();
        for number in 0..limit {
            let (stream, answer) = open(&sidebeat, "main");
            assert_eq!(answer.status, 101, "stream {number}");
            held.push(stream);
        }
        for _ in 0..20 {
            let (_, answer) = open(&sidebeat, "main");
            assert_eq!(answer.status, 503);
        }
        let ordinary = {
            let mut client = sidebeat.connect("main");
            client
                .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                .unwrap();
            Answer::read(&mut client, Method::Get)
        };
        assert_eq!(
            ordinary.status, 503,
            "it would take the descriptors of streams"
        );
        assert_eq!(
            streams_limit(&sidebeat),
            limit,
            "admin and telemetry have their own"
        );
        drop(held);
        wait_until("all are gone", || {
            sidebeat.metric("sidebeat_streams_active{listener=\"main\"}") == 0
                && sidebeat.metric("sidebeat_streams_closing{listener=\"main\"}") == 0
        });
    }
    assert_eq!(
        sidebeat.rejected("main"),
        [("too_many_streams".to_owned(), 42)].into()
    );
}

/// Clock ticks of CPU that a process has used.
fn cpu_ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat
        .rsplit_once(')')
        .unwrap()
        .1
        .split_whitespace()
        .collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[test]
fn without_a_descriptor_left_clients_are_refused_and_later_served() {
    let sidebeat = Sidebeat::start_with_descriptors(
        120,
        &config(&format!(
            "  main: {{ listen: tcp://127.0.0.1:0, upstream: tcp://{} }}",
            app()
        )),
    );
    let series = "sidebeat_streams_active{listener=\"main\"}";
    // Somebody else takes them all: the planes of the operator are not limited by us.
    let telemetry = sidebeat.address("telemetry");
    let greedy: Vec<_> = (0..200)
        .map(|_| TcpStream::connect(telemetry).unwrap())
        .collect();
    let descriptors = format!("/proc/{}/fd", sidebeat.pid());
    let open = || std::fs::read_dir(&descriptors).unwrap().count();
    wait_until("all descriptors are taken", || open() >= 119);
    for _ in 0..20 {
        assert!(
            is_closed(&mut sidebeat.connect("main")),
            "it hangs in the queue"
        );
    }
    let (before, began) = (cpu_ticks(sidebeat.pid()), Instant::now());
    std::thread::sleep(Duration::from_secs(1));
    let used = cpu_ticks(sidebeat.pid()) - before;
    let passed = began.elapsed().as_millis() as u64 / 10;
    assert!(used < passed / 4, "it spins: {used} of {passed} ticks");
    drop(greedy);
    wait_until("clients are served again", || {
        let _client = sidebeat.connect("main");
        let end = Instant::now() + Duration::from_millis(200);
        while Instant::now() < end {
            if sidebeat.metric(series) == 1 {
                return true;
            }
        }
        false
    });
    assert!(rejected(&sidebeat, "main", "too_many_streams") >= 1);
}

/// Clients that begin and then send a byte now and then.
struct Drips {
    streams: Vec<TcpStream>,
    bytes: &'static [u8],
    sent: usize,
}

impl Drips {
    fn start(sidebeat: &Sidebeat, listener: &str, count: usize, bytes: &'static [u8]) -> Self {
        let streams = (0..count).map(|_| sidebeat.connect(listener)).collect();
        let mut drips = Self {
            streams,
            bytes,
            sent: 0,
        };
        drips.drip();
        drips
    }

    fn drip(&mut self) {
        let byte = &self.bytes[self.sent % self.bytes.len()..][..1];
        self.sent += 1;
        for stream in &mut self.streams {
            // Those that were given up may be closed.
            let _ = stream.write(byte);
        }
    }
}

const CLIENT_HELLO: &[u8] =
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

struct Secure {
    config: Arc<rustls::ClientConfig>,
    files: tempfile::TempDir,
}

impl Secure {
    fn new() -> Self {
        let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let files = tempfile::tempdir().unwrap();
        std::fs::write(files.path().join("tls.crt"), pair.cert.pem()).unwrap();
        std::fs::write(
            files.path().join("tls.key"),
            pair.signing_key.serialize_pem(),
        )
        .unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(pair.cert.der().clone()).unwrap();
        let config = rustls::ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self {
            config: Arc::new(config),
            files,
        }
    }

    fn yaml(&self) -> String {
        let folder = self.files.path().display();
        format!("tls: {{ certificates: [ {{ cert: {folder}/tls.crt, key: {folder}/tls.key }} ] }}")
    }

    fn open(&self, sidebeat: &Sidebeat, listener: &str) -> u16 {
        let name = ServerName::try_from("localhost").unwrap();
        let session = rustls::ClientConnection::new(Arc::clone(&self.config), name).unwrap();
        let mut stream = rustls::StreamOwned::new(session, sidebeat.connect(listener));
        stream
            .write_all(format!("{OPENING}\r\n").as_bytes())
            .unwrap();
        Answer::read(&mut stream, Method::Get).status
    }
}

/// A connection from another address of this machine.
fn connect_from(source: [u8; 4], sidebeat: &Sidebeat, listener: &str) -> TcpStream {
    let kind = socket2::Type::STREAM;
    let socket = socket2::Socket::new(socket2::Domain::IPV4, kind, None).unwrap();
    socket.bind(&SocketAddr::from((source, 0)).into()).unwrap();
    socket.connect(&sidebeat.address(listener).into()).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.into()
}

#[test]
fn one_address_that_fills_the_lobby_pushes_out_its_own() {
    let sidebeat = Sidebeat::start_with_descriptors(
        400,
        &config(&format!(
            "  main: {{ listen: ws://127.0.0.1:0, upstream: ws://{}, limits: {{ handshake_timeout: 120s }} }}",
            app()
        )),
    );
    let (first, second) = OPENING.split_at(20);
    // On both workers.
    let mut patient: Vec<_> = (0..20)
        .map(|_| connect_from([127, 0, 0, 3], &sidebeat, "main"))
        .collect();
    for stream in &mut patient {
        stream.write_all(first.as_bytes()).unwrap();
    }
    let accepted = "sidebeat_connections_accepted_total{listener=\"main\"}";
    wait_until("they are guests", || sidebeat.metric(accepted) == 20);
    let hasty: Vec<_> = (0..1000)
        .map(|_| connect_from([127, 0, 0, 2], &sidebeat, "main"))
        .collect();
    wait_until("all have come", || sidebeat.metric(accepted) == 1020);
    let gone = rejected(&sidebeat, "main", "handshake_timeout");
    assert!(gone > 500, "the lobby was never full: {gone}");
    for stream in &mut patient {
        write!(stream, "{second}\r\n").unwrap();
        assert_eq!(Answer::read(stream, Method::Get).status, 101);
    }
    drop(hasty);
}

/// `SIDEBEAT_TEST_SLOW=2000`: so many of each kind.
#[test]
fn slow_clients_by_the_thousand_do_not_keep_a_good_one_waiting() {
    let slow: usize =
        std::env::var("SIDEBEAT_TEST_SLOW").map_or(500, |count| count.parse().unwrap());
    let secure = Secure::new();
    let sidebeat = Sidebeat::start_with_descriptors(
        3 * slow,
        &config(&format!(
            "  ws: {{ listen: ws://127.0.0.1:0, upstream: ws://{0} }}
  wss: {{ listen: wss://127.0.0.1:0, upstream: ws://{0}, {1} }}",
            app(),
            secure.yaml()
        )),
    );
    let slowest = || {
        let began = Instant::now();
        assert_eq!(open(&sidebeat, "ws").1.status, 101);
        let plain = began.elapsed();
        assert_eq!(secure.open(&sidebeat, "wss"), 101);
        plain.max(began.elapsed() - plain)
    };
    // On a machine that is busy with other things an opening takes its time without anybody else, too.
    let alone = (0..5).map(|_| slowest()).max().unwrap();
    let limit = Duration::from_secs(1).max(alone * 5);
    let mut hellos = Drips::start(&sidebeat, "wss", slow, CLIENT_HELLO);
    let mut heads = Drips::start(&sidebeat, "ws", slow, OPENING.as_bytes());
    let frames = (0..slow).map(|_| {
        let (stream, answer) = open(&sidebeat, "ws");
        assert_eq!(answer.status, 101, "slow heads keep others out");
        stream
    });
    let mut frames = Drips {
        streams: frames.collect(),
        bytes: b"\x82\xfe\xff\xff\0\0\0\0x",
        sent: 0,
    };
    for _ in 0..5 {
        for slow in [&mut hellos, &mut heads, &mut frames] {
            slow.drip();
        }
        let took = slowest();
        assert!(took < limit, "{took:?}, {alone:?} alone");
    }
    assert!(rejected(&sidebeat, "wss", "handshake_timeout") > 0);
    assert!(rejected(&sidebeat, "ws", "handshake_timeout") > 0);
    let active = sidebeat.metric("sidebeat_streams_active{listener=\"ws\"}");
    assert!(
        active as usize >= slow,
        "slow frames are streams like others: {active}"
    );
}
