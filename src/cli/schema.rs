//! `sidebeat schema`: JSON Schemas for editors and checks.

use std::process::ExitCode;

use crate::{config, hook};

/// Arguments of `schema`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Of what.
    #[arg(value_enum)]
    of: Of,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Of {
    /// The configuration file.
    Config,
    /// The events of the hooks.
    Events,
}

/// Prints a schema.
pub(super) fn schema(args: &Args) -> ExitCode {
    let schema = match args.of {
        Of::Config => config::schema(),
        Of::Events => hook::schema(),
    };
    super::print(&format!("{schema:#}\n"))
}
