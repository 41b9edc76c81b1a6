//! What the API has for a client: messages that go between those of the app, and pings on demand.
//!
//! ```text
//! obey ─▶ letters ─▶ in flight (bytes in the outbox) ─▶ answered: the socket has the last byte
//!         wanted  ─▶ asked     (a heartbeat is out)  ─▶ answered: the pong or reply is there
//! ```

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::proto::framing::Edge;
use crate::proto::heart::Time;
use crate::worker::{Message, Refusal};

/// The most bytes of messages that may wait for one client; a single message may be as large.
const WAITING: usize = 1024 * 1024;

/// How long a ping waits for the end of a message before it goes between two frames of it: half of what its caller
/// waits, as rule 3 has half an interval.
const PATIENCE: Duration = Duration::from_millis(2500);

type Sent = oneshot::Sender<Result<(), Refusal>>;
type Answered = oneshot::Sender<Result<Duration, Refusal>>;

/// The mailbox of one stream. It exists only while something is in it.
#[derive(Debug, Default)]
pub(super) struct Mailbox {
    letters: VecDeque<Letter>,
    /// The message whose bytes are in the outbox; one at a time, so that a slow client holds one and no more.
    in_flight: Option<InFlight>,
    /// Callers whose ping has not been sent.
    wanted: Option<Wanted>,
    /// Callers whose ping has been sent. One at a time: the heart knows the last four tokens, its own among them.
    asked: Option<Asked>,
}

#[derive(Debug)]
struct Letter {
    message: Arc<Message>,
    reply: Sent,
}

#[derive(Debug)]
struct InFlight {
    /// The position in the outbox behind its last byte.
    end: u64,
    reply: Sent,
}

#[derive(Debug)]
struct Wanted {
    since: Time,
    replies: Vec<Answered>,
}

#[derive(Debug)]
struct Asked {
    /// Of a Ping frame; `None` for a heartbeat of data.
    token: Option<[u8; 8]>,
    replies: Vec<Answered>,
}

/// What goes into the direction to the client next.
#[derive(Debug)]
pub(super) enum Next {
    /// A message; `sent` is told where it ends.
    Message(Arc<Message>),
    /// A heartbeat; `pinged` is told its token.
    Ping,
}

/// Whether a ping may go out now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pinging {
    /// A heartbeat as data: a message of its own.
    BetweenMessages,
    /// A Ping frame.
    BetweenFrames,
    /// Not now: one is on its way out, or an app's own is unanswered.
    HeldOff,
}

impl Mailbox {
    /// Takes a message, if there is room for it.
    pub(super) fn post(&mut self, message: Arc<Message>, reply: Sent) {
        self.forget_the_impatient();
        let waiting: usize = self
            .letters
            .iter()
            .map(|letter| letter.message.payload.len())
            .sum();
        if !self.letters.is_empty() && waiting + message.payload.len() > WAITING {
            // Whoever asked and went away does not need the answer; likewise below.
            let _ = reply.send(Err(Refusal::Full));
        } else {
            self.letters.push_back(Letter { message, reply });
        }
    }

    /// Takes a wish for a ping; those that come before it is sent share it.
    pub(super) fn want_ping(&mut self, reply: Answered, now: Time) {
        self.forget_the_impatient();
        let wanted = self.wanted.get_or_insert_with(|| Wanted {
            since: now,
            replies: Vec::new(),
        });
        wanted.replies.push(reply);
    }

    /// Takes out what fits at `edge`.
    pub(super) fn next(&mut self, edge: Edge, pinging: Pinging, now: Time) -> Option<Next> {
        if self.asked.is_none()
            && self
                .wanted
                .as_ref()
                .is_some_and(|wanted| wanted.fits(edge, pinging, now))
        {
            let replies = self
                .wanted
                .take()
                .map(|wanted| wanted.replies)
                .unwrap_or_default();
            self.asked = Some(Asked {
                token: None,
                replies,
            });
            return Some(Next::Ping);
        }
        if edge < Edge::Message || self.in_flight.is_some() {
            return None;
        }
        while let Some(Letter { message, reply }) = self.letters.pop_front() {
            if !reply.is_closed() {
                // Told its end by `sent`, before anything else can look.
                self.in_flight = Some(InFlight {
                    end: u64::MAX,
                    reply,
                });
                return Some(Next::Message(message));
            }
        }
        None
    }

    /// The message of `next` ends at this position of the outbox.
    pub(super) fn sent(&mut self, end: u64) {
        if let Some(in_flight) = &mut self.in_flight {
            in_flight.end = end;
        }
    }

    /// The heartbeat of `next` has this token.
    pub(super) fn pinged(&mut self, token: Option<[u8; 8]>) {
        if let Some(asked) = &mut self.asked {
            asked.token = token;
        }
    }

    /// The client's socket has everything up to this position.
    pub(super) fn taken(&mut self, position: u64) {
        if let Some(InFlight { reply, .. }) = self
            .in_flight
            .take_if(|in_flight| in_flight.end <= position)
        {
            let _ = reply.send(Ok(()));
        }
    }

    /// The client answered the heartbeat with this token, or one of data.
    pub(super) fn answered(&mut self, token: Option<[u8; 8]>, rtt: Duration) {
        if let Some(Asked { replies, .. }) = self.asked.take_if(|asked| asked.token == token) {
            for reply in replies {
                let _ = reply.send(Ok(rtt));
            }
        }
    }

    /// The stream is over: nothing more goes in. What is in flight may still arrive.
    pub(super) fn close(&mut self) {
        *self = Self {
            in_flight: self.in_flight.take(),
            ..Self::default()
        };
    }

    /// Whether nobody waits for anything.
    pub(super) fn is_empty(&self) -> bool {
        self.letters.is_empty()
            && self.in_flight.is_none()
            && self.wanted.is_none()
            && self.asked.is_none()
    }

    /// Drops what nobody waits for any longer: a message that was not begun in time must never arrive.
    fn forget_the_impatient(&mut self) {
        self.letters.retain(|letter| !letter.reply.is_closed());
        self.wanted.take_if(|wanted| all_closed(&wanted.replies));
        self.asked.take_if(|asked| all_closed(&asked.replies));
    }
}

impl Wanted {
    fn fits(&self, edge: Edge, pinging: Pinging, now: Time) -> bool {
        match pinging {
            Pinging::HeldOff => false,
            Pinging::BetweenMessages => edge == Edge::Message,
            Pinging::BetweenFrames if now.saturating_since(self.since) < PATIENCE => {
                edge == Edge::Message
            }
            Pinging::BetweenFrames => edge >= Edge::Frame,
        }
    }
}

fn all_closed(replies: &[Answered]) -> bool {
    replies.iter().all(oneshot::Sender::is_closed)
}
