//! Calls about the process as a whole; the server answers them.

use http::{Response, StatusCode};
use serde_json::Value;
use tokio::sync::oneshot;
use tokio::time::{Duration, timeout};

use super::answer::{json, json_with};
use super::control::{Command, Status};
use super::fields::Fields;
use super::problem::Problem;
use super::{Api, Body};

/// A reload reads every file of the configuration, on a slow disk too; nothing else comes near.
const PATIENCE: Duration = Duration::from_secs(30);

/// `GET /v1/status`
pub(super) async fn status(api: &Api) -> Result<Status, Problem> {
    ask(api, Command::Status).await
}

/// `GET /v1/config`
pub(super) async fn config(api: &Api) -> Result<Value, Problem> {
    ask(api, Command::Config).await
}

/// `POST /v1/reload`
pub(super) async fn reload(api: &Api, body: &[u8]) -> Result<Response<Body>, Problem> {
    Fields::parse(body)?.finish()?;
    match ask(api, Command::Reload).await? {
        Ok(report) => json(&report),
        Err(refusal) => Err(Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            format!("nothing has changed: {refusal}"),
        )),
    }
}

/// `POST /v1/drain`
pub(super) async fn drain(api: &Api, body: &[u8]) -> Result<Response<Body>, Problem> {
    let mut fields = Fields::parse(body)?;
    let spread = fields.duration_or_off("spread")?;
    let delay = fields.duration_or_off("delay")?;
    fields.finish()?;
    let report = ask(api, |reply| Command::Drain {
        spread,
        delay,
        reply,
    })
    .await?;
    json_with(StatusCode::ACCEPTED, &report)
}

/// Sends a command to the server and waits for its answer.
async fn ask<T>(
    api: &Api,
    command: impl FnOnce(oneshot::Sender<T>) -> Command,
) -> Result<T, Problem> {
    let gone = || Problem::new(StatusCode::SERVICE_UNAVAILABLE, "sidebeat is about to exit");
    let (reply, answer) = oneshot::channel();
    let asked = async {
        let sent = api.control.send(command(reply)).await;
        sent.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())
    };
    timeout(PATIENCE, asked).await.map_err(|_| {
        Problem::new(
            StatusCode::GATEWAY_TIMEOUT,
            format!("no answer from the server within {} s", PATIENCE.as_secs()),
        )
    })?
}
