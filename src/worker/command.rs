//! What a stream is asked to do from outside its worker, and what it answers.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;
use uuid::Uuid;

use super::Home;
use crate::proto::cause::Cause;
use crate::proto::framing::Unfit;

/// What a stream is asked to do. A stream that is over drops what it is told, and with it the way to answer.
#[derive(Debug)]
pub enum Command {
    /// End for this cause.
    Close(Cause),
    /// End as a call of the API asks; answered when this was what ended the stream.
    Cut {
        /// Why.
        cause: Cause,
        /// How both ends are told.
        manner: Manner,
        /// For whoever asked.
        reply: oneshot::Sender<()>,
    },
    /// Put a message between those of the app to the client.
    Send {
        /// What to put in; a broadcast shares it.
        message: Arc<Message>,
        /// Answered when the client's socket has taken the last byte of it.
        reply: oneshot::Sender<Result<(), Refusal>>,
    },
    /// Ask the client for a sign of life now.
    Ping {
        /// Answered with the round trip.
        reply: oneshot::Sender<Result<Duration, Refusal>>,
    },
    /// The listener's limits were replaced.
    PolicyChanged,
}

/// How the ends of a stream are told that it is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    /// Close and FIN, as rule 10 has it.
    Goodbye,
    /// Both connections are reset at once.
    Reset,
}

/// A message of the API for clients.
#[derive(Debug)]
pub struct Message {
    /// Its content, without any framing.
    pub payload: Bytes,
    /// On ws: a binary message, else text. The caller has made sure that text is UTF-8.
    pub binary: bool,
}

/// Why a stream does not do what it is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Nobody knows where a message of raw bytes begins or ends.
    #[error("the listener has `framing: raw`, which knows no messages")]
    Raw,
    /// A heartbeat that no answer is configured for.
    #[error("the listener has no `ping.reply`, by which the client could answer")]
    NoReply,
    /// The app has sent FIN, and it was passed on.
    #[error("the app has ended its side, nothing more may be written to the client")]
    HalfClosed,
    /// The message is no record of the listener's framing.
    #[error(transparent)]
    Unfit(#[from] Unfit),
    /// Earlier messages of the API fill what may wait.
    #[error("the client has not taken earlier messages yet")]
    Full,
}

/// A way to the streams, from any thread.
#[derive(Clone)]
pub struct Post(Arc<dyn Fn(Home, Uuid, Command) + Send + Sync>);

impl Post {
    /// A way that hands everything to `deliver`, which must not block.
    pub fn new(deliver: impl Fn(Home, Uuid, Command) + Send + Sync + 'static) -> Self {
        Self(Arc::new(deliver))
    }

    /// Tells the stream `id` something; one that has ended does not hear it.
    pub fn command(&self, home: Home, id: Uuid, command: Command) {
        (self.0)(home, id, command);
    }
}
