//! Commands and flags; each command is a file beside this one.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser as _;

use crate::config::{Config, ConfigSource, Flags};

mod check;
mod completions;
mod ctl;
mod demo;
mod drain;
mod healthcheck;
mod receive;
mod run;
mod schema;

/// Exit code for a configuration that cannot be used (EX_CONFIG of sysexits.h).
pub const EXIT_CONFIG: u8 = 78;

/// A liveness proxy: terminates TLS, relays WebSocket and TCP streams, pings clients, closes the silent ones and tells the app.
#[derive(Debug, clap::Parser)]
#[command(name = "sidebeat", version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Run the proxy.
    Run(Box<ConfigArgs>),
    /// Validate configuration, certificates and hooks, and say what follows from them.
    Check(check::Args),
    /// Show everything in one process: an echo app, the proxy before it, a hook receiver.
    Demo(demo::Args),
    /// Ask and steer a running proxy.
    Ctl(ctl::CtlArgs),
    /// Begin a drain, as a preStop hook does.
    Drain(drain::DrainArgs),
    /// Ask whether the proxy is ready, for container images.
    Healthcheck(healthcheck::HealthcheckArgs),
    /// Receive hook events, verify and print them.
    Receive(receive::Args),
    /// Print a JSON Schema.
    Schema(schema::Args),
    /// Print a completion script for a shell.
    Completions(completions::Args),
}

/// Where the configuration comes from: a file, or the flags of one listener.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ConfigArgs {
    /// Configuration file (YAML).
    #[arg(short, long, env = "SIDEBEAT_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// One listener without a file, and what overrides the file.
    #[command(flatten)]
    pub flags: Flags,
}

/// The source that the arguments of `run` and `check` describe.
pub fn run_args_to_source(args: ConfigArgs) -> ConfigSource {
    // A template leaves an empty variable where nothing was meant.
    let file = args.config.filter(|path| !path.as_os_str().is_empty());
    ConfigSource::new(file, args.flags)
}

/// Does what the command line says; usage errors end the process with 2.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    match Cli::parse_from(arguments).command {
        Command::Run(args) => run::main(*args),
        Command::Demo(args) => demo::main(args),
        Command::Ctl(args) => {
            with_file(args.target.config.clone(), |config| ctl::main(args, config))
        }
        Command::Drain(args) => with_file(args.target.config.clone(), |config| {
            drain::main(args, config)
        }),
        Command::Healthcheck(args) => with_file(args.target.config.clone(), |config| {
            healthcheck::main(args, config)
        }),
        Command::Receive(args) => receive::main(args),
        Command::Check(args) => check::check(args),
        Command::Schema(args) => schema::schema(&args),
        Command::Completions(args) => completions::completions(&args),
    }
}

/// Runs a client of the admin API with the addresses of a configuration file, if one is named.
fn with_file(file: Option<PathBuf>, command: impl FnOnce(Option<&Config>) -> ExitCode) -> ExitCode {
    let Some(file) = file else {
        return command(None);
    };
    match ConfigSource::new(Some(file), Flags::default()).load() {
        Ok(config) => command(Some(&config)),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(EXIT_CONFIG)
        }
    }
}

/// Writes to standard output; a reader that has seen enough (`| head`) is no failure.
fn print(text: &str) -> ExitCode {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cannot write to standard output: {error}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_flag_of_one_listener_has_its_variable() {
        let command = Cli::command();
        let check = command.find_subcommand("check").unwrap();
        let mut seen = 0;
        for argument in check
            .get_arguments()
            .filter(|a| a.get_long() != Some("grace"))
        {
            let long = argument.get_long().unwrap();
            let expected = format!("SIDEBEAT_{}", long.replace('-', "_").to_uppercase());
            assert_eq!(argument.get_env().unwrap().to_str(), Some(&*expected));
            seen += 1;
        }
        assert_eq!(seen, 13);
    }

    #[test]
    fn an_empty_file_name_is_none() {
        let args = ConfigArgs {
            config: Some(PathBuf::new()),
            flags: Flags::default(),
        };
        assert_eq!(run_args_to_source(args).file, None);
    }
}
