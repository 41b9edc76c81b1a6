//! What the API asks of streams, and what it is answered.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rand::RngExt;
use tokio::sync::oneshot::{self, Receiver, error::TryRecvError};

use super::pipe::NEVER;
use super::trace::Ms;
use super::world::{Stream, World};
use crate::proto::cause::{Cause, Reason};
use crate::registry::Rebind;
use crate::worker::{Command, Manner, Message, Refusal};

pub(super) struct Ask {
    pub(super) what: What,
    /// When the caller loses patience.
    until: Ms,
}

pub(super) enum What {
    Send {
        /// As it is on the wire.
        unit: Vec<u8>,
        answer: Answer<Result<(), Refusal>>,
    },
    Ping(Answer<Result<Duration, Refusal>>),
    Cut(Answer<()>),
}

/// What became of a question.
pub(super) enum Answer<T> {
    Owed(Receiver<T>),
    Given(T),
    /// The stream dropped it.
    Dropped,
    /// The caller went away.
    GivenUp,
}

impl<T> Answer<T> {
    fn turn(&mut self, late: bool) {
        if let Self::Owed(receiver) = self {
            match receiver.try_recv() {
                Ok(answer) => *self = Self::Given(answer),
                Err(TryRecvError::Closed) => *self = Self::Dropped,
                Err(TryRecvError::Empty) if late => *self = Self::GivenUp,
                Err(TryRecvError::Empty) => {}
            }
        }
    }

    fn is_owed(&self) -> bool {
        matches!(self, Self::Owed(_))
    }
}

impl Ask {
    pub(super) fn turn(&mut self, now: Ms) {
        let late = now >= self.until;
        match &mut self.what {
            What::Send { answer, .. } => answer.turn(late),
            What::Ping(answer) => answer.turn(late),
            What::Cut(answer) => answer.turn(late),
        }
    }

    pub(super) fn next(&self, now: Ms) -> Ms {
        if self.until > now && self.is_owed() {
            self.until
        } else {
            NEVER
        }
    }

    fn is_owed(&self) -> bool {
        match &self.what {
            What::Send { answer, .. } => answer.is_owed(),
            What::Ping(answer) => answer.is_owed(),
            What::Cut(answer) => answer.is_owed(),
        }
    }

    /// Its stream is gone: nobody may wait for it any more.
    pub(super) fn settle(&mut self, now: Ms) {
        self.turn(now);
        assert!(!self.is_owed(), "an answer is owed by nobody");
    }
}

impl World {
    fn tell(&mut self, place: usize, now: Ms, command: Command, what: What) {
        let patience = match self.plan.random.random_range(0..3) {
            0 => self.plan.random.random_range(0..3000),
            _ => 5000,
        };
        let until = (now + 2 + patience).next_multiple_of(2);
        let Stream { home, id, .. } = self.streams[place];
        self.streams[place].asks.push(Ask { what, until });
        self.ground.worker.command(home.slot, id, command);
    }

    /// A message for a client, unlike any other.
    pub(super) fn send(&mut self, place: usize, now: Ms) {
        let size = match self.plan.random.random_range(0..6) {
            0 => self.plan.random.random_range(0..70_000),
            _ => self.plan.random.random_range(0..300),
        };
        let number = self.streams[place].asks.len();
        let mut payload = format!("API {number} ").into_bytes();
        payload.resize(payload.len() + size, b'*');
        let binary = self.plan.random.random();
        let unit = self.plan.wire.seal(&payload, binary);
        let (reply, answer) = oneshot::channel();
        let message = Arc::new(Message {
            payload: Bytes::from(payload),
            binary,
        });
        let answer = Answer::Owed(answer);
        let command = Command::Send { message, reply };
        self.tell(place, now, command, What::Send { unit, answer });
    }

    pub(super) fn ping(&mut self, place: usize, now: Ms) {
        let (reply, answer) = oneshot::channel();
        let what = What::Ping(Answer::Owed(answer));
        self.tell(place, now, Command::Ping { reply }, what);
    }

    pub(super) fn cut(&mut self, place: usize, now: Ms) {
        let (reply, answer) = oneshot::channel();
        let manner = if self.plan.random.random_bool(0.8) {
            Manner::Goodbye
        } else {
            Manner::Reset
        };
        let command = Command::Cut {
            cause: Cause::new(Reason::AdminClose),
            manner,
            reply,
        };
        self.tell(place, now, command, What::Cut(Answer::Owed(answer)));
    }

    pub(super) fn bind(&mut self, place: usize) {
        let uid = ["ann", "bob"][self.plan.random.random_range(0..2)];
        let id = self.streams[place].id;
        if self.streams[place].trace.over().is_none() {
            let change = Rebind {
                uid: Some(Some(uid.into())),
                ..Rebind::default()
            };
            self.ground.worker.shared.registry.rebind(id, &change);
            self.books.borrow_mut().bind(id, uid);
        }
    }
}
