//! The two ends of the comparison: `app` answers, `load` asks; both are one thread that costs as little as it can,
//! because they share a CPU with the proxy between them.
#![forbid(unsafe_code)]

mod app;
mod bulk;
mod client;
mod echo;
mod idle;
mod incoming;
mod load;
mod opening;
mod time;
mod watch;

use std::collections::HashMap;
use std::error::Error;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const USAGE: &str = "
side-by-side app    --listen ADDR --kind ws|bulk
side-by-side echo   --to ADDR --streams N (--in-flight N | --rate MESSAGES-A-SECOND) --size BYTES --warm SECONDS --seconds SECONDS [--ca FILE] [--watch PIDS]
side-by-side bulk   --to ADDR --direction up|down --bytes N [--ca FILE] [--watch PIDS]
side-by-side open   --to ADDR --count N --parallel N [--resume true] [--ca FILE] [--watch PIDS]
side-by-side idle   --to ADDR --streams N [--touch BYTES] [--ca FILE]
side-by-side rest   --to ADDR --streams N --settle SECONDS --seconds SECONDS [--ca FILE] [--watch PIDS]
side-by-side silent --to ADDR --streams N --rate STREAMS-A-SECOND --limit SECONDS [--ca FILE]

PIDS are groups of processes whose CPU is measured: 12,13:14 is two groups. Results are one JSON object a line on stdout.
`idle` ends with its standard input. `app` prints for each line on its standard input when it saw which silent streams end.";

/// `--name value` pairs.
pub struct Options(HashMap<String, String>);

impl Options {
    fn parse(arguments: impl Iterator<Item = String>) -> Result<Self> {
        let mut options = HashMap::new();
        let mut arguments = arguments.peekable();
        while let Some(name) = arguments.next() {
            let name = name.strip_prefix("--").ok_or(USAGE)?.to_owned();
            options.insert(name, arguments.next().ok_or(USAGE)?);
        }
        Ok(Self(options))
    }

    /// The text of an option that must be there.
    pub fn text(&self, name: &str) -> Result<&str> {
        self.optional(name).ok_or_else(|| format!("--{name} is missing{USAGE}").into())
    }

    /// The text of an option that may be there.
    pub fn optional(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// A number that must be there.
    pub fn number<T: std::str::FromStr>(&self, name: &str) -> Result<T> {
        self.text(name)?.parse().map_err(|_| format!("--{name} is no number").into())
    }
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let command = arguments.next().ok_or(USAGE)?;
    let options = Options::parse(arguments)?;
    match command.as_str() {
        "app" => app::run(&options),
        "echo" => echo::echo(&options),
        "bulk" => bulk::bulk(&options),
        "open" => opening::open(&options),
        "idle" => idle::idle(&options),
        "rest" => idle::rest(&options),
        "silent" => idle::silent(&options),
        _ => Err(USAGE.into()),
    }
}
