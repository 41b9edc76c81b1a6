//! What the demo prints: where everything is, then what the proxy logs and the hook receiver gets, as it happens.

use std::collections::HashMap;
use std::fmt;
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::SystemTime;

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Context, SubscriberExt};

use super::house::{IDLE_LIMIT, PING_INTERVAL};
use crate::log::{HEARTBEAT, STREAM};

/// The names under which the proxy says where it listens.
const NAMES: [&str; 6] = ["ws", "wss", "tcp", "tls", "admin", "telemetry"];

/// What is known before the proxy starts.
pub(super) struct Banner {
    pub(super) app_ws: SocketAddr,
    pub(super) app_tcp: SocketAddr,
    pub(super) hook: SocketAddr,
    pub(super) config: PathBuf,
    pub(super) certificate: PathBuf,
}

/// Something to print.
pub(super) enum Line {
    /// The proxy listens there.
    Listening { name: String, url: String },
    /// As it is.
    Text(String),
    /// The last one.
    End,
}

impl Line {
    /// A line about something that happened now.
    pub(super) fn now(what: &str, text: &str) -> Self {
        let now = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
        let time = now.split_once('T').map_or(&*now, |(_, time)| time);
        Self::Text(format!("{time} {what:<6} {text}"))
    }
}

/// Standard output; one thread writes to it.
pub(super) struct Screen {
    lines: Sender<Line>,
    writer: JoinHandle<()>,
}

impl Screen {
    /// Takes the log of the whole process.
    pub(super) fn start(banner: Banner) -> Result<Self, super::DemoError> {
        let (lines, printed) = channel();
        let writer = std::thread::Builder::new()
            .name("screen".to_owned())
            .spawn(move || print(&printed, &banner, std::io::stdout()))?;
        let filter = Targets::new()
            .with_target("sidebeat", LevelFilter::INFO)
            .with_target(HEARTBEAT, LevelFilter::TRACE)
            .with_default(LevelFilter::WARN);
        let log = Log(lines.clone()).with_filter(filter);
        tracing::subscriber::set_global_default(tracing_subscriber::registry().with(log))?;
        Ok(Self { lines, writer })
    }

    /// A way to print.
    pub(super) fn lines(&self) -> Sender<Line> {
        self.lines.clone()
    }

    /// Waits until everything so far is printed.
    pub(super) fn end(self) {
        // A writer that is gone has nothing left to print.
        let _ = self.lines.send(Line::End);
        let _ = self.writer.join();
    }
}

/// Prints the banner as soon as all addresses are known, and everything else behind it.
fn print(lines: &Receiver<Line>, banner: &Banner, mut out: impl Write) {
    let mut urls = HashMap::new();
    let mut early = String::new();
    for line in lines {
        let started = urls.len() >= NAMES.len();
        let text = match line {
            Line::Listening { name, url } if !started => {
                urls.insert(name, url);
                if urls.len() < NAMES.len() {
                    continue;
                }
                banner.text(&urls) + &std::mem::take(&mut early)
            }
            // A reload adds one.
            Line::Listening { name, url } => format!("{name} listens on {url}\n"),
            Line::Text(text) if started => text + "\n",
            Line::Text(text) => {
                early += &(text + "\n");
                continue;
            }
            Line::End => break,
        };
        if write(&mut out, &text).is_err() {
            // Nobody reads any more; the demo runs on until it is told to end.
            return;
        }
    }
    // Of a proxy that could not start; where that cannot be said, the exit code says it.
    let _ = write(&mut out, &early);
}

fn write(out: &mut impl Write, text: &str) -> std::io::Result<()> {
    out.write_all(text.as_bytes())?;
    out.flush()
}

impl Banner {
    fn text(&self, urls: &HashMap<String, String>) -> String {
        let [ws, wss, tcp, tls, admin, telemetry] = NAMES.map(|name| &*urls[name]);
        let Self {
            app_ws,
            app_tcp,
            hook,
            config,
            certificate,
        } = self;
        let (config, certificate) = (config.display(), certificate.display());
        let (http, https) = (
            ws.replacen("ws", "http", 1),
            wss.replacen("wss", "https", 1),
        );
        format!(
            "\
sidebeat demo: an echo app that knows no heartbeats, sidebeat before it, and a receiver of its hooks.
Limits are short here: a client silent for {PING_INTERVAL} is asked, one silent for {IDLE_LIMIT} is closed.

  WebSocket      {ws}  {wss}
  lines          {tcp}  {tls}
  page           {http}  {https}
  status page    {admin}
  metrics        {telemetry}/metrics
  the app alone  ws://{app_ws}  tcp://{app_tcp}
  hook receiver  http://{hook}
  certificate    {certificate}
  configuration  {config} (edit it: open streams follow within 5s)

A client that answers no ping, to see it die:
  {}
Ctrl-C ends the demo.

",
            silent_client(&http)
        )
    }
}

/// curl opens the WebSocket and then only listens.
fn silent_client(url: &str) -> String {
    // The key is any 16 bytes in base64 (RFC 6455 section 4.1); these are the ones of its example.
    format!(
        "curl -isN -H 'Connection: Upgrade' -H 'Upgrade: websocket' -H 'Sec-WebSocket-Version: 13' -H 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==' {url} | cat -v"
    )
}

/// The log of the process, told in a line for each event.
struct Log(Sender<Line>);

impl<S: Subscriber> Layer<S> for Log {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let metadata = event.metadata();
        let line = match metadata.target() {
            HEARTBEAT => Line::now(fields.word("what"), &fields.heartbeat()),
            STREAM => Line::now("close", &fields.close()),
            _ if fields.word("message") == "listening" => Line::Listening {
                name: fields.word("listener").to_owned(),
                url: fields.word("address").to_owned(),
            },
            _ => {
                let level = metadata.level().as_str().to_ascii_lowercase();
                Line::now(&level, &fields.all())
            }
        };
        // The screen ends last.
        let _ = self.0.send(line);
    }
}

/// The fields of an event as text that drives no terminal.
#[derive(Default)]
struct Fields(Vec<(&'static str, String)>);

impl Fields {
    /// The field of that name, empty if there is none.
    fn word(&self, name: &str) -> &str {
        let mut fields = self.0.iter();
        let field = fields.find(|(found, _)| *found == name);
        field.map_or("", |(_, value)| value)
    }

    /// The fields of these names that are there, each with its name.
    fn named(&self, names: &[&'static str]) -> String {
        let there = names.iter().filter(|name| !self.word(name).is_empty());
        there
            .map(|name| format!(" {name}={}", self.word(name)))
            .collect()
    }

    fn heartbeat(&self) -> String {
        let (listener, end) = (self.word("listener"), self.word("end"));
        let rtt = self.named(&["rtt_ms"]);
        format!("{listener} {end} of stream {}{rtt}", self.word("id"))
    }

    fn close(&self) -> String {
        let more = [
            "reason",
            "by",
            "duration_ms",
            "idle_ms",
            "close_code",
            "detail",
        ];
        let more = self.named(&more);
        format!("{} stream {}{more}", self.word("listener"), self.word("id"))
    }

    fn all(&self) -> String {
        let others = self.0.iter().filter(|(name, _)| *name != "message");
        let others = others.map(|(name, value)| format!(" {name}={value}"));
        self.word("message").to_owned() + &others.collect::<String>()
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0
            .push((field.name(), value.escape_debug().to_string()));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn banner() -> Banner {
        let at = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        Banner {
            app_ws: at(6),
            app_tcp: at(7),
            hook: at(8),
            config: "/tmp/d/sidebeat.yaml".into(),
            certificate: "/tmp/d/cert.pem".into(),
        }
    }

    fn printed(said: impl IntoIterator<Item = Line>) -> String {
        let (lines, printed) = channel();
        for line in said {
            lines.send(line).unwrap();
        }
        drop(lines);
        let mut out = Vec::new();
        print(&printed, &banner(), &mut out);
        String::from_utf8(out).unwrap()
    }

    fn listening(name: &str) -> Line {
        Line::Listening {
            name: name.to_owned(),
            url: format!("{name}://127.0.0.1:1"),
        }
    }

    #[test]
    fn the_addresses_come_first_even_if_something_happened_before() {
        let early = Line::Text("early".to_owned());
        let late = Line::Text("late".to_owned());
        let said = std::iter::once(early).chain(NAMES.map(listening));
        let text = printed(said.chain([late, listening("new"), Line::End]));
        assert!(text.starts_with("sidebeat demo: "), "{text}");
        assert!(text.contains("  WebSocket      ws://127.0.0.1:1  wss://127.0.0.1:1\n"));
        assert!(text.contains("  page           http://127.0.0.1:1  https://127.0.0.1:1\n"));
        let rest = text.split_once("Ctrl-C ends the demo.\n\n").unwrap().1;
        assert_eq!(rest, "early\nlate\nnew listens on new://127.0.0.1:1\n");
    }

    #[test]
    fn a_start_that_failed_is_told_without_addresses() {
        let failure = Line::Text("error cannot bind".to_owned());
        let text = printed([listening("ws"), failure, Line::End]);
        assert_eq!(text, "error cannot bind\n");
    }

    #[test]
    fn what_a_peer_wrote_drives_no_terminal() {
        let (lines, printed) = channel();
        let registry = tracing_subscriber::registry().with(Log(lines));
        tracing::subscriber::with_default(registry, || {
            tracing::info!(target: STREAM, listener = "ws", id = 7, reason = "client_close", detail = "\u{1b}[2J", "stream closed");
        });
        let Ok(Line::Text(text)) = printed.recv() else {
            panic!("no line")
        };
        let (_, text) = text.split_once(' ').unwrap();
        assert_eq!(
            text,
            "close  ws stream 7 reason=client_close detail=\\u{1b}[2J"
        );
    }
}
