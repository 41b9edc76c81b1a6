//! `sidebeat receive`: a hook receiver that verifies, prints and answers as told.

use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::ALLOW;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::hook::sign::Secret;

/// `EX_OSERR` of sysexits.h: cannot bind.
const OS_ERROR: u8 = 71;
/// `EX_CONFIG` of sysexits.h: the secret file cannot be used.
const BAD_CONFIGURATION: u8 = 78;
/// More than any event has: what is larger is no event.
const BODY_LIMIT: usize = 1024 * 1024;

/// Receive hook events: verify each, print it and answer as told.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Args {
    /// Where to listen; port 0 takes a free one, which is printed first.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9000")]
    pub listen: SocketAddr,
    /// The hook's secret_file: what is not signed by one of its keys gets 401.
    #[arg(long, value_name = "FILE")]
    pub secret_file: Option<PathBuf>,
    /// The status of the answer.
    #[arg(long, value_name = "N", default_value = "200", value_parser = status)]
    pub status: StatusCode,
    /// How long to wait before the answer, 500ms or 2s.
    #[arg(long, value_name = "D", default_value = "0s", value_parser = delay)]
    pub delay: Duration,
}

/// Runs until the process is told to end. On a terminal every event is one readable line, elsewhere one line of JSON.
pub(super) fn main(args: Args) -> ExitCode {
    let secret = match args.secret_file.as_ref().map(secret).transpose() {
        Ok(secret) => secret,
        Err(why) => {
            eprintln!("sidebeat receive: {why}");
            return ExitCode::from(BAD_CONFIGURATION);
        }
    };
    let receiver = Receiver {
        secret,
        status: args.status,
        delay: args.delay,
        format: if std::io::stdout().is_terminal() {
            Format::Text
        } else {
            Format::Json
        },
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let ended = runtime.and_then(|runtime| runtime.block_on(receiver.listen(args.listen)));
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!(
                "sidebeat receive: cannot listen on {}: {error}",
                args.listen
            );
            ExitCode::from(OS_ERROR)
        }
    }
}

pub(super) struct Receiver {
    secret: Option<Secret>,
    status: StatusCode,
    delay: Duration,
    format: Format,
}

#[derive(Clone, Copy)]
enum Format {
    Text,
    Json,
}

/// What the signature of a request is worth.
#[derive(Debug, PartialEq, Eq)]
enum Signature {
    Valid,
    /// No secret to check it with.
    Unchecked,
    Invalid(String),
}

impl Receiver {
    /// A receiver that takes every event signed with `secret`, and says so in a readable line.
    pub(super) fn of_demo(secret: Secret) -> Self {
        Self {
            secret: Some(secret),
            status: StatusCode::NO_CONTENT,
            delay: Duration::ZERO,
            format: Format::Text,
        }
    }

    /// Serves until nobody reads what it prints.
    async fn listen(self, address: SocketAddr) -> std::io::Result<()> {
        let listener = TcpListener::bind(address).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let first = match self.format {
            Format::Text => format!("listening on {url}"),
            Format::Json => json!({"listening": url}).to_string(),
        };
        print(&first);
        self.serve(listener, Arc::new(|line: &str| print(line)))
            .await
    }

    /// Serves for ever; each line goes to `print`.
    pub(super) async fn serve(
        self,
        listener: TcpListener,
        print: Arc<dyn Fn(&str) + Send + Sync>,
    ) -> std::io::Result<()> {
        let receiver = Arc::new(self);
        loop {
            // Out of descriptors or a connection that is gone already: the next may do.
            let Ok((stream, _)) = listener.accept().await else {
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            let (receiver, print) = (receiver.clone(), print.clone());
            tokio::spawn(async move {
                let service = service_fn(|request| receiver.answer(request, &*print));
                // The peer of a broken connection knows; an event that was read is printed.
                let _ = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    }

    async fn answer(
        &self,
        request: Request<Incoming>,
        print: &(dyn Fn(&str) + Send + Sync),
    ) -> Result<Response<Full<Bytes>>, std::convert::Infallible> {
        let (head, body) = request.into_parts();
        if head.method != Method::POST {
            let mut answer = empty(StatusCode::METHOD_NOT_ALLOWED);
            let allowed = HeaderValue::from_static("POST");
            answer.headers_mut().insert(ALLOW, allowed);
            return Ok(answer);
        }
        let Ok(body) = Limited::new(body, BODY_LIMIT).collect().await else {
            return Ok(empty(StatusCode::PAYLOAD_TOO_LARGE));
        };
        let body = body.to_bytes();
        let signature = self.check(&head.headers, &body, SystemTime::now());
        let event: Option<Value> = serde_json::from_slice(&body).ok();
        let status = match (&signature, &event) {
            (Signature::Invalid(_), _) => StatusCode::UNAUTHORIZED,
            (Signature::Valid | Signature::Unchecked, None) => StatusCode::BAD_REQUEST,
            (Signature::Valid | Signature::Unchecked, Some(_)) => self.status,
        };
        print(&self.line(&signature, status, event.as_ref(), &body));
        tokio::time::sleep(self.delay).await;
        Ok(empty(status))
    }

    fn check(&self, headers: &HeaderMap, body: &[u8], now: SystemTime) -> Signature {
        let Some(secret) = &self.secret else {
            return Signature::Unchecked;
        };
        let header = |name: &str| {
            let value = headers.get(name).and_then(|value| value.to_str().ok());
            value.ok_or_else(|| format!("no {name}"))
        };
        let verified = || {
            let (id, timestamp) = (header("webhook-id")?, header("webhook-timestamp")?);
            let signatures = header("webhook-signature")?;
            let verified = secret.verify(id, timestamp, signatures, body, now);
            verified.map_err(|why| why.to_string())
        };
        verified().map_or_else(Signature::Invalid, |()| Signature::Valid)
    }

    fn line(
        &self,
        signature: &Signature,
        status: StatusCode,
        event: Option<&Value>,
        body: &[u8],
    ) -> String {
        let (word, why) = match signature {
            Signature::Valid => ("valid", None),
            Signature::Unchecked => ("unchecked", None),
            Signature::Invalid(why) => ("invalid", Some(why.as_str())),
        };
        match (self.format, event) {
            (Format::Json, event) => {
                let text = event.is_none().then(|| String::from_utf8_lossy(body));
                let line = json!({
                    "signature": word, "why": why, "status": status.as_u16(),
                    "event": event, "text": text,
                });
                line.to_string()
            }
            (Format::Text, None) => format!("not JSON ({} bytes) -> {status}", body.len()),
            (Format::Text, Some(event)) => {
                let why = why.map_or_else(String::new, |why| format!(": {why}"));
                format!("{} signature {word}{why} -> {status}", readable(event))
            }
        }
    }
}

/// One line about an event for people; control characters of the sender are escaped, since it goes to a terminal.
fn readable(event: &Value) -> String {
    let text = |pointer: &str| match event.pointer(pointer) {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(text.escape_debug().to_string()),
        Some(other) => Some(other.to_string()),
    };
    let mut line = text("/time").unwrap_or_else(|| "-".to_owned());
    line.push(' ');
    line.push_str(&text("/type").unwrap_or_else(|| "no CloudEvent".to_owned()));
    for (name, pointer) in [
        ("stream", "/subject"),
        ("uid", "/data/uid"),
        ("listener", "/data/listener"),
        ("client", "/data/client/address"),
        ("reason", "/data/reason"),
        ("by", "/data/by"),
        ("duration_ms", "/data/duration_ms"),
        ("streams", "/data/streams"),
        ("recovered", "/data/recovered"),
        ("id", "/id"),
    ] {
        if let Some(value) = text(pointer) {
            line.push_str(&format!(" {name}={value}"));
        }
    }
    line
}

fn empty(status: StatusCode) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = status;
    answer
}

/// Nobody reads any more: there is nothing left to do.
fn print(line: &str) {
    let mut out = std::io::stdout().lock();
    if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
        std::process::exit(0);
    }
}

fn secret(path: &PathBuf) -> Result<Secret, String> {
    let named = |why: &dyn std::fmt::Display| format!("--secret-file {}: {why}", path.display());
    let text = std::fs::read(path).map_err(|error| named(&error))?;
    Secret::parse(&text).map_err(|error| named(&error))
}

fn status(text: &str) -> Result<StatusCode, String> {
    // 1xx is no final answer.
    let code = text.parse().ok().filter(|code| (200..=599).contains(code));
    code.and_then(|code: u16| StatusCode::from_u16(code).ok())
        .ok_or_else(|| "write a status from 200 to 599".to_owned())
}

fn delay(text: &str) -> Result<Duration, String> {
    let parsed = humantime::parse_duration(text);
    parsed.map_err(|error| format!("{error}: write a duration with its unit, 500ms or 2s"))
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Mutex;
    use std::time::UNIX_EPOCH;

    use clap::Parser;
    use http::header::AUTHORIZATION;
    use hyper_util::client::legacy::Client;
    use hyper_util::rt::TokioExecutor;
    use indexmap::IndexMap;
    use tempfile::NamedTempFile;
    use tokio::time::Instant;

    use crate::config::{EventKind, Hook};
    use crate::hook::{Event, HookMetrics, Hooks};

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        args: Args,
    }

    fn parse(args: &[&str]) -> Result<Args, String> {
        let all = std::iter::once(&"receive").chain(args);
        let parsed = Command::try_parse_from(all);
        parsed
            .map(|command| command.args)
            .map_err(|error| error.to_string())
    }

    /// Serves on a free port; the lines that it prints end up in the list.
    async fn start(secret: Option<&[u8]>, status: u16) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
        let receiver = Receiver {
            secret: secret.map(|text| Secret::parse(text).unwrap()),
            status: StatusCode::from_u16(status).unwrap(),
            delay: Duration::ZERO,
            format: Format::Json,
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let printed = lines.clone();
        let print = Arc::new(move |line: &str| printed.lock().unwrap().push(line.to_owned()));
        tokio::spawn(receiver.serve(listener, print));
        (address, lines)
    }

    fn last(lines: &Mutex<Vec<String>>) -> Value {
        let lines = lines.lock().unwrap();
        serde_json::from_str(lines.last().unwrap()).unwrap()
    }

    async fn send(address: SocketAddr, request: http::request::Builder, body: &str) -> StatusCode {
        let body = Full::new(Bytes::copy_from_slice(body.as_bytes()));
        let request = request
            .uri(format!("http://{address}/"))
            .body(body)
            .unwrap();
        let client = Client::builder(TokioExecutor::new()).build_http();
        client.request(request).await.unwrap().status()
    }

    #[tokio::test]
    async fn a_hook_delivers_to_it() {
        let key = b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n";
        let mut file = NamedTempFile::new().unwrap();
        file.write_all(key).unwrap();
        let (address, lines) = start(Some(key), 204).await;
        let hook = Hook {
            url: format!("http://{address}/hook").parse().unwrap(),
            events: vec![EventKind::Started],
            listeners: None,
            secret_file: Some(file.path().to_owned()),
            ca: None,
            bearer_token_file: None,
            timeout: Duration::from_secs(10),
            rate: 500,
            give_up_after: Duration::from_secs(900),
        };
        let hooks = Hooks::start(
            &IndexMap::from([("app".to_owned(), hook)]),
            HookMetrics::register(&prometheus::Registry::new()),
            &tokio::runtime::Handle::current(),
        )
        .unwrap();
        let event = Event::Started {
            former_boot_id: None,
            recovered: 3,
        };
        hooks.emit(event, SystemTime::now(), Instant::now());
        assert_eq!(hooks.flush(Duration::from_secs(60)).await, 0);
        let line = last(&lines);
        assert_eq!(line["signature"], "valid");
        assert_eq!(line["status"], 204);
        assert_eq!(line["event"]["type"], "sidebeat.proxy.started");
        assert_eq!(line["event"]["data"]["recovered"], 3);
    }

    #[tokio::test]
    async fn what_cannot_be_verified_is_refused_and_shown() {
        let (address, lines) = start(Some(b"key"), 200).await;
        let post = || Request::builder().method("POST");
        assert_eq!(send(address, post(), "{}").await, 401);
        assert_eq!(last(&lines)["why"], "no webhook-id");
        let signed = |timestamp: u64| {
            let signature = Secret::parse(b"key")
                .unwrap()
                .sign("evt_1", timestamp, b"{}");
            post()
                .header("webhook-id", "evt_1")
                .header("webhook-timestamp", timestamp)
                .header("webhook-signature", signature)
        };
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_secs();
        assert_eq!(send(address, signed(now), "{}").await, 200);
        assert_eq!(last(&lines)["signature"], "valid");
        assert_eq!(send(address, signed(now), "[]").await, 401);
        assert_eq!(last(&lines)["signature"], "invalid");
        assert_eq!(send(address, signed(now - 3_600), "{}").await, 401);
        assert_eq!(lines.lock().unwrap().len(), 4);
    }

    #[tokio::test]
    async fn it_answers_as_told_and_takes_only_posted_json() {
        let (address, lines) = start(None, 503).await;
        let post = Request::builder()
            .method("POST")
            .header(AUTHORIZATION, "Bearer ignored");
        assert_eq!(send(address, post, r#"{"type":"x"}"#).await, 503);
        let expected = json!({
            "signature": "unchecked", "why": null, "status": 503,
            "event": {"type": "x"}, "text": null,
        });
        assert_eq!(last(&lines), expected);
        assert_eq!(
            send(address, Request::builder().method("POST"), "no JSON").await,
            400
        );
        assert_eq!(last(&lines)["text"], "no JSON");
        assert_eq!(send(address, Request::builder(), "").await, 405);
        let large = "x".repeat(BODY_LIMIT + 1);
        assert_eq!(
            send(address, Request::builder().method("POST"), &large).await,
            413
        );
        assert_eq!(lines.lock().unwrap().len(), 2);
    }

    #[test]
    fn flags_are_read_and_wrong_ones_explained() {
        let args = parse(&[]).unwrap();
        assert_eq!(args.listen.to_string(), "127.0.0.1:9000");
        assert_eq!((args.status, args.delay), (StatusCode::OK, Duration::ZERO));
        let args = parse(&["--status", "410", "--delay", "1m30s", "--listen", "[::]:0"]).unwrap();
        assert_eq!(args.status, StatusCode::GONE);
        assert_eq!(args.delay, Duration::from_secs(90));
        let status = parse(&["--status", "100"]).unwrap_err();
        assert!(status.contains("from 200 to 599"), "{status}");
        let delay = parse(&["--delay", "5"]).unwrap_err();
        assert!(delay.contains("with its unit"), "{delay}");
    }

    #[test]
    fn a_readable_line_shows_the_stream_and_no_control_characters() {
        let event = json!({
            "time": "2026-11-21T09:30:55.003Z", "type": "sidebeat.stream.closed",
            "id": "evt_1", "subject": "0199f2b1",
            "data": {"uid": "\u{1b}[2J", "reason": "client_idle", "by": "sidecar", "duration_ms": 7},
        });
        assert_eq!(
            readable(&event),
            "2026-11-21T09:30:55.003Z sidebeat.stream.closed stream=0199f2b1 uid=\\u{1b}[2J \
             reason=client_idle by=sidecar duration_ms=7 id=evt_1"
        );
        assert_eq!(readable(&json!([])), "- no CloudEvent");
    }

    #[test]
    fn an_unusable_secret_file_is_bad_configuration() {
        let args = parse(&["--listen", "127.0.0.1:0", "--secret-file", "/nonexistent"]).unwrap();
        let code = main(args);
        assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::from(78)));
    }

    #[test]
    fn an_address_in_use_is_an_os_error() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap().to_string();
        let code = main(parse(&["--listen", &address]).unwrap());
        assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::from(71)));
    }
}
