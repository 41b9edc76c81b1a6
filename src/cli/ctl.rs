//! `sidebeat ctl`: a client of the admin API.

mod streams;
mod why;

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use http::{Method, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::drain::{self, DrainOptions};
use crate::admin::client::{Address, Answer, Call, ClientError, Content, Endpoint};
use crate::admin::control::{HookLogStatus, ReloadReport, Status};
use crate::admin::{Token, TokenError};
use crate::config::{AdminAddress, Config};

/// Longer than the API itself waits for a reload.
const CALL_LIMIT: Duration = Duration::from_secs(35);
/// Where the documentation puts the admin API.
const DEFAULT_PORT: u16 = 9600;

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
    List(streams::ListArgs),
    /// Show a stream, or the closing record of one that ended not long ago
    Get(streams::StreamArgs),
    /// Say why a stream ended, and on what evidence
    Why(streams::StreamArgs),
    /// Close a stream, or all that match
    Close(streams::CloseArgs),
    /// Send a message to a client, or to all that match
    Send(streams::SendArgs),
    /// Ask a client for a sign of life and show the round trip
    Ping(streams::StreamArgs),
    /// Read configuration, certificates and secrets again, all or nothing
    Reload,
    /// Close every stream, spread over time, and take no new ones
    Drain(DrainOptions),
    /// Show version, state, listeners, hooks and certificates
    Status,
}

/// How to find the admin API. Without any of it: 127.0.0.1:9600.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct Target {
    /// Configuration file that says where the admin API is
    #[arg(
        short,
        long,
        value_name = "FILE",
        env = "SIDEBEAT_CONFIG",
        global = true
    )]
    pub config: Option<PathBuf>,
    /// Admin API: http://HOST:PORT, HOST:PORT or unix:/PATH; of a name, every address is asked
    #[arg(long, value_name = "URL", env = "SIDEBEAT_ADMIN", global = true)]
    pub admin: Option<Address>,
    /// File with the token of the admin API
    #[arg(long, value_name = "FILE", env = "SIDEBEAT_TOKEN_FILE", global = true)]
    pub token_file: Option<PathBuf>,
}

/// Why a call of the command line failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum CtlError {
    /// No answer.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// No token.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// An answer that says no.
    #[error("{endpoint} answered {status}: {detail}")]
    Refused {
        /// Who was asked.
        endpoint: Endpoint,
        /// The HTTP status.
        status: StatusCode,
        /// The problem's sentence or the start of the body.
        detail: String,
    },
    /// The answer is not what this version of the API says.
    #[error("{endpoint} gave an answer of another version of sidebeat: {source}")]
    Foreign {
        /// Who was asked.
        endpoint: Endpoint,
        /// What does not fit.
        source: serde_json::Error,
    },
    /// The drain ended with something left.
    #[error("{endpoint} has drained, but {streams} streams and {events} hook events are left")]
    Unfinished {
        /// Who was asked.
        endpoint: Endpoint,
        /// Open and closing streams.
        streams: u64,
        /// Undelivered hook events.
        events: u64,
    },
    /// Nobody knows the stream.
    #[error("no process knows this stream: it never was, or more than a thousand have ended since")]
    Unknown,
    /// The stream had ended before it could be told anything.
    #[error("{0}")]
    Ended(String),
    /// Not everything that matched was done.
    #[error(
        "{failed} of {matched} streams could not, had ended before, or did not answer within 5 s"
    )]
    Undone {
        /// How many.
        failed: u64,
        /// Of how many.
        matched: u64,
    },
    /// What was to be sent cannot be read.
    #[error("cannot read the message from {from}: {source}")]
    Message {
        /// A file or standard input.
        from: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A flag that the API would refuse.
    #[error("--{flag}: {problem}")]
    Flag {
        /// Its name.
        flag: &'static str,
        /// What to write instead.
        problem: String,
    },
    /// Some of several processes failed; each has said so.
    #[error("{failed} of {asked} processes failed")]
    Some {
        /// How many failed.
        failed: usize,
        /// How many were asked.
        asked: usize,
    },
}

impl Target {
    /// Takes from `config` what no flag or environment variable gave.
    pub(super) fn with_config(mut self, config: &Config) -> Self {
        let Some(admin) = &config.admin else {
            return self;
        };
        if self.admin.is_none() {
            self.admin = Some(match &admin.listen {
                AdminAddress::Tcp(address) => (*address).into(),
                AdminAddress::Unix(path) => Address::Unix(path.clone()),
            });
        }
        if self.token_file.is_none() {
            self.token_file.clone_from(&admin.token_file);
        }
        self
    }

    /// Resolves the address and reads the token.
    pub(super) async fn open(&self) -> Result<Session, CtlError> {
        let token = match &self.token_file {
            Some(path) => Some(Token::read(path)?),
            None => None,
        };
        let default = Address::from((Ipv4Addr::LOCALHOST, DEFAULT_PORT));
        let endpoints = self.admin.as_ref().unwrap_or(&default).resolve().await?;
        Ok(Session { endpoints, token })
    }
}

/// The processes to ask and what to show them.
pub(super) struct Session {
    pub(super) endpoints: Vec<Endpoint>,
    token: Option<Token>,
}

impl Session {
    /// One call to one process; every status but 2xx is an error.
    pub(super) async fn call<T: DeserializeOwned>(
        &self,
        endpoint: &Endpoint,
        method: Method,
        path: &str,
        content: Content,
    ) -> Result<T, CtlError> {
        let answer = self
            .ask(endpoint, method, path, content, CALL_LIMIT)
            .await?;
        if !answer.status.is_success() {
            return Err(CtlError::Refused {
                endpoint: endpoint.clone(),
                status: answer.status,
                detail: detail(&answer.body),
            });
        }
        read(endpoint, &answer)
    }

    /// One call to one process, whatever it answers.
    async fn ask(
        &self,
        endpoint: &Endpoint,
        method: Method,
        path: &str,
        content: Content,
        limit: Duration,
    ) -> Result<Answer, CtlError> {
        let call = Call {
            method,
            path,
            token: self.token.as_ref(),
            content,
        };
        Ok(endpoint.call(call, limit).await?)
    }

    /// What the process says of itself.
    pub(super) async fn status(&self, endpoint: &Endpoint) -> Result<Status, CtlError> {
        let nothing = Content::Nothing;
        self.call(endpoint, Method::GET, "/v1/status", nothing)
            .await
    }
}

fn read<T: DeserializeOwned>(endpoint: &Endpoint, answer: &Answer) -> Result<T, CtlError> {
    serde_json::from_slice(&answer.body).map_err(|source| CtlError::Foreign {
        endpoint: endpoint.clone(),
        source,
    })
}

/// The sentence of a problem, or the first line of what is none.
fn detail(body: &[u8]) -> String {
    let problem: Option<Value> = serde_json::from_slice(body).ok();
    let detail = problem
        .as_ref()
        .and_then(|problem| problem["detail"].as_str());
    match detail {
        Some(detail) => detail.to_owned(),
        None => {
            let text = String::from_utf8_lossy(body);
            text.lines().next().unwrap_or_default().to_owned()
        }
    }
}

/// Runs the command; `config` is the file of `-c`, loaded.
pub(super) fn main(args: CtlArgs, config: Option<&Config>) -> ExitCode {
    finish(async |out: &mut Output| run(args, config, out).await)
}

async fn run(args: CtlArgs, config: Option<&Config>, out: &mut Output) -> Result<(), CtlError> {
    let target = match config {
        Some(config) => args.target.with_config(config),
        None => args.target,
    };
    let session = target.open().await?;
    out.json = args.json;
    match args.command {
        CtlCommand::List(args) => streams::list(&session, args, out).await,
        CtlCommand::Get(args) => streams::get(&session, &args, out).await,
        CtlCommand::Why(args) => streams::why(&session, &args, out).await,
        CtlCommand::Close(args) => streams::close(&session, args, out).await,
        CtlCommand::Send(args) => streams::send(&session, args, out).await,
        CtlCommand::Ping(args) => streams::ping(&session, &args, out).await,
        CtlCommand::Drain(options) => drain::drain(&session, &options, out).await,
        CtlCommand::Reload => {
            let mut results = Vec::new();
            for endpoint in &session.endpoints {
                let report = session
                    .call(endpoint, Method::POST, "/v1/reload", Content::Nothing)
                    .await;
                results.push(report);
            }
            out.each(&session.endpoints, results, reloaded)
        }
        CtlCommand::Status => {
            let mut results = Vec::new();
            for endpoint in &session.endpoints {
                results.push(session.status(endpoint).await);
            }
            out.each(&session.endpoints, results, status)
        }
    }
}

/// What a command prints, collected so that a closed pipe cannot break it off half-way.
#[derive(Default)]
pub(super) struct Output {
    pub(super) json: bool,
    pub(super) text: String,
}

impl Output {
    /// Shows the answer of each process: as it is for one, under its address for several.
    pub(super) fn each<T: serde::Serialize>(
        &mut self,
        endpoints: &[Endpoint],
        results: Vec<Result<T, CtlError>>,
        show: fn(&T) -> String,
    ) -> Result<(), CtlError> {
        let asked = results.len();
        let mut errors = Vec::new();
        let mut answers = Map::new();
        for (endpoint, result) in endpoints.iter().zip(results) {
            match result {
                Ok(answer) if self.json => {
                    let answer = serde_json::to_value(&answer).unwrap_or_default();
                    answers.insert(endpoint.to_string(), answer);
                }
                Ok(answer) => {
                    if asked > 1 {
                        let _ = writeln!(self.text, "{endpoint}");
                    }
                    self.text += &show(&answer);
                }
                Err(error) => errors.push(error),
            }
        }
        if self.json {
            let answer = match (asked, answers.len()) {
                (1, 1) => answers.into_iter().next().map(|(_, answer)| answer),
                (1, _) => None,
                _ => Some(Value::Object(answers)),
            };
            if let Some(answer) = answer {
                let _ = writeln!(self.text, "{answer:#}");
            }
        }
        collected(errors, asked)
    }
}

/// One error as it is; several are printed, so that each process has its line.
pub(super) fn collected(mut errors: Vec<CtlError>, asked: usize) -> Result<(), CtlError> {
    if asked == 1 {
        return errors.pop().map_or(Ok(()), Err);
    }
    for error in &errors {
        eprintln!("sidebeat: {error}");
    }
    match errors.len() {
        0 => Ok(()),
        failed => Err(CtlError::Some { failed, asked }),
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

fn reloaded(report: &ReloadReport) -> String {
    let mut text = format!("reloaded, generation {}\n", report.generation);
    for key in &report.restart_required {
        let _ = writeln!(text, "needs a restart: {key}");
    }
    text
}

fn status(status: &Status) -> String {
    let uptime = humantime::format_duration(Duration::from_secs(status.uptime_ms / 1000));
    let configuration = &status.configuration;
    let state = match serde_json::to_value(status.state) {
        Ok(Value::String(word)) => word,
        Ok(_) | Err(_) => String::new(),
    };
    let mut text = format!(
        "{state}, version {}, up {uptime}\nconfiguration {} since {}\n",
        status.version, configuration.generation, configuration.loaded_at
    );
    if let Some(error) = &configuration.last_error {
        let _ = writeln!(text, "last reload refused: {error}");
    }
    let listeners = status.listeners.iter().map(|(name, listener)| {
        [
            name.clone(),
            listener.address.clone(),
            listener.streams.to_string(),
            listener.closing.to_string(),
            listener.streams_limit.to_string(),
        ]
    });
    let heads = ["LISTENER", "ADDRESS", "STREAMS", "CLOSING", "LIMIT"];
    text += &table(heads, listeners.collect());
    let hooks = status.hooks.iter().map(|(name, hook)| {
        let state = if hook.disabled { "disabled" } else { "enabled" };
        [name.clone(), hook.queued.to_string(), state.to_owned()]
    });
    text += &table(["HOOK", "QUEUED", "STATE"], hooks.collect());
    if let Some(log) = &status.hook_log {
        text += &hook_log(log);
    }
    let certificates = status.certificates.iter().map(|certificate| {
        [
            certificate.listener.clone(),
            certificate.certificate.to_string(),
            certificate.not_after.clone(),
        ]
    });
    text += &table(
        ["LISTENER", "CERTIFICATE", "EXPIRES"],
        certificates.collect(),
    );
    text
}

fn hook_log(log: &HookLogStatus) -> String {
    let mut text = format!("\nhook log of {} bytes", log.bytes);
    if log.failing {
        text += ", CANNOT BE WRITTEN: new events would not survive a crash";
    }
    if log.skipped_bytes > 0 {
        let _ = write!(text, ", {} DAMAGED bytes skipped", log.skipped_bytes);
    }
    text.push('\n');
    text
}

/// Columns as wide as their widest cell behind an empty line; nothing for no rows.
fn table<const N: usize>(heads: [&str; N], rows: Vec<[String; N]>) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let mut lines = vec![heads.map(str::to_owned)];
    lines.extend(rows);
    format!("\n{}", columns(&lines))
}

/// Columns as wide as their widest cell.
fn columns<L: AsRef<[String]>>(lines: &[L]) -> String {
    let mut widths = Vec::new();
    for line in lines {
        widths.resize(widths.len().max(line.as_ref().len()), 0);
        for (width, cell) in widths.iter_mut().zip(line.as_ref()) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for line in lines {
        let mut row = String::new();
        for (width, cell) in widths.iter().zip(line.as_ref()) {
            let _ = write!(row, "{cell:width$}  ");
        }
        text += row.trim_end();
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;
    use crate::admin::Guards;
    use crate::admin::control::State;
    use crate::admin::fixture::{Asked, Plane, Script, status, tcp};

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
    async fn status_is_a_table_or_json() {
        let plane = Plane::open();
        let (result, text) = ctl(&plane, "status").await;
        result.unwrap();
        assert_eq!(
            text,
            "running, version 1.2.3, up 1m 1s\n\
             configuration 1 since 2026-01-01T00:00:00.000Z\n\
             \n\
             LISTENER  ADDRESS             STREAMS  CLOSING  LIMIT\n\
             chat      wss://0.0.0.0:8443  3        0        1000\n\
             \n\
             HOOK  QUEUED  STATE\n\
             app   0       enabled\n\
             \n\
             hook log of 4096 bytes\n\
             \n\
             LISTENER  CERTIFICATE  EXPIRES\n\
             chat      0            2027-01-01T00:00:00Z\n"
        );
        let (result, text) = ctl(&plane, "status --json").await;
        result.unwrap();
        let parsed: Status = serde_json::from_str(&text).unwrap();
        assert_eq!(parsed, status(State::Running, 3, 0));
    }

    #[test]
    fn a_hook_log_in_trouble_is_told_of() {
        let log = HookLogStatus {
            bytes: 7,
            failing: true,
            skipped_bytes: 42,
        };
        let text = hook_log(&log);
        assert_eq!(
            text,
            "\nhook log of 7 bytes, CANNOT BE WRITTEN: new events would not survive a crash, 42 DAMAGED bytes skipped\n"
        );
        let mut without = status(State::Running, 3, 0);
        without.hook_log = None;
        assert!(!super::status(&without).contains("hook log"));
    }

    #[tokio::test]
    async fn a_reload_shows_what_needs_a_restart_or_why_it_was_refused() {
        let plane = Plane::open();
        let (result, text) = ctl(&plane, "reload").await;
        result.unwrap();
        assert_eq!(text, "reloaded, generation 2\nneeds a restart: workers\n");
        assert_eq!(plane.asked(), [Asked::Reload]);
        let script = Script {
            reload: Err("sidebeat.yaml:3:5: unknown key".to_owned()),
            ..Script::default()
        };
        let plane = Plane::start(&tcp(), Guards::default(), script);
        let (result, text) = ctl(&plane, "reload").await;
        let error = result.unwrap_err().to_string();
        assert!(
            error.contains("422") && error.contains("sidebeat.yaml:3:5"),
            "{error}"
        );
        assert_eq!(text, "");
    }

    #[tokio::test]
    async fn the_token_comes_from_a_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        std::fs::write(&path, "s3cret\n").unwrap();
        let guards = Guards {
            token: Some(Token::read(&path).unwrap()),
            hosts: Vec::new(),
        };
        let plane = Plane::start(&tcp(), guards, Script::default());
        let (result, _) = ctl(&plane, "status").await;
        assert!(result.unwrap_err().to_string().contains("401"));
        let line = format!("status --token-file {}", path.display());
        ctl(&plane, &line).await.0.unwrap();
    }

    #[tokio::test]
    async fn several_processes_are_shown_under_their_addresses() {
        let planes = [Plane::open(), Plane::open()];
        let mut session = Session {
            endpoints: planes
                .iter()
                .map(|plane| Endpoint::Tcp(vec![plane.address()]))
                .collect(),
            token: None,
        };
        let [first, second] = [&planes[0], &planes[1]].map(Plane::address);
        let options = DrainOptions::default();
        let mut out = Output::default();
        drain::drain(&session, &options, &mut out).await.unwrap();
        let line = "draining 3 streams: openings are served for 1s, closes are spread over 1s\n";
        assert_eq!(out.text, format!("{first}\n{line}{second}\n{line}"));

        let gone = Plane::open().address();
        session.endpoints[1] = Endpoint::Tcp(vec![gone]);
        let mut out = Output {
            json: true,
            ..Output::default()
        };
        let result = drain::drain(&session, &options, &mut out).await;
        assert!(matches!(
            result,
            Err(CtlError::Some {
                failed: 1,
                asked: 2
            })
        ));
        let answers: Value = serde_json::from_str(&out.text).unwrap();
        assert_eq!(answers[first.to_string()]["streams"], 3);
        assert_eq!(answers.as_object().unwrap().len(), 1);
    }
}
