//! `sidebeat drain`, made for a preStop hook: short for `sidebeat ctl drain`.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use http::Method;
use serde_json::{Map, Value};

use super::ctl::{self, CtlError, Output, Session, Target};
use crate::admin::client::Endpoint;
use crate::admin::control::{DrainReport, State};
use crate::config::Config;

/// Often enough that a pod does not linger, seldom enough to cost nothing.
const POLL: Duration = Duration::from_millis(200);

/// Flags of `sidebeat drain`.
#[derive(Debug, Clone, Args)]
pub struct DrainArgs {
    /// Where the admin API is.
    #[command(flatten)]
    pub target: Target,
    /// How to drain.
    #[command(flatten)]
    pub options: DrainOptions,
}

/// How to drain.
#[derive(Debug, Clone, Default, Args)]
pub struct DrainOptions {
    /// Return when the drain is over: 0 if no stream is left and hooks are flushed, else 1
    #[arg(long)]
    pub wait: bool,
    /// Close streams spread over this time instead of `drain.spread`
    #[arg(long, value_name = "DURATION|off")]
    pub spread: Option<String>,
    /// Serve openings for this time instead of `drain.delay`
    #[arg(long, value_name = "DURATION|off")]
    pub delay: Option<String>,
}

/// Runs the command; `config` is the file of `-c`, loaded.
pub fn main(args: DrainArgs, config: Option<&Config>) -> ExitCode {
    ctl::finish(async |out: &mut Output| {
        let target = match config {
            Some(config) => args.target.with_config(config),
            None => args.target,
        };
        drain(&target.open().await?, &args.options, out).await
    })
}

/// Starts a drain in every process, then waits for each if asked to.
pub(super) async fn drain(
    session: &Session,
    options: &DrainOptions,
    out: &mut Output,
) -> Result<(), CtlError> {
    let mut body = Map::new();
    for (name, value) in [("spread", &options.spread), ("delay", &options.delay)] {
        if let Some(value) = value {
            body.insert(name.to_owned(), Value::String(value.clone()));
        }
    }
    let mut results = Vec::new();
    for endpoint in &session.endpoints {
        let body = Value::Object(body.clone());
        let report = session.call(endpoint, Method::POST, "/v1/drain", Some(body));
        results.push(report.await);
    }
    let started: Vec<_> = session
        .endpoints
        .iter()
        .zip(&results)
        .filter(|(_, result)| result.is_ok())
        .map(|(endpoint, _)| endpoint)
        .collect();
    let mut errors = Vec::new();
    if options.wait {
        for endpoint in &started {
            errors.extend(drained(session, endpoint).await.err());
        }
    }
    let waited = ctl::collected(errors, started.len());
    out.each(&session.endpoints, results, draining)?;
    waited
}

/// Waits until the drain of one process is over.
async fn drained(session: &Session, endpoint: &Endpoint) -> Result<(), CtlError> {
    loop {
        let status = session.status(endpoint).await?;
        match status.state {
            State::Running | State::Draining => tokio::time::sleep(POLL).await,
            State::Drained => {
                let (streams, events) = (status.streams_left(), status.events_left());
                return match (streams, events) {
                    (0, 0) => Ok(()),
                    _ => Err(CtlError::Unfinished {
                        endpoint: endpoint.clone(),
                        streams,
                        events,
                    }),
                };
            }
        }
    }
}

fn draining(report: &DrainReport) -> String {
    let duration = |ms| humantime::format_duration(Duration::from_millis(ms));
    format!(
        "draining {} streams: openings are served for {}, closes are spread over {}\n",
        report.streams,
        duration(report.delay_ms),
        duration(report.spread_ms)
    )
}
