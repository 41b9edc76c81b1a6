//! Limits: who has too much is told so, everybody else is served, and what was taken comes back.

mod descriptors;
mod lobby;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use crate::support::app::serve_each;
use crate::support::http::{Answer, Method};
use crate::support::{Sidebeat, wait_until};

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
