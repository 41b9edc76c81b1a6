//! `sidebeat check`: whether a configuration can be used, and what follows from it.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use super::{ConfigArgs, EXIT_CONFIG, run_args_to_source};
use crate::config::{Config, UnitError, format_duration, parse_duration};
use crate::server;

mod detection;
mod warnings;

/// Arguments of `check`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Hold the longest drain against the pod's terminationGracePeriodSeconds.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    grace: Option<Duration>,
    #[command(flatten)]
    config: ConfigArgs,
}

fn duration(text: &str) -> Result<Duration, UnitError> {
    parse_duration(text)
}

/// Loads the configuration, prints what follows from it; 0 or 78.
pub(super) fn check(args: Args) -> ExitCode {
    let source = run_args_to_source(args.config);
    let checked = source
        .load()
        .map_err(|error| error.to_string())
        .and_then(|config| {
            server::preflight(&config).map_err(|error| error.to_string())?;
            Ok(config)
        });
    match checked {
        Ok(config) => super::print(&report(&config, args.grace)),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(EXIT_CONFIG)
        }
    }
}

/// Everything that `check` prints about a good configuration.
fn report(config: &Config, grace: Option<Duration>) -> String {
    let mut text = String::from("the configuration is good\n");
    for (name, listener) in &config.listeners {
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "\nlistener {name}: {}://{} to {}",
            listener.protocol.as_str(),
            listener.listen,
            listener.upstream.url
        );
        for line in detection::lines(listener) {
            let _ = writeln!(text, "  {line}");
        }
        for warning in warnings::of_listener(listener) {
            let _ = writeln!(text, "  warning: {warning}");
        }
    }
    for (name, hook) in &config.hooks {
        let events: Vec<&str> = hook.events.iter().map(|event| event.as_str()).collect();
        let _ = writeln!(text, "\nhook {name}: {}", events.join(", "));
        for warning in warnings::of_hook(config, hook) {
            let _ = writeln!(text, "  warning: {warning}");
        }
    }
    if let Some(grace) = grace {
        let _ = write!(text, "\n{}", drain(config, grace));
    }
    text
}

/// The longest drain, term by term, against the grace period.
fn drain(config: &Config, grace: Duration) -> String {
    let close_timeout = config
        .listeners
        .values()
        .map(|listener| listener.heartbeat.close_timeout)
        .max()
        .unwrap_or_default();
    let terms = [
        ("delay", config.drain.delay),
        ("spread", config.drain.spread),
        ("close_timeout", close_timeout),
        ("hook_flush", config.drain.hook_flush),
    ];
    let longest: Duration = terms.iter().map(|(_, duration)| *duration).sum();
    let sum: Vec<String> = terms
        .iter()
        .map(|(name, duration)| format!("{name} {}", format_duration(*duration)))
        .collect();
    let mut text = format!(
        "a drain takes at most {}: {}\nthe app needs a preStop sleep of {}\n",
        format_duration(longest),
        sum.join(" + "),
        format_duration(config.drain.delay + config.drain.spread + close_timeout),
    );
    if longest > grace {
        let _ = writeln!(
            text,
            "warning: the grace period of {} ends {} before the drain: raise terminationGracePeriodSeconds to {}, or lower spread",
            format_duration(grace),
            format_duration(longest - grace),
            longest.as_secs() + 1,
        );
    }
    text
}

#[cfg(test)]
mod tests;
