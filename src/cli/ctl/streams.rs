//! Calls about streams.

use std::io::Read as _;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use clap::Args;
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::why::Ended;
use super::{CALL_LIMIT, CtlError, Output, Session, collected, columns, detail, read};
use crate::admin::client::{Answer, Content, Endpoint};
use crate::config::{format_duration, parse_duration};

/// Streams of one page.
const PAGE: u64 = 1000;

/// Which streams are meant.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub(crate) struct SelectorArgs {
    /// Only streams of this listener
    #[arg(long, value_name = "NAME")]
    pub(crate) listener: Option<String>,
    /// Only streams of this uid
    #[arg(long)]
    pub(crate) uid: Option<String>,
    /// Only streams with this tag; several must all be there
    #[arg(long)]
    pub(crate) tag: Vec<String>,
    /// Only streams of this client or network
    #[arg(long, value_name = "ADDRESS|CIDR")]
    pub(crate) client: Option<String>,
    /// Only streams whose client was silent for longer than this
    #[arg(long, value_name = "DURATION")]
    pub(crate) idle_over: Option<String>,
    /// Only streams open for longer than this
    #[arg(long, value_name = "DURATION")]
    pub(crate) age_over: Option<String>,
}

/// Flags of `list`.
#[derive(Debug, Clone, Args)]
pub(crate) struct ListArgs {
    /// Which streams
    #[command(flatten)]
    pub(crate) selector: SelectorArgs,
    /// At most so many of each process; all of them if it is not given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) limit: Option<u64>,
}

/// Which stream.
#[derive(Debug, Clone, Args)]
pub(crate) struct StreamArgs {
    /// Id of the stream
    pub(crate) id: Uuid,
}

/// One stream, or all that match.
#[derive(Debug, Clone, Args)]
pub(crate) struct Meant {
    /// Id of the stream; or a selector, or --all
    #[arg(conflicts_with_all = ["listener", "uid", "tag", "client", "idle_over", "age_over", "all"])]
    pub(crate) id: Option<Uuid>,
    /// Which streams
    #[command(flatten)]
    pub(crate) selector: SelectorArgs,
    /// Every stream
    #[arg(long)]
    pub(crate) all: bool,
}

/// Flags of `close`.
#[derive(Debug, Clone, Args)]
pub(crate) struct CloseArgs {
    /// Which
    #[command(flatten)]
    pub(crate) meant: Meant,
    /// WebSocket close code: 1000-1003, 1007-1013, 3000-4999
    #[arg(long)]
    pub(crate) code: Option<u16>,
    /// Text of the Close frame
    #[arg(long)]
    pub(crate) reason: Option<String>,
    /// Reset the connections instead
    #[arg(long)]
    pub(crate) abort: bool,
    /// Close all that match evenly over this time
    #[arg(long, value_name = "DURATION", conflicts_with = "id")]
    pub(crate) spread: Option<String>,
}

/// Flags of `send`. Without --text or --file the message is read from standard input.
#[derive(Debug, Clone, Args)]
pub(crate) struct SendArgs {
    /// Which
    #[command(flatten)]
    pub(crate) meant: Meant,
    /// The message
    #[arg(long)]
    pub(crate) text: Option<String>,
    /// A file with the message
    #[arg(long, value_name = "FILE", conflicts_with = "text")]
    pub(crate) file: Option<PathBuf>,
    /// Send it as binary; text is the default
    #[arg(long)]
    pub(crate) binary: bool,
}

/// What of a stream a table shows.
#[derive(Debug, Deserialize)]
struct Row {
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

#[derive(Debug, Deserialize)]
struct Page {
    items: Vec<Value>,
    next_cursor: Option<String>,
}

/// Counts of a bulk call, of several processes added up.
#[derive(Debug, Default, Deserialize)]
struct Count {
    matched: u64,
    done: u64,
    failed: u64,
}

/// A query that is written part by part.
#[derive(Default)]
struct Query(String);

impl Query {
    fn add(&mut self, name: &str, value: &str) {
        self.0.push(if self.0.is_empty() { '?' } else { '&' });
        self.0 += name;
        self.0.push('=');
        for byte in value.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                self.0.push(char::from(byte));
            } else {
                self.0 += &format!("%{byte:02X}");
            }
        }
    }

    fn maybe(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.add(name, value);
        }
    }
}

impl SelectorArgs {
    fn write(&self, query: &mut Query) {
        query.maybe("listener", self.listener.as_deref());
        query.maybe("uid", self.uid.as_deref());
        for tag in &self.tag {
            query.add("tag", tag);
        }
        query.maybe("client", self.client.as_deref());
        query.maybe("idle_over", self.idle_over.as_deref());
        query.maybe("age_over", self.age_over.as_deref());
    }
}

impl Meant {
    /// The id, or the query that says which; neither is an error before anything is asked.
    fn query(&self) -> Result<Query, CtlError> {
        let mut query = Query::default();
        if self.id.is_none() && !self.all && self.selector == SelectorArgs::default() {
            let problem =
                "write the id of a stream, a selector such as --uid 42, or --all".to_owned();
            return Err(CtlError::Flag {
                flag: "all",
                problem,
            });
        }
        self.selector.write(&mut query);
        if self.all {
            query.add("all", "true");
        }
        Ok(query)
    }
}

/// `ctl list`
pub(super) async fn list(
    session: &Session,
    args: ListArgs,
    out: &mut Output,
) -> Result<(), CtlError> {
    let mut found = Vec::new();
    let mut errors = Vec::new();
    for endpoint in &session.endpoints {
        match pages(session, endpoint, &args).await {
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
        let items: Vec<_> = found.into_iter().map(with_process).collect();
        out.text += &format!("{:#}\n", Value::Array(items));
    } else {
        let mut heads = vec![
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
        if several {
            heads.push("PROCESS");
        }
        let mut lines = vec![heads.into_iter().map(str::to_owned).collect()];
        for (endpoint, item) in found {
            let row: Row = serde_json::from_value(item).map_err(|source| CtlError::Foreign {
                endpoint: endpoint.clone(),
                source,
            })?;
            let mut cells = row.cells(SystemTime::now());
            if several {
                cells.push(endpoint.to_string());
            }
            lines.push(cells);
        }
        out.text += &columns(&lines);
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
        let mut query = Query::default();
        args.selector.write(&mut query);
        query.add("limit", &left.min(PAGE).to_string());
        query.maybe("cursor", cursor.as_deref());
        let path = format!("/v1/streams{}", query.0);
        let page: Page = session
            .call(endpoint, Method::GET, &path, Content::Nothing)
            .await?;
        items.extend(page.items);
        let full = args.limit.is_some_and(|limit| items.len() as u64 >= limit);
        match page.next_cursor {
            Some(next) if !full => cursor = Some(next),
            Some(_) | None => return Ok(items),
        }
    }
}

impl Row {
    fn cells(self, now: SystemTime) -> Vec<String> {
        let ms = |ms: u64| format_duration(round(Duration::from_millis(ms)));
        let time = |text: &str| humantime::parse_rfc3339(text).ok();
        let since = |at: SystemTime| now.duration_since(at).unwrap_or_default();
        let until = |at: SystemTime| at.duration_since(now).unwrap_or_default();
        let deadline = self.deadline_at.as_deref().and_then(time).map(until);
        let none = || "-".to_owned();
        vec![
            self.id,
            self.listener,
            self.client.address,
            self.uid.unwrap_or_else(none),
            if self.tags.is_empty() {
                none()
            } else {
                self.tags.join(",")
            },
            self.state,
            time(&self.opened_at).map_or_else(none, |at| format_duration(round(since(at)))),
            self.idle_ms.map_or_else(none, ms),
            match (deadline, self.deadline_reason) {
                (Some(left), Some(reason)) => {
                    format!("{} ({reason})", format_duration(round(left)))
                }
                (_, _) => none(),
            },
            self.pings
                .rtt_ms
                .map_or_else(none, |rtt| format!("{rtt:.1}ms")),
        ]
    }
}

/// Tenths of a second below a minute, seconds above: nobody reads more in a table.
fn round(duration: Duration) -> Duration {
    let step = if duration < Duration::from_secs(60) {
        100
    } else {
        1000
    };
    Duration::from_millis(duration.as_millis() as u64 / step * step)
}

/// `ctl get`
pub(super) async fn get(
    session: &Session,
    args: &StreamArgs,
    out: &mut Output,
) -> Result<(), CtlError> {
    let path = format!("/v1/streams/{}", args.id);
    let (endpoint, answer) = find(session, Method::GET, &path, &Content::Nothing).await?;
    let stream: Value = read(endpoint, &answer)?;
    if out.json {
        out.text += &format!("{stream:#}\n");
    } else {
        let mut lines = Vec::new();
        fields("", &stream, &mut lines);
        out.text += &columns(&lines);
    }
    Ok(())
}

/// Every field on a line of its own.
fn fields(name: &str, value: &Value, lines: &mut Vec<[String; 2]>) {
    match value {
        Value::Object(members) => {
            for (member, value) in members {
                let name = if name.is_empty() {
                    member.clone()
                } else {
                    format!("{name}.{member}")
                };
                fields(&name, value, lines);
            }
        }
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(plain).collect();
            lines.push([name.to_owned(), items.join(", ")]);
        }
        Value::Null => lines.push([name.to_owned(), "-".to_owned()]),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            lines.push([name.to_owned(), plain(value)])
        }
    }
}

fn plain(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

/// `ctl why`
pub(super) async fn why(
    session: &Session,
    args: &StreamArgs,
    out: &mut Output,
) -> Result<(), CtlError> {
    let path = format!("/v1/streams/{}", args.id);
    let (endpoint, answer) = find(session, Method::GET, &path, &Content::Nothing).await?;
    if out.json {
        let record: Value = read(endpoint, &answer)?;
        out.text += &format!("{record:#}\n");
    } else if answer.status == StatusCode::GONE {
        let ended: Ended = read(endpoint, &answer)?;
        out.text += &format!("{}\n", ended.sentence());
    } else {
        let row: Row = read(endpoint, &answer)?;
        let cells = row.cells(SystemTime::now());
        let [open_for, silent, left] = [&cells[6], &cells[7], &cells[8]];
        out.text += &format!(
            "it is open, for {open_for}; silent for {silent}; ends in {left} if nothing more is heard\n"
        );
    }
    Ok(())
}

/// `ctl ping`
pub(super) async fn ping(
    session: &Session,
    args: &StreamArgs,
    out: &mut Output,
) -> Result<(), CtlError> {
    let path = format!("/v1/streams/{}/ping", args.id);
    let (endpoint, answer) = change(session, Method::POST, &path, &Content::Nothing).await?;
    let answer: Value = read(endpoint, &answer)?;
    out.text += &match out.json {
        true => format!("{answer:#}\n"),
        false => format!("answered after {} ms\n", answer["rtt_ms"]),
    };
    Ok(())
}

/// `ctl close`
pub(super) async fn close(
    session: &Session,
    args: CloseArgs,
    out: &mut Output,
) -> Result<(), CtlError> {
    let mut query = args.meant.query()?;
    query.maybe("code", args.code.map(|code| code.to_string()).as_deref());
    query.maybe("reason", args.reason.as_deref());
    if args.abort {
        query.add("abort", "true");
    }
    query.maybe("spread", args.spread.as_deref());
    let Some(id) = args.meant.id else {
        let spread = match args.spread.as_deref() {
            None | Some("off") => Duration::ZERO,
            Some(text) => parse_duration(text).map_err(|error| {
                let problem = error.to_string();
                CtlError::Flag {
                    flag: "spread",
                    problem,
                }
            })?,
        };
        let path = format!("/v1/streams{}", query.0);
        return bulk(
            session,
            Method::DELETE,
            &path,
            &Content::Nothing,
            spread,
            out,
        )
        .await;
    };
    let path = format!("/v1/streams/{id}{}", query.0);
    let (endpoint, answer) = change(session, Method::DELETE, &path, &Content::Nothing).await?;
    if out.json {
        let record: Value = read(endpoint, &answer)?;
        out.text += &format!("{record:#}\n");
    } else {
        let ended: Ended = read(endpoint, &answer)?;
        out.text += &format!("{}\n", ended.sentence());
    }
    Ok(())
}

/// `ctl send`
pub(super) async fn send(
    session: &Session,
    args: SendArgs,
    out: &mut Output,
) -> Result<(), CtlError> {
    let query = args.meant.query()?;
    let content = message(&args)?;
    let Some(id) = args.meant.id else {
        let path = format!("/v1/messages{}", query.0);
        return bulk(session, Method::POST, &path, &content, Duration::ZERO, out).await;
    };
    let path = format!("/v1/streams/{id}/messages");
    let (endpoint, answer) = change(session, Method::POST, &path, &content).await?;
    let answer: Value = read(endpoint, &answer)?;
    out.text += &match out.json {
        true => format!("{answer:#}\n"),
        false => format!(
            "the client's socket has taken all {} bytes\n",
            answer["bytes"]
        ),
    };
    Ok(())
}

fn message(args: &SendArgs) -> Result<Content, CtlError> {
    let bytes = match (&args.text, &args.file) {
        (Some(text), _) => Ok(text.clone().into_bytes()),
        (None, Some(file)) => std::fs::read(file),
        (None, None) => {
            let mut bytes = Vec::new();
            std::io::stdin().read_to_end(&mut bytes).map(|_| bytes)
        }
    };
    let from = || {
        args.file
            .as_ref()
            .map_or("standard input".to_owned(), |file| {
                file.display().to_string()
            })
    };
    let unreadable = |source| CtlError::Message {
        from: from(),
        source,
    };
    let bytes = bytes.map_err(unreadable)?;
    if args.binary {
        return Ok(Content::Binary(Bytes::from(bytes)));
    }
    let text = String::from_utf8(bytes)
        .map_err(|_| unreadable(std::io::Error::other("it is not UTF-8; use --binary")))?;
    Ok(Content::Text(text))
}

/// Asks one process after the other for a stream until one knows it, open or ended.
async fn find<'s>(
    session: &'s Session,
    method: Method,
    path: &str,
    content: &Content,
) -> Result<(&'s Endpoint, Answer), CtlError> {
    let mut errors = Vec::new();
    for endpoint in &session.endpoints {
        let answer = session
            .ask(endpoint, method.clone(), path, content.clone(), CALL_LIMIT)
            .await;
        match answer {
            Ok(answer) if answer.status == StatusCode::NOT_FOUND => {}
            Ok(answer) if answer.status.is_success() || answer.status == StatusCode::GONE => {
                return Ok((endpoint, answer));
            }
            Ok(answer) => {
                return Err(CtlError::Refused {
                    endpoint: endpoint.clone(),
                    status: answer.status,
                    detail: detail(&answer.body),
                });
            }
            Err(error) => errors.push(error),
        }
    }
    collected(errors, session.endpoints.len())?;
    Err(CtlError::Unknown)
}

/// The same for a call that changes the stream: one that has ended is an error.
async fn change<'s>(
    session: &'s Session,
    method: Method,
    path: &str,
    content: &Content,
) -> Result<(&'s Endpoint, Answer), CtlError> {
    let (endpoint, answer) = find(session, method, path, content).await?;
    if answer.status == StatusCode::GONE {
        let ended: Ended = read(endpoint, &answer)?;
        let sentence = ended.sentence();
        return Err(CtlError::Ended(format!("it had ended before: {sentence}")));
    }
    Ok((endpoint, answer))
}

/// Tells every process at once and adds up what they did.
async fn bulk(
    session: &Session,
    method: Method,
    path: &str,
    content: &Content,
    spread: Duration,
    out: &mut Output,
) -> Result<(), CtlError> {
    let limit = CALL_LIMIT + spread;
    let calls = session.endpoints.iter().map(async |endpoint| {
        let answer = session
            .ask(endpoint, method.clone(), path, content.clone(), limit)
            .await?;
        if !answer.status.is_success() {
            return Err(CtlError::Refused {
                endpoint: endpoint.clone(),
                status: answer.status,
                detail: detail(&answer.body),
            });
        }
        read::<Count>(endpoint, &answer)
    });
    let mut sum = Count::default();
    let mut errors = Vec::new();
    for result in futures_util::future::join_all(calls).await {
        match result {
            Ok(count) => {
                sum.matched += count.matched;
                sum.done += count.done;
                sum.failed += count.failed;
            }
            Err(error) => errors.push(error),
        }
    }
    let Count {
        matched,
        done,
        failed,
    } = sum;
    out.text += &match out.json {
        true => format!(
            "{:#}\n",
            json!({ "matched": matched, "done": done, "failed": failed })
        ),
        false => format!("{matched} matched, {done} done, {failed} failed\n"),
    };
    collected(errors, session.endpoints.len())?;
    match failed {
        0 => Ok(()),
        failed => Err(CtlError::Undone { failed, matched }),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use uuid::Uuid;

    use super::*;
    use crate::admin::fixture::{Plane, Play};
    use crate::cli::ctl::tests::{args, ctl};
    use crate::proto::cause::{End, Reason};
    use crate::registry::record::Evidence;
    use crate::registry::tests::end;

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

    #[tokio::test]
    async fn a_stream_is_shown_or_why_it_ended() {
        let plane = Plane::open();
        let stream = plane.enter(Some("42"), &["a", "b"]);
        let (result, text) = ctl(&plane, &format!("get {}", stream.id)).await;
        result.unwrap();
        assert!(
            text.contains("client.address          192.0.2.7:4000\n"),
            "{text}"
        );
        assert!(
            text.contains("tags                    a, b\n")
                && text.contains("deadline_at             -\n"),
            "{text}"
        );
        let (_, text) = ctl(&plane, &format!("why {}", stream.id)).await;
        assert!(text.starts_with("it is open, for "), "{text}");
        let asked_after = [25_100, 50_000].map(Duration::from_millis);
        end(
            &plane.registry,
            &stream,
            Evidence::new(Duration::from_millis(55_003), &asked_after),
        );
        let (result, text) = ctl(&plane, &format!("why {}", stream.id)).await;
        result.unwrap();
        assert!(
            text.ends_with("nothing heard for 55.0 s; pings at 25.1 s and 50.0 s unanswered; closed 3 ms late\n"),
            "{text}"
        );
        let (_, text) = ctl(&plane, &format!("get {} --json", stream.id)).await;
        let record: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(record["reason"], "client_idle");
        let (result, _) = ctl(&plane, &format!("why {}", Uuid::now_v7())).await;
        assert!(matches!(result, Err(CtlError::Unknown)));
    }

    #[tokio::test]
    async fn one_stream_is_closed_told_and_asked() {
        let mut plane = Plane::open();
        let mut told = plane.play(Play::Obey);
        let id = plane.enter(None, &[]).id;
        let (result, text) = ctl(&plane, &format!("send {id} --text héllo")).await;
        result.unwrap();
        assert_eq!(text, "the client's socket has taken all 6 bytes\n");
        assert_eq!(told.recv().await.unwrap(), "text h\\xc3\\xa9llo");
        let (result, text) = ctl(&plane, &format!("ping {id}")).await;
        result.unwrap();
        assert_eq!(text, "answered after 12.345 ms\n");
        let (result, text) = ctl(&plane, &format!("close {id} --code 4001 --reason a&b=c%")).await;
        result.unwrap();
        assert!(text.starts_with("client_idle by sidecar at "), "{text}");
        assert_eq!(told.recv().await.unwrap(), "Goodbye Some(4001) a&b=c%");
        for line in [
            format!("close {id}"),
            format!("ping {id}"),
            format!("send {id} --text x"),
        ] {
            let error = ctl(&plane, &line).await.0.unwrap_err().to_string();
            assert!(
                error.starts_with("it had ended before: client_idle"),
                "{error}"
            );
        }
    }

    #[tokio::test]
    async fn all_that_match_are_counted() {
        let mut plane = Plane::open();
        let mut told = plane.play(Play::Obey);
        for _ in 0..3 {
            plane.enter(Some("a b"), &[]);
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), b"\xff\x00").unwrap();
        let path = file.path().display();
        let (result, text) = ctl(&plane, &format!("send --all --binary --file {path}")).await;
        result.unwrap();
        assert_eq!(text, "3 matched, 3 done, 0 failed\n");
        assert_eq!(told.recv().await.unwrap(), "binary \\xff\\x00");
        let (result, _) = ctl(&plane, &format!("send --all --file {path}")).await;
        assert!(result.unwrap_err().to_string().contains("--binary"));
        let (result, text) =
            ctl(&plane, "close --listener chat --abort --spread 10ms --json").await;
        result.unwrap();
        let count: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(count, json!({ "matched": 3, "done": 3, "failed": 0 }));
        for line in ["close", "send --text x"] {
            let error = ctl(&plane, line).await.0.unwrap_err().to_string();
            assert!(error.contains("--all"), "{error}");
        }
    }

    #[tokio::test]
    async fn what_failed_is_an_error_too() {
        let mut plane = Plane::open();
        let _told = plane.play(Play::LetGo);
        plane.enter(None, &[]);
        let (result, text) = ctl(&plane, "send --all --text x").await;
        assert_eq!(text, "1 matched, 0 done, 1 failed\n");
        assert!(matches!(
            result,
            Err(CtlError::Undone {
                failed: 1,
                matched: 1
            })
        ));
    }

    #[tokio::test]
    async fn several_processes_are_merged() {
        let mut planes = [Plane::open(), Plane::open()];
        let _told = planes.each_mut().map(|plane| plane.play(Play::Obey));
        let ids: Vec<_> = planes
            .iter()
            .map(|plane| plane.enter(Some("42"), &[]).id)
            .collect();
        let endpoints = planes
            .iter()
            .map(|plane| Endpoint::Tcp(vec![plane.address()]));
        let session = Session {
            endpoints: endpoints.collect(),
            token: None,
        };
        let selector = SelectorArgs::default();
        let mut out = Output::default();
        list(
            &session,
            ListArgs {
                selector: selector.clone(),
                limit: None,
            },
            &mut out,
        )
        .await
        .unwrap();
        assert_eq!(out.text.lines().count(), 3, "{}", out.text);
        for (line, plane) in out.text.lines().skip(1).zip(&planes) {
            assert!(line.ends_with(&plane.address().to_string()), "{line}");
        }
        let mut out = Output::default();
        get(&session, &StreamArgs { id: ids[1] }, &mut out)
            .await
            .unwrap();
        assert!(
            out.text.contains(&ids[1].to_string()),
            "the second knows it"
        );
        let meant = Meant {
            id: None,
            selector,
            all: true,
        };
        let close_args = CloseArgs {
            meant,
            code: None,
            reason: None,
            abort: false,
            spread: None,
        };
        let mut out = Output::default();
        close(&session, close_args, &mut out).await.unwrap();
        assert_eq!(out.text, "2 matched, 2 done, 0 failed\n");
    }

    #[test]
    fn an_id_and_a_selector_exclude_each_other() {
        let id = Uuid::now_v7();
        for flag in ["--uid 1", "--tag a", "--all", "--spread 1s"] {
            let line = format!("ctl close {id} {flag}");
            assert!(super::super::tests::parse(&line).is_err(), "{line}");
        }
        args(&format!("close {id} --code 4000"));
    }
}
