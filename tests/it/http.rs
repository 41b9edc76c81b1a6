//! Ordinary requests beside WebSockets: bodies stream both ways, nobody is read faster than the other side takes it,
//! and a refusal can be read.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::support::app::serve_each;
use crate::support::http::{Answer, Method};
use crate::support::{Sidebeat, wait_until};

/// More than all sockets on the way can hold, and far less than the test machine's memory.
const LARGE: usize = 96 << 20;

/// What the sockets of four hops may hold together: with automatic sizes up to 6 MiB on one side and 4 MiB on the other.
const HELD_AT_MOST: usize = 40 << 20;

fn start(app: SocketAddr) -> Sidebeat {
    Sidebeat::start(&format!(
        "
listeners:
  main: {{ listen: ws://127.0.0.1:0, upstream: ws://{app} }}
  hasty: {{ listen: ws://127.0.0.1:0, upstream: ws://{app}, http_timeout: 1s, limits: {{ handshake_timeout: 300ms }} }}
  refuse: {{ listen: ws://127.0.0.1:0, upstream: ws://{app}, http: refuse }}
admin: off
telemetry: {{ listen: 127.0.0.1:0 }}
"
    ))
}

fn read_until(stream: &mut TcpStream, end: &[u8]) -> Vec<u8> {
    let mut heard = Vec::new();
    while !heard.ends_with(end) {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        heard.push(byte[0]);
    }
    heard
}

/// An app whose every connection goes to the test as soon as its request head has come.
fn handed_over() -> (SocketAddr, Receiver<TcpStream>) {
    let (sender, receiver): (Sender<TcpStream>, _) = channel();
    let sender = Arc::new(Mutex::new(sender));
    let address = serve_each(move |mut stream| {
        read_until(&mut stream, b"\r\n\r\n");
        // The test may be over.
        let _ = sender.lock().unwrap().send(stream);
    });
    (address, receiver)
}

/// A client whose request has come to the app, and the app's side of it.
fn asked(listener: &str, head: &str) -> (Sidebeat, TcpStream, TcpStream) {
    let (app, requests) = handed_over();
    let sidebeat = start(app);
    let mut client = sidebeat.connect(listener);
    client.write_all(head.as_bytes()).unwrap();
    let app = requests.recv().unwrap();
    (sidebeat, client, app)
}

#[test]
fn whoever_waits_for_100_gets_it_and_then_its_answer() {
    let (app, requests) = handed_over();
    let sidebeat = start(app);
    let mut client = sidebeat.connect("main");
    let head = "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
    client.write_all(head.as_bytes()).unwrap();
    assert_eq!(Answer::read(&mut client, Method::Get).status, 100);
    client.write_all(b"hello").unwrap();
    let mut app = requests.recv().unwrap();
    assert_eq!(read_until(&mut app, b"o"), b"hello");
    app.write_all(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")
        .unwrap();
    assert_eq!(Answer::read(&mut client, Method::Get).status, 201);
}

#[test]
fn bodies_stream_both_ways_at_once() {
    let (_sidebeat, mut client, mut app) = asked(
        "main",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
    );
    app.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        .unwrap();
    read_until(&mut client, b"\r\n\r\n");
    for round in 0..3 {
        let chunk = format!("3\r\nup{round}\r\n");
        client.write_all(chunk.as_bytes()).unwrap();
        assert_eq!(read_until(&mut app, chunk.as_bytes()), chunk.as_bytes());
        let chunk = format!("3\r\ndn{round}\r\n");
        app.write_all(chunk.as_bytes()).unwrap();
        assert_eq!(read_until(&mut client, chunk.as_bytes()), chunk.as_bytes());
    }
    client.write_all(b"0\r\n\r\n").unwrap();
    assert_eq!(read_until(&mut app, b"0\r\n\r\n"), b"0\r\n\r\n");
    app.write_all(b"0\r\n\r\n").unwrap();
    assert_eq!(read_until(&mut client, b"0\r\n\r\n"), b"0\r\n\r\n");
}

/// Writes zeros until the other side takes none for half a second; returns how many it took.
fn write_until_full(stream: &mut TcpStream) -> usize {
    stream
        .set_write_timeout(Some(Duration::from_millis(500)))
        .unwrap();
    let (mut taken, piece) = (0, [0; 64 * 1024]);
    while taken < LARGE {
        match stream.write(&piece[..piece.len().min(LARGE - taken)]) {
            Ok(count) => taken += count,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                break;
            }
        }
    }
    taken
}

fn write_rest(mut stream: TcpStream, taken: usize) -> std::thread::JoinHandle<TcpStream> {
    stream
        .set_write_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    std::thread::spawn(move || {
        let piece = vec![0; 64 * 1024];
        for start in (taken..LARGE).step_by(piece.len()) {
            stream
                .write_all(&piece[..piece.len().min(LARGE - start)])
                .unwrap();
        }
        stream
    })
}

fn count_zeros(stream: &mut TcpStream) {
    let mut piece = vec![1; 256 * 1024];
    let mut left = LARGE;
    while left > 0 {
        let room = piece.len().min(left);
        let count = stream.read(&mut piece[..room]).unwrap();
        assert!(count > 0 && piece[..count].iter().all(|byte| *byte == 0));
        left -= count;
    }
}

#[test]
fn an_upload_is_read_no_faster_than_the_app_takes_it() {
    let head = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {LARGE}\r\n\r\n");
    let (_sidebeat, mut client, mut app) = asked("main", &head);
    let taken = write_until_full(&mut client);
    assert!(taken < HELD_AT_MOST, "{taken}");
    let writing = write_rest(client, taken);
    count_zeros(&mut app);
    app.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        .unwrap();
    let mut client = writing.join().unwrap();
    assert_eq!(Answer::read(&mut client, Method::Get).status, 200);
}

#[test]
fn a_download_is_read_no_faster_than_the_client_takes_it() {
    let (_sidebeat, mut client, mut app) = asked("main", "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    write!(app, "HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n").unwrap();
    let taken = write_until_full(&mut app);
    assert!(taken < HELD_AT_MOST, "{taken}");
    let writing = write_rest(app, taken);
    read_until(&mut client, b"\r\n\r\n");
    count_zeros(&mut client);
    drop(writing.join().unwrap());
}

#[test]
fn a_client_that_takes_nothing_of_its_answer_is_given_up_after_http_timeout() {
    let (_sidebeat, client, mut app) = asked("hasty", "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    write!(app, "HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n").unwrap();
    let piece = [0; 64 * 1024];
    let mut taken = 0;
    // Until the write fails: the connection is closed though the client is there.
    while app.write(&piece).is_ok() {
        taken += piece.len();
        assert!(taken < HELD_AT_MOST, "{taken}");
    }
    drop(client);
}

#[test]
fn a_long_poll_outlives_the_handshake_timeout() {
    let (_sidebeat, mut client, mut app) = asked("hasty", "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    std::thread::sleep(Duration::from_millis(600));
    app.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnews")
        .unwrap();
    assert_eq!(Answer::read(&mut client, Method::Get).text(), "news");
}

#[test]
fn an_upload_that_moves_on_may_take_longer_than_http_timeout() {
    let (_sidebeat, mut client, mut app) = asked(
        "hasty",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 15\r\n\r\n",
    );
    let began = Instant::now();
    for _ in 0..15 {
        std::thread::sleep(Duration::from_millis(100));
        client.write_all(b"x").unwrap();
        read_until(&mut app, b"x");
    }
    assert!(began.elapsed() > Duration::from_secs(1));
    app.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        .unwrap();
    assert_eq!(Answer::read(&mut client, Method::Get).status, 200);
}

#[test]
fn one_connection_asks_many_times() {
    let app = serve_each(|mut stream| {
        read_until(&mut stream, b"\r\n\r\n");
        // The proxy closes behind each answer.
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        let _ = stream.read(&mut [0]);
    });
    let sidebeat = start(app);
    let mut client = sidebeat.connect("main");
    for number in 0..100 {
        write!(client, "GET /{number} HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        assert_eq!(Answer::read(&mut client, Method::Get).text(), "ok");
    }
    let count = |series: &str| sidebeat.metric(series);
    assert_eq!(
        count("sidebeat_connections_accepted_total{listener=\"main\"}"),
        1
    );
    assert_eq!(
        count("sidebeat_http_requests_total{code=\"2xx\",listener=\"main\"}"),
        100
    );
}

/// Sends all of a large body before it looks for the answer, as simple clients do.
fn refused_upload(sidebeat: &Sidebeat, listener: &str, head: &str) -> Answer {
    let mut client = sidebeat.connect(listener);
    client.write_all(head.as_bytes()).unwrap();
    let piece = vec![0; 64 * 1024];
    for _ in 0..16 * 16 {
        client.write_all(&piece).unwrap();
    }
    Answer::read(&mut client, Method::Get)
}

#[test]
fn the_answer_to_a_refused_upload_can_be_read() {
    let (app, _requests) = handed_over();
    let sidebeat = start(app);
    let length = 16 << 20;
    let bad = format!("POST / HTTP/1.1\r\nContent-Length: {length}\r\n\r\n");
    assert_eq!(refused_upload(&sidebeat, "main", &bad).status, 400);
    let good = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
    assert_eq!(refused_upload(&sidebeat, "refuse", &good).status, 426);
}

#[test]
fn an_app_that_answers_an_upload_early_and_closes_is_heard() {
    let app = serve_each(|mut stream| {
        read_until(&mut stream, b"\r\n\r\n");
        stream
            .write_all(b"HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno")
            .unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        // What it does not want it still takes, or its own answer could be lost.
        std::io::copy(&mut stream, &mut std::io::sink()).unwrap();
    });
    let sidebeat = start(app);
    let head = format!(
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n",
        16 << 20
    );
    let answer = refused_upload(&sidebeat, "main", &head);
    assert_eq!((answer.status, answer.text().as_str()), (413, "no"));
    wait_until("the request is counted", || {
        sidebeat.metric("sidebeat_http_requests_total{code=\"4xx\",listener=\"main\"}") == 1
    });
}
