//! `ctl list`

use std::time::{Duration, SystemTime};

use clap::Args;
use serde::Deserialize;
use serde_json::{Value, json};

use super::output::columns;
use super::selector::SelectorArgs;
use super::session::{Request, Session};
use super::{CtlError, Output, collected};
use crate::admin::client::Endpoint;
use crate::config::format_duration;

/// Streams of one page.
const PAGE: u64 = 1000;

/// Flags of `list`.
#[derive(Debug, Clone, Args)]
pub(crate) struct ListArgs {
    /// Which streams
    #[command(flatten)]
    selector: SelectorArgs,
    /// At most so many of each process; all of them if it is not given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
}

pub(super) async fn list(
    session: &Session,
    args: &ListArgs,
    out: &mut Output,
) -> Result<(), CtlError> {
    let mut found = Vec::new();
    let mut errors = Vec::new();
    for endpoint in &session.endpoints {
        match pages(session, endpoint, args).await {
            Ok(items) => found.extend(items.into_iter().map(|item| (endpoint, item))),
            Err(error) => errors.push(error),
        }
    }
    let several = session.endpoints.len() > 1;
    if out.json {
        let with_process = |(endpoint, mut item): (&Endpoint, Value)| {
            if several {
                item["process"] = json!(endpoint.to_string());
            }
            item
        };
        let items = found.into_iter().map(with_process).collect();
        out.write_json(&Value::Array(items));
    } else {
        out.text += &table(found, several)?;
    }
    collected(errors, session.endpoints.len())
}

async fn pages(
    session: &Session,
    endpoint: &Endpoint,
    args: &ListArgs,
) -> Result<Vec<Value>, CtlError> {
    let mut items = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let left = args.limit.map_or(PAGE, |limit| limit - items.len() as u64);
        let mut query = args.selector.query();
        query.add("limit", &left.min(PAGE).to_string());
        query.maybe("cursor", cursor.as_deref());
        let request = Request::get(format!("/v1/streams{query}"));
        let page: Page = session.call(endpoint, request).await?;
        items.extend(page.items);
        let full = args.limit.is_some_and(|limit| items.len() as u64 >= limit);
        match page.next_cursor {
            Some(next) if !full => cursor = Some(next),
            Some(_) | None => return Ok(items),
        }
    }
}

#[derive(Debug, Deserialize)]
struct Page {
    items: Vec<Value>,
    next_cursor: Option<String>,
}

fn table(found: Vec<(&Endpoint, Value)>, several: bool) -> Result<String, CtlError> {
    let mut heads = HEADS.map(str::to_owned).to_vec();
    if several {
        heads.push("PROCESS".to_owned());
    }
    let mut lines = vec![heads];
    let now = SystemTime::now();
    for (endpoint, item) in found {
        let row: Row = serde_json::from_value(item).map_err(|source| CtlError::Foreign {
            endpoint: endpoint.clone(),
            source,
        })?;
        let mut cells = row.cells(now).to_vec();
        if several {
            cells.push(endpoint.to_string());
        }
        lines.push(cells);
    }
    Ok(columns(&lines))
}

const HEADS: [&str; 10] = [
    "ID",
    "LISTENER",
    "CLIENT",
    "UID",
    "TAGS",
    "STATE",
    "OPEN FOR",
    "SILENT FOR",
    "ENDS IN",
    "ROUND TRIP",
];

/// What of a stream a table shows.
#[derive(Debug, Deserialize)]
pub(super) struct Row {
    id: String,
    listener: String,
    state: String,
    uid: Option<String>,
    tags: Vec<String>,
    client: Client,
    opened_at: String,
    idle_ms: Option<u64>,
    deadline_at: Option<String>,
    deadline_reason: Option<String>,
    pings: Pings,
}

#[derive(Debug, Deserialize)]
struct Client {
    address: String,
}

#[derive(Debug, Deserialize)]
struct Pings {
    rtt_ms: Option<f64>,
}

impl Row {
    fn cells(&self, now: SystemTime) -> [String; HEADS.len()] {
        let tags = (!self.tags.is_empty()).then(|| self.tags.join(","));
        let rtt = self.pings.rtt_ms.map(|rtt| format!("{rtt:.1}ms"));
        [
            self.id.clone(),
            self.listener.clone(),
            self.client.address.clone(),
            or_none(self.uid.clone()),
            or_none(tags),
            self.state.clone(),
            self.open_for(now),
            self.silent_for(),
            self.ends_in(now),
            or_none(rtt),
        ]
    }

    pub(super) fn open_for(&self, now: SystemTime) -> String {
        let since = |at| now.duration_since(at).unwrap_or_default();
        or_none(time(&self.opened_at).map(|at| rounded(since(at))))
    }

    pub(super) fn silent_for(&self) -> String {
        or_none(self.idle_ms.map(|ms| rounded(Duration::from_millis(ms))))
    }

    /// Time left and the limit that it is left to.
    pub(super) fn ends_in(&self, now: SystemTime) -> String {
        let at = self.deadline_at.as_deref().and_then(time);
        or_none(at.zip(self.deadline_reason.as_ref()).map(|(at, reason)| {
            let left = at.duration_since(now).unwrap_or_default();
            format!("{} ({reason})", rounded(left))
        }))
    }
}

fn or_none(cell: Option<String>) -> String {
    cell.unwrap_or_else(|| "-".to_owned())
}

fn time(text: &str) -> Option<SystemTime> {
    humantime::parse_rfc3339(text).ok()
}

/// Tenths of a second below a minute, seconds above: nobody reads more in a table.
fn rounded(duration: Duration) -> String {
    let step = if duration < Duration::from_secs(60) {
        100
    } else {
        1000
    };
    format_duration(Duration::from_millis(
        duration.as_millis() as u64 / step * step,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::fixture::Plane;
    use crate::cli::ctl::tests::ctl;
    use crate::proto::cause::{End, Reason};

    #[tokio::test]
    async fn a_list_is_a_table_or_json_of_all_pages() {
        let plane = Plane::open();
        let stream = plane.enter(Some("42"), &["room:7", "beta"]);
        stream.figures.heard(End::Client, Duration::ZERO, 1, 1);
        stream.figures.answered(Duration::from_micros(1234));
        let deadline = Duration::from_secs(3600);
        stream
            .figures
            .set_deadline(Some((deadline, Reason::ClientIdle)), false);
        plane.enter(None, &[]);
        let (result, text) = ctl(&plane, "list --uid 42 --tag room:7").await;
        result.unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert!(
            lines[0].starts_with("ID  ") && lines[0].ends_with("ROUND TRIP"),
            "{text}"
        );
        let words: Vec<_> = lines[1].split_whitespace().collect();
        let id = stream.id.to_string();
        let expected = [&id, "chat", "192.0.2.7:4000", "42", "room:7,beta", "open"];
        assert_eq!(words[..6], expected);
        assert_eq!(
            (words[8], words[9], words[10]),
            ("59m59s", "(client_idle)", "1.2ms"),
            "{text}"
        );
        for _ in 0..2500 {
            plane.enter(None, &["many"]);
        }
        let (result, text) = ctl(&plane, "list --tag many --json").await;
        result.unwrap();
        let items: Vec<Value> = serde_json::from_str(&text).unwrap();
        assert_eq!(items.len(), 2500);
        let (_, text) = ctl(&plane, "list --limit 1200").await;
        assert_eq!(text.lines().count(), 1201);
        let (result, _) = ctl(&plane, "list --client nobody").await;
        assert!(result.unwrap_err().to_string().contains("400"));
    }
}
