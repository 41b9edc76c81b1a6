//! What goes into a direction besides the bytes of its side: heartbeats, and messages of the API.

use std::task::Context;

use rand::RngExt;

use super::{Beat, Pump, Stop, Turn};
use crate::net::leg::Io;
use crate::proto::cause::End;
use crate::proto::framing::{Edge, Seal, Unfit};
use crate::proto::websocket;
use crate::stream::mailbox::{Next, Pinging};
use crate::worker::{Message, SCRATCH};

impl Pump {
    /// Puts a heartbeat into this direction now.
    pub(in crate::stream) fn beat<T: Io>(
        &mut self,
        to: &mut T,
        cx: &mut Context<'_>,
        turn: &mut Turn<'_>,
    ) -> Result<(), Stop> {
        self.queue_heartbeat(to, cx, turn)?;
        self.flush(to, cx, turn)
    }

    /// Returns the token of a Ping frame.
    fn queue_heartbeat<T: Io>(
        &mut self,
        to: &mut T,
        cx: &mut Context<'_>,
        turn: &mut Turn<'_>,
    ) -> Result<Option<[u8; 8]>, Stop> {
        let end = self.from.other();
        self.wish = None;
        turn.heart.ping_queued(end);
        let (sent, token) = match turn.beat.filter(|_| end == End::Client) {
            Some(Beat(beat)) => (self.outbox.send_heartbeat(to, cx, beat, None), None),
            None => {
                let token: [u8; 8] = turn.worker.random().random();
                let mask = (end == End::Upstream).then(|| turn.worker.random().random());
                let mut frame = Vec::with_capacity(16);
                websocket::encode(websocket::OPCODE_PING, &token, mask, &mut frame);
                let sent = self.outbox.send_heartbeat(to, cx, &frame, Some(token));
                (sent, Some(token))
            }
        };
        sent.map_err(Stop::WriteFailed)?;
        Ok(token)
    }

    /// Puts in what the API has for the client, as far as it fits at `edge`, where this direction stands.
    pub(super) fn post<T: Io>(
        &mut self,
        edge: Edge,
        to: &mut T,
        cx: &mut Context<'_>,
        turn: &mut Turn<'_>,
    ) -> Result<(), Stop> {
        if self.from == End::Client {
            return Ok(());
        }
        while let Some(next) = self.take_next(edge, turn) {
            match next {
                Next::Ping => {
                    let token = self.queue_heartbeat(to, cx, turn)?;
                    if let Some(mailbox) = turn.mailbox {
                        mailbox.pinged(token);
                    }
                }
                Next::Message(message) => {
                    self.send_message(&message, to, cx)?;
                    if let Some(mailbox) = turn.mailbox {
                        mailbox.sent(self.outbox.end());
                    }
                }
            }
            self.flush(to, cx, turn)?;
        }
        Ok(())
    }

    fn take_next(&self, edge: Edge, turn: &mut Turn<'_>) -> Option<Next> {
        let mailbox = turn.mailbox.as_mut()?;
        let pinging = if self.outbox.has_heartbeat() || turn.heart.holds_off(End::Client) {
            Pinging::HeldOff
        } else if turn.beat.is_some() {
            Pinging::BetweenMessages
        } else {
            Pinging::BetweenFrames
        };
        mailbox.next(edge, pinging, turn.now)
    }

    fn send_message<T: Io>(
        &mut self,
        message: &Message,
        to: &mut T,
        cx: &mut Context<'_>,
    ) -> Result<(), Stop> {
        // It was sealed once before, by whoever took it in.
        let Ok(Seal { mut head, tail }) = self.scanner.seal(&message.payload, message.binary)
        else {
            return Ok(());
        };
        if message.payload.len() <= SCRATCH {
            // One write, so that a short message is one packet and one TLS record.
            head.extend_from_slice(&message.payload);
            head.extend_from_slice(tail);
            return self.send(&head, to, cx);
        }
        self.send(&head, to, cx)?;
        self.send(&message.payload, to, cx)?;
        self.send(tail, to, cx)
    }

    /// Whether `message` is one of this direction's framing.
    pub(in crate::stream) fn fits(&self, message: &Message) -> Result<(), Unfit> {
        self.scanner
            .seal(&message.payload, message.binary)
            .map(drop)
    }

    /// Whether this direction knows the answer to a heartbeat of data.
    pub(in crate::stream) fn knows_reply(&self) -> bool {
        self.scanner.knows_reply()
    }
}
