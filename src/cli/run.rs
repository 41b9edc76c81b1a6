//! `sidebeat run`: the proxy.

use std::process::ExitCode;

use super::{ConfigArgs, EXIT_CONFIG, run_args_to_source};
use crate::{log, server};

/// Loads the configuration, starts the log and serves until a signal ends it.
pub(super) fn main(args: ConfigArgs) -> ExitCode {
    let source = run_args_to_source(args);
    let config = match source.load() {
        Ok(config) => config,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(EXIT_CONFIG);
        }
    };
    match log::init(&config.log) {
        // The log is dropped, and with that written out, after everything else has ended.
        Ok(_log) => server::run(config, source),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(server::EXIT_OS)
        }
    }
}
