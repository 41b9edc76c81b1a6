//! How a line looks, as JSON and as text. What comes from outside cannot end a line or drive a terminal in either.

use std::fmt::{self, Write};
use std::time::SystemTime;

use serde_json::Value;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// The target of the line at the end of a stream.
pub(crate) const STREAM: &str = "sidebeat::stream";
/// The field of such a line that holds the closing record as JSON.
const RECORD: &str = "record";

/// How lines look.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Style {
    /// One JSON object a line: time, level, target, message and the fields of the event beside them.
    Json,
    /// `time level message field=value …` for people.
    Text,
    /// The same with a coloured level.
    ColouredText,
}

impl<S, N> FormatEvent<S, N> for Style
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        line: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let level = event.metadata().level();
        match self {
            Self::Json => write_json(line, event),
            Self::Text => write_text(line, event, format_args!("{level:5}")),
            Self::ColouredText => {
                let colour = colour(*level);
                let level = format_args!("\u{1b}[{colour}m{level:5}\u{1b}[0m");
                write_text(line, event, level)
            }
        }
    }
}

fn write_json(mut line: Writer<'_>, event: &Event<'_>) -> fmt::Result {
    let fields = Fields::of(event);
    let target = event.metadata().target();
    let level = event.metadata().level().as_str().to_ascii_lowercase();
    write!(line, "{{\"timestamp\":\"{}\",\"level\":\"{level}\"", now())?;
    write!(line, ",\"target\":{}", json(&target.into()))?;
    write!(line, ",\"message\":{}", json(&fields.message.into()))?;
    if let Some(record) = fields.record {
        // The record is an object of our own making: its members move up to this line.
        let members = record.strip_prefix('{').and_then(|r| r.strip_suffix('}'));
        write!(line, ",{}", escaped(members.unwrap_or_default()))?;
    } else {
        for (name, value) in &fields.others {
            write!(line, ",{}:{}", json(&(*name).into()), json(value))?;
        }
    }
    line.write_str("}\n")
}

fn write_text(mut line: Writer<'_>, event: &Event<'_>, level: fmt::Arguments<'_>) -> fmt::Result {
    let fields = Fields::of(event);
    write!(line, "{} {level} {}", now(), text(&fields.message))?;
    for (name, value) in &fields.others {
        match value {
            Value::String(word) => write!(line, " {name}={}", quoted(word))?,
            other => write!(line, " {name}={other}")?,
        }
    }
    line.write_char('\n')
}

/// The fields of an event, in order.
#[derive(Default)]
struct Fields {
    message: String,
    record: Option<String>,
    others: Vec<(&'static str, Value)>,
}

impl Fields {
    fn of(event: &Event<'_>) -> Self {
        let mut fields = Self::default();
        let is_stream = event.metadata().target() == STREAM;
        event.record(&mut fields);
        if is_stream
            && let Some(place) = fields.others.iter().position(|(name, _)| *name == RECORD)
            && let (_, Value::String(record)) = fields.others.remove(place)
        {
            fields.record = Some(record);
        }
        fields
    }

    fn add(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(message)) => self.message = message,
            (name, value) => {
                let name = name.strip_prefix("r#").unwrap_or(name);
                self.others.push((name, value));
            }
        }
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, value.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, format!("{value:?}").into());
    }
}

fn now() -> humantime::Rfc3339Timestamp {
    humantime::format_rfc3339_millis(SystemTime::now())
}

fn colour(level: Level) -> u8 {
    match level {
        Level::ERROR => 31,
        Level::WARN => 33,
        Level::INFO => 32,
        Level::DEBUG => 34,
        Level::TRACE => 35,
    }
}

fn json(value: &Value) -> String {
    escaped(&value.to_string())
}

/// JSON allows DEL and C1 controls in strings, some terminals obey them.
fn escaped(json: &str) -> String {
    let mut safe = String::with_capacity(json.len());
    for c in json.chars() {
        if c.is_control() {
            // Writing to a String cannot fail.
            let _ = write!(safe, "\\u{:04x}", u32::from(c));
        } else {
            safe.push(c);
        }
    }
    safe
}

fn text(message: &str) -> String {
    message
        .chars()
        .flat_map(|c| {
            let escape = c.is_control().then(|| c.escape_default());
            let plain = escape.is_none().then_some(c);
            escape.into_iter().flatten().chain(plain)
        })
        .collect()
}

/// A value with anything in it that could be taken for the next field is quoted, with escapes.
fn quoted(value: &str) -> String {
    let is_plain = |c: char| !c.is_control() && !c.is_whitespace() && c != '"' && c != '=';
    if !value.is_empty() && value.chars().all(is_plain) {
        value.to_owned()
    } else {
        format!("{value:?}")
    }
}
