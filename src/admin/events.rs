//! `GET /v1/events`: what happens, while it happens.

use std::collections::BinaryHeap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::stream;
use http::{Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use serde::Serialize;
use tokio::time::{Instant, MissedTickBehavior, interval, interval_at};

use super::answer::{NDJSON, line, typed, wants_lines};
use super::problem::Problem;
use super::routes::Asked;
use super::{Api, Body};
use crate::registry::record::StreamRecord;
use crate::registry::{Entry, Happening, Missed, Registry, Watch};

/// Callers at a time; a quarter of what connects to the API at most.
const WATCHERS: usize = 32;

/// How often a silent connection shows that it lives.
const BEAT: Duration = Duration::from_secs(15);

/// How often the streams nearest to their deadline are looked for.
const LOOK: Duration = Duration::from_secs(2);

const SSE: &str = "text/event-stream";

/// How an event is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Style {
    /// `event:` and `data:` lines.
    Sse,
    /// One document a line.
    Lines,
}

/// One event.
#[derive(Serialize)]
struct Told<T> {
    #[serde(rename = "type")]
    kind: &'static str,
    time: String,
    data: T,
}

#[derive(Serialize)]
struct Nearest {
    open: usize,
    items: Vec<StreamRecord>,
}

struct Watching {
    watch: Watch,
    registry: Arc<Registry>,
    style: Style,
    beat: tokio::time::Interval,
    nearest: Option<(usize, tokio::time::Interval)>,
}

/// `GET /v1/events`
pub(super) fn watch(api: &Api, mut asked: Asked<'_>) -> Result<Response<Body>, Problem> {
    let nearest = asked.parameters.number("nearest", 1..=1000)?;
    let style = match wants_lines(asked.headers) {
        true => Style::Lines,
        false => Style::Sse,
    };
    let watch = api.registry.feed.watch(WATCHERS).ok_or_else(|| {
        let detail = format!("{WATCHERS} callers watch already");
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail)
    })?;
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let watching = Watching {
        watch,
        registry: Arc::clone(&api.registry),
        style,
        beat: interval_at(Instant::now(), BEAT),
        nearest: nearest.map(|most| (most as usize, look)),
    };
    let pieces = stream::unfold(Some(watching), |watching| async {
        let mut watching = watching?;
        let (piece, more) = watching.next().await?;
        let frame = Frame::data(Bytes::from(piece));
        Some((Ok::<_, Infallible>(frame), more.then_some(watching)))
    });
    let kind = match style {
        Style::Sse => SSE,
        Style::Lines => NDJSON,
    };
    Ok(typed(kind, StreamBody::new(pieces).boxed_unsync()))
}

impl Watching {
    /// The next piece of the body and whether more can come; `None` at the end of the process.
    async fn next(&mut self) -> Option<(Vec<u8>, bool)> {
        let look = async {
            match &mut self.nearest {
                Some((most, look)) => {
                    look.tick().await;
                    *most
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            happening = self.watch.next() => match happening {
                Ok(Some((at, happening))) => Some((self.style.happening(at, &happening), true)),
                Ok(None) => None,
                Err(Missed(missed)) => Some((self.style.cut(missed), false)),
            },
            most = look => {
                let nearest = nearest(&self.registry, most);
                Some((self.style.event("nearest", SystemTime::now(), &nearest), true))
            }
            _ = self.beat.tick() => Some((self.style.comment("sidebeat"), true)),
        }
    }
}

/// The open streams whose deadline comes first; those without any are not near one.
fn nearest(registry: &Registry, most: usize) -> Nearest {
    let mut first = BinaryHeap::<Deadline>::new();
    let mut open = 0;
    registry.for_each(|entry| {
        open += 1;
        let Some(left) = entry.left() else { return };
        if first.len() < most || first.peek().is_some_and(|last| left < last.left) {
            if first.len() == most {
                first.pop();
            }
            first.push(Deadline {
                left,
                entry: Arc::clone(entry),
            });
        }
    });
    let first = first.into_sorted_vec();
    Nearest {
        open,
        items: first
            .iter()
            .map(|deadline| deadline.entry.record())
            .collect(),
    }
}

/// A stream by how long it has left.
struct Deadline {
    left: Duration,
    entry: Arc<Entry>,
}

impl Style {
    fn happening(self, at: SystemTime, happening: &Happening) -> Vec<u8> {
        match happening {
            Happening::Opened(record) => self.event("opened", at, &**record),
            Happening::Closed(record) => self.event("closed", at, &**record),
            Happening::Overdue(record) => self.event("overdue", at, &**record),
            Happening::Bound(record) => self.event("bound", at, &**record),
            Happening::Pong(round) => self.event("pong", at, round),
        }
    }

    fn event(self, kind: &'static str, at: SystemTime, data: &impl Serialize) -> Vec<u8> {
        let time = humantime::format_rfc3339_millis(at).to_string();
        let mut text = match self {
            Self::Sse => format!("event: {kind}\ndata: ").into_bytes(),
            Self::Lines => Vec::new(),
        };
        line(&mut text, &Told { kind, time, data });
        if self == Self::Sse {
            text.push(b'\n');
        }
        text
    }

    /// A line that says something about the connection itself; by lines it is empty, or an object like every other.
    fn comment(self, words: &str) -> Vec<u8> {
        match self {
            Self::Sse => format!(": {words}\n\n").into_bytes(),
            Self::Lines => b"\n".to_vec(),
        }
    }

    /// The last words to a caller that did not keep up.
    fn cut(self, missed: u64) -> Vec<u8> {
        match self {
            Self::Sse => self.comment(&format!(
                "too slow: {missed} events are lost, connect again"
            )),
            Self::Lines => self.event(
                "cut",
                SystemTime::now(),
                &serde_json::json!({ "missed": missed }),
            ),
        }
    }
}

impl PartialEq for Deadline {
    fn eq(&self, other: &Self) -> bool {
        self.left == other.left
    }
}

impl Eq for Deadline {}

impl PartialOrd for Deadline {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Deadline {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.left.cmp(&other.left)
    }
}
