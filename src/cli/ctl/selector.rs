//! Which streams a command is about, and how the API is told.

use std::fmt;

use clap::Args;
use uuid::Uuid;

use super::CtlError;

/// Which stream.
#[derive(Debug, Clone, Args)]
pub(crate) struct StreamArgs {
    /// Id of the stream
    pub(crate) id: Uuid,
}

/// Which streams are meant.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub(crate) struct SelectorArgs {
    /// Only streams of this listener
    #[arg(long, value_name = "NAME")]
    listener: Option<String>,
    /// Only streams of this uid
    #[arg(long)]
    uid: Option<String>,
    /// Only streams with this tag; several must all be there
    #[arg(long)]
    tag: Vec<String>,
    /// Only streams of this client or network
    #[arg(long, value_name = "ADDRESS|CIDR")]
    client: Option<String>,
    /// Only streams whose client was silent for longer than this
    #[arg(long, value_name = "DURATION")]
    idle_over: Option<String>,
    /// Only streams open for longer than this
    #[arg(long, value_name = "DURATION")]
    age_over: Option<String>,
}

impl SelectorArgs {
    /// The query that says the same.
    pub(super) fn query(&self) -> Query {
        let mut query = Query::default();
        query.maybe("listener", self.listener.as_deref());
        query.maybe("uid", self.uid.as_deref());
        for tag in &self.tag {
            query.add("tag", tag);
        }
        query.maybe("client", self.client.as_deref());
        query.maybe("idle_over", self.idle_over.as_deref());
        query.maybe("age_over", self.age_over.as_deref());
        query
    }
}

/// One stream, or all that match.
#[derive(Debug, Clone, Args)]
pub(crate) struct Meant {
    /// Id of the stream; or a selector, or --all
    #[arg(conflicts_with_all = ["listener", "uid", "tag", "client", "idle_over", "age_over", "all"])]
    pub(super) id: Option<Uuid>,
    /// Which streams
    #[command(flatten)]
    selector: SelectorArgs,
    /// Every stream
    #[arg(long)]
    all: bool,
}

impl Meant {
    /// The query that says which, empty for an id; to say nothing at all is an error before anything is asked.
    pub(super) fn query(&self) -> Result<Query, CtlError> {
        if self.id.is_none() && !self.all && self.selector == SelectorArgs::default() {
            return Err(CtlError::Flag {
                flag: "all",
                problem: "write the id of a stream, a selector such as --uid 42, or --all"
                    .to_owned(),
            });
        }
        let mut query = self.selector.query();
        if self.all {
            query.add("all", "true");
        }
        Ok(query)
    }
}

/// The query of a URL with its question mark, or nothing if it has no parts.
#[derive(Default)]
pub(super) struct Query(String);

impl Query {
    pub(super) fn add(&mut self, name: &str, value: &str) {
        self.0.push(if self.0.is_empty() { '?' } else { '&' });
        self.0 += name;
        self.0.push('=');
        for byte in value.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                self.0.push(char::from(byte));
            } else {
                self.0 += &format!("%{byte:02X}");
            }
        }
    }

    pub(super) fn maybe(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.add(name, value);
        }
    }
}

impl fmt::Display for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use crate::cli::ctl::tests::{args, parse};

    #[test]
    fn an_id_and_a_selector_exclude_each_other() {
        let id = Uuid::now_v7();
        for flag in ["--uid 1", "--tag a", "--all", "--spread 1s"] {
            let line = format!("ctl close {id} {flag}");
            assert!(parse(&line).is_err(), "{line}");
        }
        args(&format!("close {id} --code 4000"));
    }
}
