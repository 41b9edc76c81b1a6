//! The time between the cause and the end of both connections.

use std::task::{Context, Poll};

use super::{Reading, Writing};
use crate::net::leg::Io;
use crate::proto::cause::End;
use crate::proto::framing::Edge;
use crate::proto::heart::Time;
use crate::stream::pump::{Stop, Wish};
use crate::stream::relay::Relay;

impl<C: Io, U: Io> Relay<C, U> {
    /// A side did something after the cause was fixed.
    pub(super) fn stopped_in_closing(&mut self, from: End, stop: Stop, cx: &mut Context<'_>) {
        let to = from.other();
        if !matches!(stop, Stop::WriteFailed(_))
            && let Some(closing) = &mut self.closing
            && closing
                .last_words
                .take_if(|(offender, _)| *offender == to)
                .is_some()
        {
            self.finish(from);
        }
        match stop {
            Stop::Eof => self.reading[from as usize] = Reading::Ended,
            Stop::ReadFailed(_) => {
                self.lose(from);
                self.reset(from);
                self.reading[from as usize] = Reading::Ended;
            }
            Stop::WriteFailed(_) => return self.lose(to),
            Stop::Close { .. } => {
                self.finish(from);
                self.forget(from);
            }
            Stop::Violated(_) | Stop::Boundary => self.forget(from),
        }
        if self.writing[to as usize] == Writing::Finishing && self.edge(to) != Edge::Inside {
            return self.send_close(to, cx);
        }
        self.finish(to);
    }

    /// Ready when both sides are done, or when their time is up and what was not done has been reset.
    pub(in crate::stream) fn rest(&mut self, cx: &mut Context<'_>, now: Time) -> Poll<()> {
        if let Some(closing) = &mut self.closing
            && let Some((offender, _)) = closing.last_words.take_if(|(_, until)| *until <= now)
        {
            self.cut_short(offender, cx);
        }
        self.note_written(now);
        let late = self
            .closing
            .as_ref()
            .is_none_or(|closing| closing.until <= now);
        if late && !self.ended() {
            self.reset_unfinished();
        }
        if late || self.ended() {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }

    /// Whether nothing is left to be done for either side.
    fn ended(&self) -> bool {
        End::BOTH.iter().all(|&end| {
            let (reading, writing) = (self.reading[end as usize], self.writing[end as usize]);
            reading == Reading::Ended && writing == Writing::Ended
        })
    }

    /// `close_timeout` for the answer of a peer starts when the Close it answers is written out.
    fn note_written(&mut self, now: Time) {
        let until = self.close_deadline(now);
        let Some(awaited) = self.closing.as_ref().and_then(|closing| closing.awaited) else {
            return;
        };
        if !self.outbox(awaited).waits()
            && let Some(closing) = &mut self.closing
        {
            closing.awaited = None;
            closing.until = until;
        }
    }

    /// Time is up: what has not ended by itself is reset.
    fn reset_unfinished(&mut self) {
        for end in End::BOTH {
            let done = self.reading[end as usize] == Reading::Ended
                && self.writing[end as usize] == Writing::Ended;
            if !done {
                self.reset(end);
            }
        }
    }

    /// The other side said nothing final in time: what it is saying may end with its frame.
    fn cut_short(&mut self, to: End, cx: &mut Context<'_>) {
        self.finish(to.other());
        cx.waker().wake_by_ref();
        if self.writing[to as usize] != Writing::Finishing {
            return;
        }
        if self.edge(to) == Edge::Inside {
            self.wish(to, Some(Wish::Stop));
        } else {
            self.forget(to.other());
            self.send_close(to, cx);
        }
    }
}
