//! Calls about one stream, and the list of them.

use std::borrow::Cow;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use serde::Serialize;
use serde_json::json;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::answer::{NDJSON, json, json_with, line, typed, wants_lines};
use super::fields::{Fields, Parameters};
use super::problem::Problem;
use super::routes::Asked;
use super::{Api, Body};
use crate::proto::cause::{Cause, Reason};
use crate::proto::framing::Unfit;
use crate::registry::record::{Ended, StreamRecord};
use crate::registry::{
    Cursor, Entry, Page, Rebind, Rebound, Registry, Selector, TAG_MAX, TAGS_MAX, UID_MAX,
};
use crate::worker::{Command, Manner, Message, Refusal};

/// How long a stream may take to do what it is asked.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// Streams of one piece of a list by lines.
const PIECE: usize = 100;

/// The longest text of a Close frame (RFC 6455 section 5.5, less the code).
const CLOSE_REASON_MAX: usize = 123;

/// `GET /v1/streams`
pub(super) fn list(api: &Api, mut asked: Asked<'_>) -> Result<Response<Body>, Problem> {
    let parameters = &mut asked.parameters;
    let limit = parameters
        .number("limit", 1..=1000)?
        .map(|limit| limit as usize);
    let cursor = parameters.number("cursor", 0..=u64::MAX)?.map(Cursor);
    let selector = parameters.selector()?;
    if wants_lines(asked.headers) {
        let left = limit.unwrap_or(usize::MAX);
        return Ok(lines(Arc::clone(&api.registry), selector, cursor, left));
    }
    let Page { entries, next } = api.registry.page(&selector, cursor, limit.unwrap_or(100));
    json(&Listed {
        items: entries.iter().map(|entry| entry.record()).collect(),
        next_cursor: next.map(|Cursor(place)| place.to_string()),
        matched: api.registry.count(&selector),
    })
}

#[derive(Serialize)]
struct Listed {
    items: Vec<StreamRecord>,
    next_cursor: Option<String>,
    matched: usize,
}

/// Writes the list piece by piece, so that its length costs no memory.
fn lines(
    registry: Arc<Registry>,
    selector: Selector,
    cursor: Option<Cursor>,
    left: usize,
) -> Response<Body> {
    let pieces = stream::unfold(Some((cursor, left)), move |state| {
        let piece = state.map(|(cursor, left)| {
            let Page { entries, next } = registry.page(&selector, cursor, left.min(PIECE));
            let mut text = Vec::new();
            for entry in &entries {
                line(&mut text, &entry.record());
            }
            let left = left - entries.len();
            let rest = next.filter(|_| left > 0).map(|next| (Some(next), left));
            (Ok::<_, Infallible>(Frame::data(Bytes::from(text))), rest)
        });
        std::future::ready(piece)
    });
    typed(NDJSON, StreamBody::new(pieces).boxed_unsync())
}

/// `GET /v1/streams/{id}`
pub(super) fn get(api: &Api, asked: &Asked<'_>) -> Result<Response<Body>, Problem> {
    match api.registry.get(asked.id) {
        Some(entry) => json(&entry.record()),
        None => gone(api, asked),
    }
}

/// `GET /v1/closed`
pub(super) fn closed(api: &Api) -> impl Serialize {
    ListedClosed {
        items: api.registry.closed(),
    }
}

#[derive(Serialize)]
struct ListedClosed {
    items: Vec<Arc<Ended>>,
}

/// `PATCH /v1/streams/{id}`
pub(super) fn change(api: &Api, asked: &Asked<'_>) -> Result<Response<Body>, Problem> {
    let mut fields = Fields::parse(&asked.body)?;
    let change = Rebind {
        uid: fields.word_or_null("uid", UID_MAX)?,
        tags: fields.words("tags", TAG_MAX, TAGS_MAX)?,
        add_tags: fields
            .words("add_tags", TAG_MAX, TAGS_MAX)?
            .unwrap_or_default(),
        remove_tags: fields
            .words("remove_tags", TAG_MAX, TAGS_MAX)?
            .unwrap_or_default(),
    };
    fields.finish()?;
    match api.registry.rebind(asked.id, &change) {
        Rebound::Done(entry) => json(&entry.record()),
        Rebound::TooManyTags => {
            let detail = format!("the stream would have more than {TAGS_MAX} tags");
            Err(Problem::parameter("add_tags", detail))
        }
        Rebound::Gone => gone(api, asked),
    }
}

/// `DELETE /v1/streams/{id}`
pub(super) async fn close(api: &Api, mut asked: Asked<'_>) -> Result<Response<Body>, Problem> {
    let (cause, manner) = ending(&mut asked.parameters)?;
    let Some(entry) = api.registry.get(asked.id) else {
        return gone(api, &asked);
    };
    let (reply, answer) = oneshot::channel();
    let command = Command::Cut {
        cause,
        manner,
        reply,
    };
    api.post.command(entry.home, entry.id, command);
    let Ok(answer) = timeout(PATIENCE, answer).await else {
        return Err(busy());
    };
    match (answer, api.registry.ended(entry.id)) {
        (Ok(()), Some(record)) => json_with(StatusCode::ACCEPTED, &*record),
        // Something else was faster, or a thousand others have ended since.
        (_, _) => gone(api, &asked),
    }
}

/// Reads how a stream is to be closed.
pub(super) fn ending(parameters: &mut Parameters) -> Result<(Cause, Manner), Problem> {
    let mut cause = Cause::new(Reason::AdminClose);
    if let Some(code) = parameters.number("code", 1000..=4999)? {
        // What a server may send and no client library stumbles over.
        if !matches!(code, 1000..=1003 | 1007..=1013 | 3000..=4999) {
            let detail = "write a code of 1000-1003, 1007-1013 or 3000-4999";
            return Err(Problem::parameter("code", detail));
        }
        cause = cause.with_code(u16::try_from(code).ok());
    }
    if let Some(reason) = parameters.take("reason")? {
        if reason.len() > CLOSE_REASON_MAX {
            let detail = format!("a reason may have at most {CLOSE_REASON_MAX} bytes");
            return Err(Problem::parameter("reason", detail));
        }
        cause.text = Cow::Owned(reason);
    }
    let manner = match parameters.flag("abort")? {
        true => Manner::Reset,
        false => Manner::Goodbye,
    };
    Ok((cause, manner))
}

/// `POST /v1/streams/{id}/messages`
pub(super) async fn send(api: &Api, asked: &Asked<'_>) -> Result<Response<Body>, Problem> {
    let message = Arc::new(message(asked)?);
    let bytes = message.payload.len();
    let Some(entry) = api.registry.get(asked.id) else {
        return gone(api, asked);
    };
    let done = command(api, &entry, |reply| Command::Send { message, reply }).await;
    match done {
        Ok(()) => json(&json!({ "bytes": bytes })),
        Err(Undone::Late) => Err(busy()),
        Err(Undone::Refused(refusal)) => Err(refused(refusal)),
        Err(Undone::Dropped) => dropped(api, asked),
    }
}

/// `POST /v1/streams/{id}/ping`
pub(super) async fn ping(api: &Api, asked: &Asked<'_>) -> Result<Response<Body>, Problem> {
    Fields::parse(&asked.body)?.finish()?;
    let Some(entry) = api.registry.get(asked.id) else {
        return gone(api, asked);
    };
    match command(api, &entry, |reply| Command::Ping { reply }).await {
        Ok(rtt) => json(&json!({ "rtt_ms": rtt.as_micros() as f64 / 1000.0 })),
        Err(Undone::Late) => {
            let detail = format!("the client did not answer within {} s", PATIENCE.as_secs());
            Err(Problem::new(StatusCode::GATEWAY_TIMEOUT, detail))
        }
        Err(Undone::Refused(refusal)) => Err(refused(refusal)),
        Err(Undone::Dropped) => dropped(api, asked),
    }
}

/// The message that a body is: text if its type says so, else binary.
pub(super) fn message(asked: &Asked<'_>) -> Result<Message, Problem> {
    let binary = !is_text(asked.headers);
    if !binary && str::from_utf8(&asked.body).is_err() {
        // RFC 6455 section 8.1: a client would end the connection.
        let detail = "a text must be UTF-8; send other bytes as application/octet-stream";
        return Err(Problem::parameter("body", detail));
    }
    let payload = asked.body.clone();
    Ok(Message { payload, binary })
}

fn is_text(headers: &HeaderMap) -> bool {
    let value = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let kind = value
        .and_then(|value| value.split(';').next())
        .unwrap_or_default();
    let kind = kind.trim().to_ascii_lowercase();
    kind.starts_with("text/") || kind == "application/json" || kind.ends_with("+json")
}

/// Why a stream did not do what it was asked.
enum Undone {
    /// It has not within `PATIENCE`.
    Late,
    Refused(Refusal),
    /// It ended, or can no longer.
    Dropped,
}

async fn command<T>(
    api: &Api,
    entry: &Entry,
    command: impl FnOnce(oneshot::Sender<Result<T, Refusal>>) -> Command,
) -> Result<T, Undone> {
    let (reply, answer) = oneshot::channel();
    api.post.command(entry.home, entry.id, command(reply));
    match timeout(PATIENCE, answer).await {
        Err(_) => Err(Undone::Late),
        Ok(Err(_)) => Err(Undone::Dropped),
        Ok(Ok(Err(refusal))) => Err(Undone::Refused(refusal)),
        Ok(Ok(Ok(done))) => Ok(done),
    }
}

fn refused(refusal: Refusal) -> Problem {
    let status = match refusal {
        Refusal::Raw | Refusal::NoReply | Refusal::HalfClosed => StatusCode::CONFLICT,
        Refusal::Unfit(Unfit::SeveralLines) => {
            return Problem::parameter("body", refusal.to_string());
        }
        Refusal::Unfit(Unfit::TooLarge { .. }) => StatusCode::PAYLOAD_TOO_LARGE,
        Refusal::Full => StatusCode::SERVICE_UNAVAILABLE,
    };
    Problem::new(status, refusal.to_string())
}

fn busy() -> Problem {
    let detail = format!(
        "not done within {} s; a message whose first bytes have gone out may still arrive",
        PATIENCE.as_secs()
    );
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail)
}

/// A stream let go of a call: it ended, or its app has.
fn dropped(api: &Api, asked: &Asked<'_>) -> Result<Response<Body>, Problem> {
    match api.registry.get(asked.id) {
        Some(_) => Err(refused(Refusal::HalfClosed)),
        None => gone(api, asked),
    }
}

/// 410 with the closing record of a stream that ended not long ago, else 404.
fn gone(api: &Api, asked: &Asked<'_>) -> Result<Response<Body>, Problem> {
    match api.registry.ended(asked.id) {
        Some(record) => json_with(StatusCode::GONE, &*record),
        None => Err(Problem::not_found(
            "no stream has this id, or none that ended not long ago",
        )),
    }
}
