//! Why a client of the admin API failed.

use http::StatusCode;

use super::why::Ended;
use crate::admin::TokenError;
use crate::admin::client::{ClientError, Endpoint};

/// Why a call of the command line failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CtlError {
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
    #[error("it had ended before: {}", .0.sentence())]
    Ended(Box<Ended>),
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
