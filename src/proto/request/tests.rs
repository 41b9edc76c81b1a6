use std::path::Path;

use proptest::prelude::*;

use super::*;

fn read(input: &str) -> (Result<(), Fault>, String, Requests) {
    let mut requests = Requests::new(8192);
    let mut out = Vec::new();
    let read = requests.feed(input.as_bytes(), &mut out);
    (read, String::from_utf8(out).unwrap(), requests)
}

fn refused(input: &str) -> u16 {
    fuzz::request(input.as_bytes());
    read(input).0.expect_err(input).status
}

fn passed(input: &str) -> Requests {
    fuzz::request(input.as_bytes());
    let (read, out, requests) = read(input);
    assert_eq!(read, Ok(()), "{input}");
    assert_eq!(out, input);
    requests
}

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

fn with(headers: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: a\r\n{headers}\r\n\r\n")
}

#[test]
fn requests_pass_one_after_the_other() {
    let fixed = with("Content-Length: 5") + "hello";
    let chunked = with("Transfer-Encoding: chunked") + "5;a=\"b\"\r\nhello\r\n0\r\nx: y\r\n\r\n";
    let requests = passed(&format!("{GET}{fixed}\r\n{chunked}{GET}"));
    assert_eq!((requests.heads(), requests.refused()), (4, None));
}

#[test]
fn one_length_or_none() {
    let chunked = "Transfer-Encoding: chunked";
    for headers in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 0",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding:",
        "Transfer-Encoding : chunked",
        "Transfer_Encoding: chunked",
        "Content-Length: 5\r\nContent-Length: 5",
        "Content-Length: 5, 5",
        "Content-Length: +5",
        "Content-Length: -5",
        "Content-Length: 0x5",
        "Content-Length: 5 5",
        "Content-Length:",
        "Content-Length: 9223372036854775808",
        "Content-Length: 99999999999999999999999",
        "Content_Length: 5",
    ] {
        assert_eq!(refused(&with(headers)), 400, "{headers}");
    }
    let old = with(chunked).replace("HTTP/1.1", "HTTP/1.0");
    assert_eq!(refused(&old), 400);
    passed(&(with("content-LENGTH:\t05 ") + "hello"));
    passed(&(with("transfer-ENCODING: Chunked") + "0\r\n\r\n"));
}

#[test]
fn chunks_are_read_strictly() {
    for body in [
        "5\r\nhello!\r\n0\r\n\r\n",
        "5\r\nhell\r\n0\r\n\r\n",
        "5\nhello\r\n0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        " 5\r\nhello\r\n0\r\n\r\n",
        "5 \r\nhello\r\n0\r\n\r\n",
        "\r\n0\r\n\r\n",
        ";a\r\n0\r\n\r\n",
        "5;a\nhello\r\n0\r\n\r\n",
        "5;a\rb\r\nhello\r\n0\r\n\r\n",
        "1000000000000000\r\n",
        "0\r\n x: y\r\n\r\n",
        "0\r\nno colon\r\n\r\n",
        "0\r\n\rx",
        "0\r\n\n",
    ] {
        assert_eq!(
            refused(&(with("Transfer-Encoding: chunked") + body)),
            400,
            "{body:?}"
        );
    }
    let extra = |bytes: usize| {
        let extension = "x".repeat(bytes - 1); // the semicolon is one
        with("Transfer-Encoding: chunked") + "5;" + &extension + "\r\nhello\r\n"
    };
    passed(&extra(8192));
    assert_eq!(refused(&extra(8193)), 431);
    passed(&(with("Transfer-Encoding: chunked") + "00005 \t;x\r\nhello\r\n000\r\n\r\n" + GET));
}

#[test]
fn a_chunk_ends_where_its_size_says_however_it_is_cut() {
    let chunk = |size: &str, bytes| format!("{size}\r\n{}\r\n", "x".repeat(bytes));
    let body = [chunk("1a", 0x1a), chunk("0F0", 0xf0), chunk("0", 0)];
    let input = with("Transfer-Encoding: chunked") + &body.concat() + GET;
    assert_eq!(passed(&input).heads(), 2);
    for size in 1..input.len() {
        let (mut requests, mut out) = (Requests::new(8192), Vec::new());
        for piece in input.as_bytes().chunks(size) {
            requests.feed(piece, &mut out).unwrap();
        }
        assert_eq!((out.as_slice(), requests.heads()), (input.as_bytes(), 2));
    }
}

#[test]
fn what_is_for_the_app_is_not_named_in_connection() {
    for option in [
        "host",
        "Content-Length",
        "Sec-WebSocket-Key",
        "sec-websocket-",
    ] {
        assert_eq!(refused(&with(&format!("Connection: {option}"))), 400);
        let behind = format!("Connection: keep-alive ,\t{option}");
        assert_eq!(refused(&with(&behind)), 400, "{option}");
    }
    for option in ["", ",", "close", "x-host", "sec-websocket", "upgrade, te"] {
        passed(&with(&format!("Connection: {option}")));
    }
}

#[test]
fn a_head_is_passed_when_it_is_complete() {
    let mut requests = Requests::new(8192);
    let mut out = Vec::new();
    let (last, most) = GET.as_bytes().split_last().unwrap();
    for byte in most {
        requests.feed(&[*byte], &mut out).unwrap();
        assert!(out.is_empty() && requests.in_head());
    }
    requests.feed(&[*last], &mut out).unwrap();
    assert_eq!(out, GET.as_bytes());
    assert!(!requests.in_head());
}

#[test]
fn what_cannot_become_a_head_is_refused_at_once() {
    for start in [
        "\x16\x03\x01",
        "GET / HTTP/1.1\n",
        "GET / HTTP/1.1\r\nHost: a\0",
        "G\rT",
        "\r\n\r\n",
    ] {
        assert_eq!(refused(start), 400, "{start:?}");
    }
    assert_eq!(refused(&"a".repeat(9000)), 414);
    assert_eq!(
        refused(&format!("GET / HTTP/1.1\r\nx: {}", "a".repeat(9000))),
        431
    );
    assert_eq!(
        refused(&format!(
            "GET / HTTP/1.1\r\nHost: a\r\n{}\r\n",
            "a: b\r\n".repeat(100)
        )),
        431
    );
}

#[test]
fn nothing_behind_a_refusal_is_read() {
    let (read, out, requests) = read(&format!("{GET}GET / HTTP/1.1\r\n\r\n{GET}"));
    assert!(read.is_err());
    assert_eq!((out.as_str(), requests.heads()), (GET, 2));
    assert_eq!(requests.refused(), Some(Part::Head));
}

#[test]
fn behind_a_request_for_a_websocket_nothing_is_judged() {
    let opening = "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: h2c, WebSocket\r\n\r\n";
    assert!(passed(&format!("{opening}\0\n\rGET")).is_beyond());
    assert!(!passed("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\n\r\n").is_beyond());
}

#[test]
fn an_end_within_a_request_is_none() {
    for input in [
        "GET",
        &GET[..GET.len() - 1],
        &with("Content-Length: 2"),
        &(with("Transfer-Encoding: chunked") + "0\r\n"),
    ] {
        let (read, _, mut requests) = read(input);
        assert_eq!(read, Ok(()));
        assert_eq!(
            requests.end().map_err(|fault| fault.status),
            Err(400),
            "{input:?}"
        );
    }
    for input in [
        "",
        "\r\n",
        GET,
        "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\nx",
    ] {
        assert_eq!(read(input).2.end(), Ok(()), "{input:?}");
    }
}

#[test]
fn hosts_and_targets() {
    let get = |target: &str, host: &str| format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
    for host in [
        "a b", "a/b", "a@b", "[::1", "[::g]", "a:b", "a:123456", "a:1:2", "a,b", "ä", "a%2",
        "a%2g", "a%g2", "a\\b",
    ] {
        let valid = host == "a,b";
        assert_eq!(read(&get("/", host)).0.is_ok(), valid, "{host}");
    }
    for host in [
        "",
        "a",
        "a.example:",
        "a:1",
        "127.0.0.1:80",
        "[::1]",
        "[::1]:443",
        "a%20b",
        "_x",
    ] {
        passed(&get("/", host));
    }
    for target in [
        "a",
        "*",
        "/#x",
        "/ä",
        "ftp://a/",
        "http:///x",
        "http://u@a/",
        "http://a b/",
        "a:80",
        "/`",
        "http://",
    ] {
        assert_eq!(refused(&get(target, "a")), 400, "{target}");
    }
    for target in [
        "/",
        "/?x",
        "/%00",
        "/a|b",
        "/%zz",
        "http://b",
        "HTTPS://b:1?x",
        "//",
        "/{\"x\"}",
    ] {
        passed(&get(target, "a"));
    }
    passed("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(refused("CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n"), 405);
    assert_eq!(refused("PRI * HTTP/2.0\r\n\r\n"), 505);
    for version in ["HTTP/2.x", "HTTP/x.0", "HTTP/11", "http/1.1"] {
        assert_eq!(refused(&GET.replace("HTTP/1.1", version)), 400, "{version}");
    }
    assert_eq!(refused(&with("Host: a")), 400, "the second");
}

proptest! {
    /// Pieces of requests in any order, so that the interesting states are reached.
    #[test]
    fn any_input_is_survived(pieces in prop::collection::vec(prop::sample::select(PIECES), 0..24)) {
        fuzz::request(pieces.concat().as_bytes());
    }

    #[test]
    fn any_bytes_are_survived(input in prop::collection::vec(any::<u8>(), 0..64)) {
        fuzz::request(&input);
        fuzz::request(&[with("Transfer-Encoding: chunked").as_bytes(), &input].concat());
    }
}

const PIECES: &[&str] = &[
    "GET / HTTP/1.1\r\n",
    "POST /x HTTP/1.1\r\nHost: a\r\n",
    "GET / HTTP/1.0\r\n",
    "Host: a\r\n",
    "Content-Length: 4\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Upgrade: websocket\r\n",
    "x: y\r\n",
    "\r\n",
    "\n",
    "\r",
    "4\r\n",
    "0\r\n",
    "4;x",
    "abcd",
    "\0",
    " ",
    ":",
];

#[test]
fn the_corpus_is_survived() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/request");
    let mut files = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        fuzz::request(&std::fs::read(entry.unwrap().path()).unwrap());
        files += 1;
    }
    assert_eq!(files, 217);
}
