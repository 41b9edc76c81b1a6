//! How a stream ends (rule 10): who gets a Close, who a FIN, who a reset, and how long it may take.
//!
//! ```text
//! cause fixed ─▶ each side: [ the frame under way may finish ─▶ ] Close ─▶ FIN      (or FIN alone, or reset)
//!                           read and discard until its FIN
//! both sides done, or close_timeout, or 1 MiB discarded ─▶ what is not done is reset
//! ```

use std::io;
use std::task::Context;
use std::time::Duration;

use super::pump::{Stop, Wish};
use super::relay::Relay;
use crate::net::leg::Io;
use crate::proto::cause::{Cause, End, Reason};
use crate::proto::framing::{Edge, Violation};
use crate::proto::heart::{Kind, Time};
use crate::registry::record::Evidence;

mod rest;
mod sides;

pub(super) use sides::{Ending, Reading, Writing};

/// A stream whose cause is fixed.
#[derive(Debug)]
pub(super) struct Closing {
    /// When what is left is reset.
    pub(super) until: Time,
    /// A Close is on its way to this side, whose answer is awaited: `close_timeout` starts when it is written out.
    awaited: Option<End>,
    /// The offender, and until when it still gets what the other side says.
    last_words: Option<(End, Time)>,
    cause: Cause,
}

impl Closing {
    /// When the next step is due.
    pub(super) fn next(&self) -> Time {
        self.last_words
            .map_or(self.until, |(_, until)| until.min(self.until))
    }
}

impl<C: Io, U: Io> Relay<C, U> {
    /// A side did something that needs a decision.
    pub(super) fn stopped(&mut self, from: End, stop: Stop, cx: &mut Context<'_>, now: Time) {
        if self.closing.is_some() {
            return self.stopped_in_closing(from, stop, cx);
        }
        match stop {
            Stop::Eof if self.kind == Kind::WebSocket => {
                self.gone(from, "the connection ended without a Close", cx, now)
            }
            Stop::Eof => self.half_close(from, cx, now),
            Stop::ReadFailed(error) => self.gone(from, &error.to_string(), cx, now),
            Stop::WriteFailed(error) => self.broke(from.other(), error),
            Stop::Violated(violation) => {
                let reason = match violation {
                    Violation::Protocol(_) => Reason::ProtocolError,
                    Violation::TooBig { .. } => Reason::MessageTooBig,
                };
                let cause =
                    Cause::new(reason).with_detail(format!("{}: {violation}", from.as_str()));
                self.end_by(cause, Some(from), None, cx, now);
            }
            Stop::Close { code, text } => self.peer_closed(from, code, text, now),
            Stop::Boundary => {}
        }
    }

    /// The end of `end` without a goodbye.
    pub(super) fn gone(&mut self, end: End, detail: &str, cx: &mut Context<'_>, now: Time) {
        let reason = match end {
            End::Client => Reason::ClientGone,
            // An app that stops during a drain takes its connections with it; to the client that is the drain.
            End::Upstream if self.live.draining() => Reason::Drain,
            End::Upstream => Reason::UpstreamGone,
        };
        self.reading[end as usize] = Reading::Ended;
        self.lose(end);
        let cause = match reason {
            Reason::Drain => self.live.drain_cause(),
            _ => Cause::new(reason).with_detail(detail.to_owned()),
        };
        self.end_by(cause, Some(end), None, cx, now);
    }

    /// Ends the stream for `cause`, whose deadline, if one made it, was `due`.
    pub(super) fn end(&mut self, cause: Cause, due: Option<Time>, cx: &mut Context<'_>, now: Time) {
        let silent = match cause.reason {
            Reason::ClientIdle | Reason::ClientStalled | Reason::NoFirstMessage => {
                Some(End::Client)
            }
            Reason::UpstreamIdle | Reason::UpstreamStalled => Some(End::Upstream),
            _ => None,
        };
        self.end_by(cause, silent, due, cx, now);
    }

    /// Ends the stream by resetting both sides at once.
    pub(super) fn abort(&mut self, cause: Cause, now: Time) {
        let cause = cause.with_code(None);
        self.over(cause.clone(), None, now);
        self.close(cause, None, now);
        if let Some(closing) = &mut self.closing {
            closing.until = now;
        }
    }

    /// Fixes the cause for everybody who looks; called before `closing` is set.
    fn over(&mut self, cause: Cause, late: Option<Duration>, now: Time) {
        let judged = match cause.reason {
            Reason::UpstreamIdle | Reason::UpstreamStalled => End::Upstream,
            _ => End::Client,
        };
        let policy = &self.terms.policy;
        let (silent, asked_after) = self.heart.silence(judged, policy, now);
        let evidence = Evidence::new(silent, &asked_after);
        self.live.over(cause, late, policy.idle_limit, evidence);
        if let Some(mailbox) = &mut self.mailbox {
            mailbox.close();
        }
    }

    /// Fixes the cause. The frames of the side at `fault` cannot be waited for.
    fn end_by(
        &mut self,
        cause: Cause,
        fault: Option<End>,
        due: Option<Time>,
        cx: &mut Context<'_>,
        now: Time,
    ) {
        let cause = if self.kind == Kind::WebSocket {
            cause
        } else {
            cause.with_code(None)
        };
        let late = due.map(|due| Duration::from_nanos(now.0.saturating_sub(due.0)));
        self.over(cause.clone(), late, now);
        let offended = self.kind == Kind::WebSocket
            && matches!(cause.reason, Reason::ProtocolError | Reason::MessageTooBig);
        let reset = self.kind != Kind::WebSocket
            && matches!(cause.reason, Reason::ClientGone | Reason::UpstreamGone);
        self.close(cause, None, now);
        for to in End::BOTH {
            let from = to.other();
            if self.writing[to as usize] == Writing::Ended {
                self.forget(from);
                continue;
            }
            if offended && fault == Some(to) {
                self.hear_out(to, now);
                continue;
            }
            let edge = self.edge(to);
            if reset {
                self.writing[to as usize] = Writing::Ending(Ending::Reset);
            } else if self.kind != Kind::WebSocket || (edge == Edge::Inside && fault == Some(from))
            {
                self.writing[to as usize] = Writing::Ending(Ending::Fin);
            } else if edge == Edge::Inside {
                self.writing[to as usize] = Writing::Finishing;
                self.wish(to, Some(Wish::Stop));
                continue;
            } else {
                self.send_close(to, cx);
                if offended && self.writing[to as usize] != Writing::Ended {
                    // A client library that sees Close and FIN at once drops what it was about to say.
                    self.writing[to as usize] = Writing::Passing;
                }
            }
            self.forget(from);
        }
        let hears_out = self
            .closing
            .as_ref()
            .is_some_and(|closing| closing.last_words.is_some());
        if let Some(offender) = fault.filter(|_| offended && !hears_out) {
            self.finish(offender.other());
        }
    }

    /// A peer's Close has passed: the other's Close may pass back.
    fn peer_closed(&mut self, from: End, code: Option<u16>, text: String, now: Time) {
        let reason = match from {
            End::Client => Reason::ClientClose,
            End::Upstream => Reason::UpstreamClose,
        };
        let mut cause = Cause::new(reason).with_code(code);
        cause.text = text.into();
        self.over(cause.clone(), None, now);
        let to = from.other();
        self.close(cause, Some(to), now);
        self.forget(from);
        if self.broken.take().is_some() {
            // The closer takes no more bytes: nobody is left to answer.
            self.lose(from);
            self.writing[to as usize] = Writing::Ending(Ending::Fin);
        }
    }

    fn close(&mut self, cause: Cause, awaited: Option<End>, now: Time) {
        // Boxed, like everything that an open stream does without: it would be a tenth of what an idle stream keeps.
        self.closing = Some(Box::new(Closing {
            until: self.close_deadline(now),
            awaited,
            last_words: None,
            cause,
        }));
    }

    /// Raw TCP: a FIN is passed on behind what came before it.
    fn half_close(&mut self, from: End, cx: &mut Context<'_>, now: Time) {
        let to = from.other();
        self.reading[from as usize] = Reading::Ended;
        if let (End::Upstream, Some(mailbox)) = (from, &mut self.mailbox) {
            mailbox.close();
        }
        let released = match from {
            End::Client => self.up.release(&mut self.upstream, cx),
            End::Upstream => self.down.release(&mut self.client, cx),
        };
        if let Err(error) = released {
            return self.broke(to, error);
        }
        self.finish(to);
        let first = *self.first_fin.get_or_insert(from);
        if self.reading[to as usize] != Reading::Ended {
            return self.live.entry.figures.set_half_closed();
        }
        let cause = Cause::new(match first {
            End::Client => Reason::ClientClose,
            End::Upstream => Reason::UpstreamClose,
        });
        self.over(cause.clone(), None, now);
        self.close(cause, None, now);
    }

    /// `end` takes no more bytes. What it said before is still read, and decides what the stream is said to have ended of.
    fn broke(&mut self, end: End, error: io::Error) {
        self.lose(end);
        if self.broken.is_none() {
            self.broken = Some(Box::new((end, error)));
        }
    }

    fn close_deadline(&self, now: Time) -> Time {
        Time(
            now.0
                .saturating_add(self.terms.policy.close_timeout.as_nanos() as u64),
        )
    }
}
