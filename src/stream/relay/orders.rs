//! What others want of an open stream: the API, a drain, a reload.

use std::task::Context;

use super::Relay;
use crate::net::leg::Io;
use crate::proto::cause::End;
use crate::proto::heart::{Kind, Time};
use crate::stream::closing::Writing;
use crate::stream::mailbox::Mailbox;
use crate::worker::{Command, Manner, Message, Refusal};

impl<C: Io, U: Io> Relay<C, U> {
    pub(super) fn obey(&mut self, cx: &mut Context<'_>, now: Time) {
        for command in self.live.worker.commands(self.live.entry.home) {
            match command {
                Command::Close(cause) => {
                    if self.closing.is_none() {
                        self.end(cause, None, cx, now);
                    }
                }
                Command::Cut {
                    cause,
                    manner,
                    reply,
                } => {
                    if self.closing.is_none() {
                        match manner {
                            Manner::Goodbye => self.end(cause, None, cx, now),
                            Manner::Reset => self.abort(cause, now),
                        }
                        // A caller that hung up does not need its answer; likewise below.
                        let _ = reply.send(());
                    }
                }
                Command::Send { message, reply } => {
                    if self.closing.is_none() {
                        match self.takes(&message) {
                            Ok(()) => self.mailbox().post(message, reply),
                            Err(refusal) => drop(reply.send(Err(refusal))),
                        }
                    }
                }
                Command::Ping { reply } => {
                    if self.closing.is_none() {
                        match self.takes_ping() {
                            Ok(()) => self.mailbox().want_ping(reply, now),
                            Err(refusal) => drop(reply.send(Err(refusal))),
                        }
                    }
                }
                Command::PolicyChanged => {
                    let terms = self.live.local.shared.terms.load_full();
                    self.heart
                        .policy_changed(&self.terms.policy, &terms.policy, now, terms.spread);
                    self.live.entry.figures.set_overdue(false);
                    self.terms = terms;
                    self.calm_until = Time::default();
                    self.armed = None;
                }
            }
        }
    }

    fn mailbox(&mut self) -> &mut Mailbox {
        self.mailbox.get_or_insert_default()
    }

    /// Whether a message can go to the client at all.
    fn takes(&self, message: &Message) -> Result<(), Refusal> {
        if self.kind == Kind::Raw {
            return Err(Refusal::Raw);
        }
        if self.writing[End::Client as usize] != Writing::Passing {
            return Err(Refusal::HalfClosed);
        }
        Ok(self.down.fits(message)?)
    }

    /// Whether the client can be asked, and can answer.
    fn takes_ping(&self) -> Result<(), Refusal> {
        let frames = self.kind == Kind::WebSocket && self.terms.beat.is_none();
        if self.kind == Kind::Raw {
            Err(Refusal::Raw)
        } else if self.writing[End::Client as usize] != Writing::Passing {
            Err(Refusal::HalfClosed)
        } else if frames || (self.terms.beat.is_some() && self.up.knows_reply()) {
            Ok(())
        } else {
            Err(Refusal::NoReply)
        }
    }
}
