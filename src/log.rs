//! The log: one line per event on standard output, and one per stream at its end.

mod format;
mod writer;

use std::io::IsTerminal;

use tracing::level_filters::LevelFilter;
use tracing::{Level, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::{Registry, reload};

use crate::config::{Log, LogFormat};
use crate::registry::record::ClosedRecord;
pub(crate) use format::STREAM;
use format::Style;
use writer::{Lines, Writer};

/// The target of the lines about heartbeats, at level trace.
pub(crate) const HEARTBEAT: &str = "sidebeat::heartbeat";

/// Why logging cannot start.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The thread that writes cannot be started.
    #[error("cannot start the thread that writes the log: {0}")]
    Thread(#[from] std::io::Error),
    /// This process logs already.
    #[error("logging has been started before: {0}")]
    Started(#[from] tracing::subscriber::SetGlobalDefaultError),
}

/// The running log; dropping it waits up to a second for the last lines to be written.
pub struct Logging {
    level: reload::Handle<Targets, Registry>,
    _writer: Writer,
}

impl Logging {
    /// Applies another level, as a reload does.
    pub fn set_level(&self, level: Level) {
        // The only error is that the log is gone, and then there is nothing to set.
        let _ = self.level.reload(targets(level));
    }
}

/// Starts logging to standard output for the whole process: as text on a terminal and as JSON elsewhere, unless `log` says which.
///
/// No thread ever waits for standard output; lines that it does not take in time are dropped and counted in a line of their own.
pub fn init(log: &Log) -> Result<Logging, LogError> {
    let stdout = std::io::stdout();
    let is_terminal = stdout.is_terminal();
    let style = match log.format {
        LogFormat::Json => Style::Json,
        LogFormat::Text if is_terminal => terminal(),
        LogFormat::Text => Style::Text,
        LogFormat::Auto if is_terminal => terminal(),
        LogFormat::Auto => Style::Json,
    };
    let (lines, writer) = writer::start(stdout, tell_dropped)?;
    let (subscriber, level) = subscriber(style, log.level, lines);
    tracing::subscriber::set_global_default(subscriber)?;
    Ok(Logging {
        level,
        _writer: writer,
    })
}

/// Writes the one line of a stream that is over, with the fields of its `closed` event.
pub fn stream_closed(record: &ClosedRecord) {
    if !tracing::enabled!(target: STREAM, Level::INFO) {
        return;
    }
    // Strings and numbers only: there is nothing that serde_json could refuse.
    let json = serde_json::to_string(record).unwrap_or_default();
    let stream = &record.stream;
    tracing::info!(
        target: STREAM,
        record = json,
        reason = record.reason,
        by = record.by,
        listener = &*stream.listener,
        client = %stream.client.address,
        upstream = stream.upstream.address,
        uid = stream.uid,
        path = stream.path,
        duration_ms = record.duration_ms,
        idle_ms = stream.idle_ms,
        client_bytes = stream.bytes.client,
        upstream_bytes = stream.bytes.upstream,
        rtt_ms = stream.pings.rtt_ms,
        close_code = record.close_code,
        close_reason = record.close_reason,
        detail = record.detail,
        id = %stream.id,
        "stream closed"
    );
}

/// Coloured, unless the user has asked all programs for plain text (no-color.org).
fn terminal() -> Style {
    match std::env::var_os("NO_COLOR") {
        Some(wish) if !wish.is_empty() => Style::Text,
        Some(_) | None => Style::ColouredText,
    }
}

/// Goes through the queue like any line, which has room again, and so takes the format of all others.
fn tell_dropped(lines: u64) {
    tracing::warn!(
        lines,
        "standard output was too slow, log lines were dropped"
    );
}

fn subscriber(
    style: Style,
    level: Level,
    lines: Lines,
) -> (
    impl Subscriber + Send + Sync,
    reload::Handle<Targets, Registry>,
) {
    let (filter, handle) = reload::Layer::new(targets(level));
    let layer = tracing_subscriber::fmt::layer()
        .with_writer(move || lines.clone())
        .event_format(style);
    let subscriber = tracing_subscriber::registry().with(filter).with(layer);
    (subscriber, handle)
}

/// `level` for ourselves; libraries are heard from warnings on, or a debug log would be theirs.
fn targets(level: Level) -> Targets {
    Targets::new()
        .with_target("sidebeat", LevelFilter::from_level(level))
        .with_default(LevelFilter::from_level(level.min(Level::WARN)))
}

#[cfg(test)]
pub(crate) mod capture {
    use std::sync::{Arc, Mutex};

    use tracing::dispatcher::{self, Dispatch};
    use tracing::subscriber::NoSubscriber;

    use super::*;

    pub(crate) use super::format::Style;

    #[derive(Clone, Default)]
    struct Captured(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Captured {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// What `log` leaves on standard output.
    ///
    /// `warm_up` must log from each place that other tests reach too. A thread without a subscriber that is the first
    /// at such a place switches it off for all (tracing's interest cache); with a second subscriber alive it no longer
    /// can, and each further one makes tracing look again.
    pub(crate) fn logged(
        style: Style,
        level: Level,
        warm_up: Option<&dyn Fn()>,
        log: impl FnOnce(&reload::Handle<Targets, Registry>),
    ) -> String {
        let captured = Captured::default();
        let (lines, writer) = writer::start(captured.clone(), tell_dropped).unwrap();
        let (subscriber, handle) = subscriber(style, level, lines);
        let _second = Dispatch::new(NoSubscriber::new());
        dispatcher::with_default(&Dispatch::new(subscriber), || {
            while let Some(warm_up) = warm_up
                && captured.0.lock().unwrap().is_empty()
            {
                let _further = Dispatch::new(NoSubscriber::new());
                warm_up();
                writer.flush();
            }
            captured.0.lock().unwrap().clear();
            log(&handle);
        });
        drop(writer);
        let bytes = captured.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use uuid::Uuid;

    use super::capture::logged;
    use super::*;
    use crate::proto::cause::{Cause, Reason};
    use crate::registry::record::{Both, ClientRecord, PingRecord, StreamRecord, UpstreamRecord};

    fn record() -> ClosedRecord {
        ClosedRecord {
            stream: StreamRecord {
                id: Uuid::from_u128(7),
                listener: "chat".into(),
                protocol: "wss",
                state: "open",
                uid: Some("42".to_owned()),
                uid_source: Some("response_header"),
                tags: vec!["room:7".to_owned()],
                client: ClientRecord {
                    address: "192.0.2.1:5000".parse().unwrap(),
                    source: "socket",
                },
                upstream: UpstreamRecord {
                    address: "127.0.0.1:8080".to_owned(),
                    local_address: None,
                },
                host: None,
                path: Some("/a b".to_owned()),
                subprotocol: None,
                user_agent: None,
                opened_at: "2026-01-01T00:00:00.000Z".to_owned(),
                last_client_at: None,
                last_upstream_at: None,
                idle_ms: Some(55_000),
                deadline_at: None,
                deadline_reason: None,
                bytes: Both {
                    client: Some(10),
                    upstream: Some(20),
                },
                messages: Both::default(),
                pings: PingRecord::default(),
            },
            closed_at: "2026-01-01T00:01:00.000Z".to_owned(),
            duration_ms: 60_000,
            reason: "client_idle",
            by: "sidecar",
            close_code: Some(1001),
            close_reason: None,
            detail: None,
            idle_limit_ms: Some(55_000),
            lateness_ms: Some(1.5),
            uid_streams_left: Some(0),
            cause: Cause::new(Reason::ClientIdle),
        }
    }

    #[test]
    fn a_json_line_of_a_stream_has_the_fields_of_its_event() {
        let text = logged(
            Style::Json,
            Level::INFO,
            Some(&|| stream_closed(&record())),
            |_| stream_closed(&record()),
        );
        assert_eq!(text.matches('\n').count(), 1, "{text}");
        let Value::Object(mut line) = serde_json::from_str(&text).unwrap() else {
            panic!("no object: {text}");
        };
        assert_eq!(line.remove("message"), Some(json!("stream closed")));
        assert_eq!(line.remove("level"), Some(json!("info")));
        assert_eq!(line.remove("target"), Some(json!("sidebeat::stream")));
        let time = line.remove("timestamp").unwrap();
        humantime::parse_rfc3339(time.as_str().unwrap()).unwrap();
        assert_eq!(Value::Object(line), serde_json::to_value(record()).unwrap());
    }

    #[test]
    fn a_text_line_of_a_stream_is_readable() {
        let text = logged(
            Style::Text,
            Level::INFO,
            Some(&|| stream_closed(&record())),
            |_| stream_closed(&record()),
        );
        let (_, line) = text.split_once(' ').unwrap();
        assert_eq!(
            line,
            "INFO  stream closed reason=client_idle by=sidecar listener=chat \
             client=192.0.2.1:5000 upstream=127.0.0.1:8080 uid=42 path=\"/a b\" \
             duration_ms=60000 idle_ms=55000 client_bytes=10 upstream_bytes=20 close_code=1001 \
             id=00000000-0000-0000-0000-000000000007\n"
        );
    }

    #[test]
    fn fields_keep_their_type_in_json() {
        let text = logged(Style::Json, Level::INFO, None, |_| {
            let none: Option<&str> = None;
            tracing::info!(streams = 3, ratio = 0.5, up = true, none, error = %"no", "a \"b\"");
        });
        let line: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["streams"], 3);
        assert_eq!(line["ratio"], 0.5);
        assert_eq!(line["up"], true);
        assert_eq!(line["error"], "no");
        assert_eq!(line["message"], "a \"b\"");
        assert!(line.get("none").is_none());
    }

    #[test]
    fn nobody_can_forge_lines_or_drive_the_terminal() {
        let evil = "a\r\n2026 INFO forged\u{1b}[2J\u{7f}\u{9b}31m\u{0}";
        for style in [Style::Json, Style::Text] {
            let text = logged(style, Level::INFO, None, |_| {
                tracing::info!(plain = evil, shown = %evil, debug = ?evil, "{evil}");
            });
            assert!(text.ends_with('\n'), "{text}");
            let control = text.trim_end_matches('\n').chars().find(|c| c.is_control());
            assert_eq!(control, None, "{text}");
        }
        let text = logged(Style::Json, Level::INFO, None, |_| {
            tracing::info!(plain = evil)
        });
        let line: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["plain"], evil, "escaped, not changed");
    }

    #[test]
    fn levels_hold_for_us_and_libraries_are_quieter() {
        let text = logged(Style::Text, Level::DEBUG, None, |handle| {
            tracing::debug!("ours");
            tracing::trace!("too much");
            tracing::info!(target: "hyper", "theirs");
            tracing::warn!(target: "hyper", "their warning");
            handle.reload(targets(Level::ERROR)).unwrap();
            tracing::warn!("quiet now");
            tracing::error!("still loud");
        });
        for (line, is_there) in [
            ("ours", true),
            ("too much", false),
            ("theirs", false),
            ("their warning", true),
            ("quiet now", false),
            ("still loud", true),
        ] {
            assert_eq!(text.contains(line), is_there, "{line}: {text}");
        }
    }

    #[test]
    fn only_a_terminal_gets_colours() {
        let log = |style| {
            logged(style, Level::INFO, None, |_| {
                tracing::warn!(port = 1, "careful")
            })
        };
        assert!(log(Style::Text).ends_with(" WARN  careful port=1\n"));
        assert!(log(Style::ColouredText).ends_with(" \u{1b}[33mWARN \u{1b}[0m careful port=1\n"));
    }
}
