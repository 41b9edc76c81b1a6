//! What the heart says, and what comes of it: heartbeats, reports, the end.

use std::task::Context;

use super::{Parts, Relay};
use crate::net::leg::Io;
use crate::proto::cause::{Cause, End, Reason};
use crate::proto::framing::Edge;
use crate::proto::heart::{Place, Time, Verdict};
use crate::stream::closing::Reading;
use crate::stream::pump::{Pump, Wish};

impl<C: Io, U: Io> Relay<C, U> {
    /// Does what the heart says; returns when to ask it again.
    pub(super) fn ask_heart(&mut self, cx: &mut Context<'_>, now: Time) -> Option<Time> {
        loop {
            match self.heart.verdict(now, &self.terms.policy) {
                Verdict::Wait {
                    until,
                    ping_client,
                    ping_upstream,
                } => {
                    let placed = self.place(End::Client, ping_client, cx, now)
                        | self.place(End::Upstream, ping_upstream, cx, now);
                    if self.closing.is_some() {
                        return None;
                    }
                    if !placed {
                        let calm = self.terms.simple && ping_client.is_none();
                        self.calm_until = until.filter(|_| calm).unwrap_or_default();
                        let deadline = self.heart.deadline(&self.terms.policy);
                        self.live.note_deadline(deadline, self.terms.simple);
                        return until;
                    }
                }
                // Something came in behind the reactor's back: let it report before anybody is judged.
                Verdict::Close { reason, .. } | Verdict::Overdue { reason }
                    if self.has_unread(reason) =>
                {
                    self.heart.not_overdue(reason);
                    cx.waker().wake_by_ref();
                    return Some(Time(now.0 + 1));
                }
                Verdict::Close { reason, due } => {
                    self.end(Cause::new(reason), Some(due), cx, now);
                    return None;
                }
                Verdict::Overdue { reason } => self.live.overdue(reason, &self.terms.policy),
                Verdict::HeardAgain { after, .. } => self.live.heard_again(after),
            }
        }
    }

    /// Puts a due heartbeat for `to` in if the direction stands at a fitting edge, else leaves the wish with its pump.
    fn place(&mut self, to: End, place: Option<Place>, cx: &mut Context<'_>, now: Time) -> bool {
        let data = to == End::Client && self.terms.beat.is_some();
        let (
            Parts {
                client,
                upstream,
                up,
                down,
                live,
                ..
            },
            mut turn,
        ) = self.split(now);
        let pump = match to {
            End::Client => down,
            End::Upstream => up,
        };
        let wanted = match place {
            Some(Place::BetweenFrames) if !data => Edge::Frame,
            Some(Place::BetweenFrames | Place::BetweenMessages) => Edge::Message,
            None => {
                pump.wish(None);
                return false;
            }
        };
        if pump.edge() < wanted {
            pump.wish(Some(Wish::Heartbeat(wanted)));
            return false;
        }
        let sent = match to {
            End::Client => pump.beat(client, cx, &mut turn),
            End::Upstream => pump.beat(upstream, cx, &mut turn),
        };
        live.count_pings(&turn);
        if let Err(stop) = sent {
            self.stopped(to.other(), stop, cx, now);
        }
        true
    }

    /// Whether the side that is about to be judged silent has bytes in its socket that we have not read (rule 8).
    fn has_unread(&self, reason: Reason) -> bool {
        let judged: &[End] = match reason {
            Reason::ClientIdle | Reason::NoFirstMessage => &[End::Client],
            Reason::UpstreamIdle => &[End::Upstream],
            Reason::Quiet | Reason::HalfCloseTimeout => &End::BOTH,
            _ => &[],
        };
        judged.iter().any(|end| match end {
            End::Client => self.is_read(End::Client, &self.up) && self.client.has_input(),
            End::Upstream => self.is_read(End::Upstream, &self.down) && self.upstream.has_input(),
        })
    }

    fn is_read(&self, end: End, pump: &Pump) -> bool {
        self.reading[end as usize] == Reading::Passing && !pump.outbox.waits()
    }
}
