//! `sidebeat drain`, made for a preStop hook: short for `sidebeat ctl drain`.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::{Map, Value};

use super::ctl::{self, CtlError, Output, Request, Session, Target};
use crate::admin::client::{Content, Endpoint};
use crate::admin::control::{DrainReport, State};
use crate::config::Config;

/// Often enough that a pod does not linger, seldom enough to cost nothing.
const POLL: Duration = Duration::from_millis(200);

/// Flags of `sidebeat drain`.
#[derive(Debug, Clone, Args)]
pub(super) struct DrainArgs {
    /// Where the admin API is.
    #[command(flatten)]
    pub target: Target,
    /// How to drain.
    #[command(flatten)]
    pub options: DrainOptions,
}

/// How to drain.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct DrainOptions {
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
pub(super) fn main(args: DrainArgs, config: Option<&Config>) -> ExitCode {
    ctl::finish(async |out: &mut Output| {
        let session = args.target.with_config(config).open().await?;
        drain(&session, &args.options, out).await
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
    let request = Request::post("/v1/drain", Content::Json(Value::Object(body)));
    let results = session.call_each(&request).await;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::Guards;
    use crate::admin::control::Status;
    use crate::admin::fixture::{Asked, Plane, Script, status, tcp};

    fn plane(statuses: Vec<Status>) -> Plane {
        let script = Script {
            statuses,
            ..Script::default()
        };
        Plane::start(&tcp(), Guards::default(), script)
    }

    async fn run(plane: &Plane, options: DrainOptions) -> Result<(), CtlError> {
        let target = Target {
            admin: Some(plane.url.parse().unwrap()),
            ..Target::default()
        };
        let session = target.open().await.unwrap();
        drain(&session, &options, &mut Output::default()).await
    }

    fn waiting() -> DrainOptions {
        DrainOptions {
            wait: true,
            ..DrainOptions::default()
        }
    }

    #[tokio::test]
    async fn without_wait_it_returns_at_once_and_passes_the_options_on() {
        let plane = plane(vec![status(State::Draining, 3, 0)]);
        let options = DrainOptions {
            wait: false,
            spread: Some("20s".to_owned()),
            delay: Some("off".to_owned()),
        };
        run(&plane, options).await.unwrap();
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        assert_eq!(plane.asked(), [Asked::Drain(seconds(20), seconds(0))]);
        let bad = DrainOptions {
            spread: Some("20".to_owned()),
            ..DrainOptions::default()
        };
        let error = run(&plane, bad).await.unwrap_err().to_string();
        assert!(error.contains("400") && error.contains("20s"), "{error}");
    }

    #[tokio::test]
    async fn wait_lasts_until_the_drain_is_over() {
        // No stream and no event is left, but openings are still served.
        let plane = plane(vec![
            status(State::Draining, 0, 0),
            status(State::Draining, 2, 1),
            status(State::Drained, 0, 0),
        ]);
        run(&plane, waiting()).await.unwrap();
        assert_eq!(plane.asked(), [Asked::Drain(None, None)]);
    }

    #[tokio::test]
    async fn what_is_left_at_the_end_is_a_failure() {
        for (streams, events) in [(1, 0), (0, 2)] {
            let plane = plane(vec![status(State::Drained, streams, events)]);
            let error = run(&plane, waiting()).await.unwrap_err();
            let left = match error {
                CtlError::Unfinished {
                    streams, events, ..
                } => (streams, events),
                other => panic!("{other}"),
            };
            assert_eq!(left, (streams, events));
        }
    }

    #[tokio::test]
    async fn a_process_that_vanishes_meanwhile_is_a_failure() {
        let plane = plane(vec![status(State::Draining, 3, 0)]);
        let stop = async {
            while plane.asked().is_empty() {
                tokio::task::yield_now().await;
            }
            plane.stop();
        };
        let (result, ()) = tokio::join!(run(&plane, waiting()), stop);
        assert!(matches!(result, Err(CtlError::Client(_))), "{result:?}");
    }
}
