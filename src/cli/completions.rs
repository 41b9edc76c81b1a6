//! `sidebeat completions`: a completion script for a shell.

use std::process::ExitCode;

use clap::CommandFactory as _;

/// Arguments of `completions`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// For which shell.
    #[arg(value_enum)]
    shell: clap_complete::Shell,
}

/// Prints a completion script.
pub(super) fn completions(args: &Args) -> ExitCode {
    let mut script = Vec::new();
    let mut command = super::Cli::command();
    clap_complete::generate(args.shell, &mut command, "sidebeat", &mut script);
    super::print(&String::from_utf8_lossy(&script))
}
