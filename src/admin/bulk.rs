//! Calls about every stream that a selector matches.

use std::sync::Arc;
use std::time::Duration;

use http::{Response, StatusCode};
use rand::seq::SliceRandom;
use serde::Serialize;
use tokio::sync::oneshot::{self, Receiver, Sender};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::answer::json;
use super::problem::Problem;
use super::routes::Asked;
use super::streams::{PATIENCE, ending, message};
use super::{Api, Body};
use crate::registry::Entry;
use crate::worker::{Command, Message, Post, Refusal};

/// Streams that are told something before other tasks of the control thread have their turn.
const TURN: usize = 512;

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct Count {
    /// Streams that the selector matched.
    matched: usize,
    /// Those of them that have done it.
    done: usize,
    /// Those that could not, had ended before, or had not done it within five seconds.
    failed: usize,
}

/// `DELETE /v1/streams`
pub(super) async fn close(api: &Api, mut asked: Asked<'_>) -> Result<Response<Body>, Problem> {
    let (cause, manner) = ending(&mut asked.parameters)?;
    let spread = asked
        .parameters
        .duration_or_off("spread")?
        .unwrap_or_default();
    let selector = asked.parameters.bulk_selector()?;
    let mut entries = api.registry.select(&selector);
    // At random, so that what was opened together does not come back together.
    entries.shuffle(&mut rand::rng());
    let command = move |reply| Command::Cut {
        cause: cause.clone(),
        manner,
        reply,
    };
    count(tell(api.post.clone(), entries, spread, command)).await
}

/// `POST /v1/messages`
pub(super) async fn send(api: &Api, mut asked: Asked<'_>) -> Result<Response<Body>, Problem> {
    let message: Arc<Message> = Arc::new(message(&asked)?);
    let selector = asked.parameters.bulk_selector()?;
    let entries = api.registry.select(&selector);
    let command = move |reply| Command::Send {
        message: Arc::clone(&message),
        reply,
    };
    count(tell(api.post.clone(), entries, Duration::ZERO, command)).await
}

/// Runs it to its end even if the caller hangs up: half of a broadcast is worse than none.
async fn count(
    telling: impl Future<Output = Count> + Send + 'static,
) -> Result<Response<Body>, Problem> {
    match tokio::spawn(telling).await {
        Ok(count) => json(&count),
        Err(_) => Err(Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the call was broken off",
        )),
    }
}

/// What a stream answers to one of many.
trait Reply {
    fn is_done(&self) -> bool;
}

impl Reply for () {
    fn is_done(&self) -> bool {
        true
    }
}

impl Reply for Result<(), Refusal> {
    fn is_done(&self) -> bool {
        self.is_ok()
    }
}

/// Tells every stream, evenly over `spread`, and waits for each no longer than `PATIENCE`.
async fn tell<R: Reply>(
    post: Post,
    entries: Vec<Arc<Entry>>,
    spread: Duration,
    command: impl Fn(Sender<R>) -> Command,
) -> Count {
    let (began, matched) = (Instant::now(), entries.len());
    let mut told: Vec<(Instant, Receiver<R>)> = Vec::with_capacity(matched);
    for (place, entry) in entries.iter().enumerate() {
        if !spread.is_zero() {
            sleep_until(began + spread.mul_f64(place as f64 / matched as f64)).await;
        } else if place % TURN == TURN - 1 {
            tokio::task::yield_now().await;
        }
        let (reply, answer) = oneshot::channel();
        post.command(entry.home, entry.id, command(reply));
        told.push((Instant::now() + PATIENCE, answer));
    }
    let mut done = 0;
    // One after the other: answers keep, and the last deadline is the end of all of them.
    for (deadline, answer) in told {
        if let Ok(Ok(reply)) = timeout_at(deadline, answer).await {
            done += usize::from(reply.is_done());
        }
    }
    let failed = matched - done;
    Count {
        matched,
        done,
        failed,
    }
}
