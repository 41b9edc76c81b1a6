//! `sidebeat ctl`: a client of the admin API; each of its commands is a file beside this one.

mod bulk;
mod close;
mod error;
mod get;
mod list;
mod output;
mod ping;
mod reload;
mod selector;
mod send;
mod session;
mod status;
mod why;

use std::io::Write as _;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::drain::{self, DrainOptions};
use crate::config::Config;
use close::CloseArgs;
pub(super) use error::CtlError;
use list::ListArgs;
pub(super) use output::{Output, collected};
use selector::StreamArgs;
use send::SendArgs;
pub(super) use session::{Request, Session, Target};

/// Flags of `sidebeat ctl`.
#[derive(Debug, Clone, Args)]
pub(super) struct CtlArgs {
    /// Where the admin API is.
    #[command(flatten)]
    pub target: Target,
    /// Print JSON instead of tables
    #[arg(long, global = true)]
    pub json: bool,
    /// What to ask.
    #[command(subcommand)]
    pub command: CtlCommand,
}

/// Calls of `sidebeat ctl`.
#[derive(Debug, Clone, Subcommand)]
pub(super) enum CtlCommand {
    /// List open streams
    List(ListArgs),
    /// Show a stream, or the closing record of one that ended not long ago
    Get(StreamArgs),
    /// Say why a stream ended, and on what evidence
    Why(StreamArgs),
    /// Close a stream, or all that match
    Close(CloseArgs),
    /// Send a message to a client, or to all that match
    Send(SendArgs),
    /// Ask a client for a sign of life and show the round trip
    Ping(StreamArgs),
    /// Read configuration, certificates and secrets again, all or nothing
    Reload,
    /// Close every stream, spread over time, and take no new ones
    Drain(DrainOptions),
    /// Show version, state, listeners, hooks and certificates
    Status,
}

/// Runs the command; `config` is the file of `-c`, loaded.
pub(super) fn main(args: CtlArgs, config: Option<&Config>) -> ExitCode {
    finish(async |out: &mut Output| run(args, config, out).await)
}

async fn run(args: CtlArgs, config: Option<&Config>, out: &mut Output) -> Result<(), CtlError> {
    let session = args.target.with_config(config).open().await?;
    out.json = args.json;
    args.command.run(&session, out).await
}

impl CtlCommand {
    async fn run(self, session: &Session, out: &mut Output) -> Result<(), CtlError> {
        match self {
            Self::List(args) => list::list(session, &args, out).await,
            Self::Get(args) => get::get(session, &args, out).await,
            Self::Why(args) => why::why(session, &args, out).await,
            Self::Close(args) => close::close(session, &args, out).await,
            Self::Send(args) => send::send(session, &args, out).await,
            Self::Ping(args) => ping::ping(session, &args, out).await,
            Self::Drain(options) => drain::drain(session, &options, out).await,
            Self::Reload => reload::reload(session, out).await,
            Self::Status => status::status(session, out).await,
        }
    }
}

/// Runs a command on a runtime of its own, prints what it found and turns the result into 0 or 1.
pub(super) fn finish<F>(command: F) -> ExitCode
where
    F: AsyncFnOnce(&mut Output) -> Result<(), CtlError>,
{
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let mut out = Output::default();
    let result = match runtime {
        Ok(runtime) => runtime.block_on(command(&mut out)),
        Err(error) => {
            eprintln!("sidebeat: cannot start: {error}");
            return ExitCode::from(71);
        }
    };
    // Whoever closed the pipe does not want the rest.
    let _ = std::io::stdout().write_all(out.text.as_bytes());
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sidebeat: {error}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};
    use serde_json::Value;

    use super::*;
    use crate::admin::client::Endpoint;
    use crate::admin::fixture::{Plane, Play};

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: CtlArgs,
    }

    pub(super) fn parse(line: &str) -> Result<CtlArgs, clap::Error> {
        Line::try_parse_from(line.split(' ')).map(|line| line.args)
    }

    pub(super) fn args(line: &str) -> CtlArgs {
        parse(&format!("ctl {line}")).unwrap()
    }

    /// Runs a line against `plane`.
    pub(super) async fn ctl(plane: &Plane, line: &str) -> (Result<(), CtlError>, String) {
        let args = args(&format!("{line} --admin {}", plane.url));
        let mut out = Output::default();
        let result = run(args, None, &mut out).await;
        (result, out.text)
    }

    /// Runs a line against the processes behind one name.
    async fn ctl_all(
        endpoints: impl IntoIterator<Item = Endpoint>,
        line: &str,
    ) -> (Result<(), CtlError>, String) {
        let session = Session {
            endpoints: endpoints.into_iter().collect(),
            token: None,
        };
        let args = args(line);
        let mut out = Output {
            json: args.json,
            ..Output::default()
        };
        let result = args.command.run(&session, &mut out).await;
        (result, out.text)
    }

    fn endpoint(plane: &Plane) -> Endpoint {
        Endpoint::Tcp(vec![plane.address()])
    }

    #[test]
    fn flags_are_consistent() {
        Line::command().debug_assert();
        let ways = [
            "status --json -c f",
            "--json -c f status",
            "-c f status --json",
        ];
        for line in ways {
            let args = args(line);
            assert!(args.json, "{line}");
            assert_eq!(args.target.config, Some("f".into()), "{line}");
        }
    }

    #[tokio::test]
    async fn several_processes_are_shown_under_their_addresses() {
        let planes = [Plane::open(), Plane::open()];
        let [first, second] = [&planes[0], &planes[1]].map(Plane::address);
        let (result, text) = ctl_all(planes.iter().map(endpoint), "drain").await;
        result.unwrap();
        let line = "draining 3 streams: openings are served for 1s, closes are spread over 1s\n";
        assert_eq!(text, format!("{first}\n{line}{second}\n{line}"));

        let gone = endpoint(&Plane::open());
        let (result, text) = ctl_all([endpoint(&planes[0]), gone], "drain --json").await;
        assert!(matches!(
            result,
            Err(CtlError::Some {
                failed: 1,
                asked: 2
            })
        ));
        let answers: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(answers[first.to_string()]["streams"], 3);
        assert_eq!(answers.as_object().unwrap().len(), 1);
    }

    #[tokio::test]
    async fn several_processes_are_merged() {
        let mut planes = [Plane::open(), Plane::open()];
        let _told = planes.each_mut().map(|plane| plane.play(Play::Obey));
        let ids = planes
            .each_ref()
            .map(|plane| plane.enter(Some("42"), &[]).id);
        let ask = async |line: &str| {
            let (result, text) = ctl_all(planes.iter().map(endpoint), line).await;
            result.unwrap();
            text
        };
        let text = ask("list").await;
        assert_eq!(text.lines().count(), 3, "{text}");
        for (line, plane) in text.lines().skip(1).zip(&planes) {
            assert!(line.ends_with(&plane.address().to_string()), "{line}");
        }
        let text = ask(&format!("get {}", ids[1])).await;
        assert!(text.contains(&ids[1].to_string()), "the second knows it");
        assert_eq!(ask("close --all").await, "2 matched, 2 done, 0 failed\n");
    }
}
