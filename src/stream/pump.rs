//! One direction: bytes of one side, scanned in place and written straight to the other.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use rand::RngExt;
use tokio::io::ReadBuf;

use super::first_message::{FirstMessage, Gathered};
use super::mailbox::{Mailbox, Next, Pinging};
use super::outbox::{Appetite, Outbox};
use crate::net::leg::Io;
use crate::proto::cause::End;
use crate::proto::framing::{Edge, Item, Payload, Scanner, Seal, Unfit, Violation};
use crate::proto::heart::{Heart, Pong, Time};
use crate::proto::websocket;
use crate::worker::{Message, SCRATCH, Worker};

/// One direction of a stream.
///
/// ```text
/// read from `from` ─▶ scratch [ held │ fresh bytes ] ─ scan ─▶ runs that pass ─▶ outbox ─▶ write to `from.other()`
/// ```
#[derive(Debug)]
pub(super) struct Pump {
    from: End,
    scanner: Scanner,
    /// The front of something that can only be judged whole; presented again with what comes next.
    held: Vec<u8>,
    pub(super) outbox: Outbox,
    wish: Option<Wish>,
}

/// What waits for a boundary in the bytes that pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    /// A heartbeat goes in at this edge.
    Heartbeat(Edge),
    /// The frame under way may finish; nothing passes after it.
    Stop,
    /// Everything passes up to a Close, which is kept back.
    LastWords,
}

/// What one turn of a stream needs besides its pumps.
pub(super) struct Turn<'a> {
    pub(super) worker: &'a Worker,
    pub(super) heart: &'a mut Heart,
    pub(super) now: Time,
    /// `ping.data` of the listener: the client's heartbeat is this instead of a Ping frame.
    pub(super) beat: Option<&'a Beat>,
    /// The heart learned of more than bytes and messages.
    pub(super) stirred: bool,
    pub(super) tally: [Tally; 2],
    pub(super) rtts: Vec<(End, Duration)>,
    pub(super) sent: [u64; 2],
    /// What the API has for the client.
    pub(super) mailbox: &'a mut Option<Box<Mailbox>>,
    /// Awaited where the first message may be the uid.
    pub(super) first_message: &'a mut Option<Box<FirstMessage>>,
    /// What it yielded.
    pub(super) uid: Option<Box<str>>,
}

impl Turn<'_> {
    /// `from` answered the heartbeat with this token, or one of data.
    fn answered(&mut self, from: End, token: Option<[u8; 8]>, rtt: Duration) {
        self.rtts.push((from, rtt));
        if let (End::Client, Some(mailbox)) = (from, &mut self.mailbox) {
            mailbox.answered(token, rtt);
        }
    }
}

/// What was read from one side in one turn.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Tally {
    pub(super) bytes: u64,
    pub(super) messages: u64,
    /// Something arrived, be it only ciphertext.
    pub(super) heard: bool,
}

/// An application heartbeat, ready for the wire.
#[derive(Debug)]
pub(crate) struct Beat(Vec<u8>);

impl Beat {
    /// The bytes of `data` on the wire: a message of its own on ws, as written elsewhere.
    pub(crate) fn new(data: &Payload, websocket: bool) -> Self {
        let mut wire = Vec::new();
        if websocket {
            let opcode = if data.binary {
                websocket::OPCODE_BINARY
            } else {
                websocket::OPCODE_TEXT
            };
            websocket::encode(opcode, &data.bytes, None, &mut wire);
        } else {
            wire.extend_from_slice(&data.bytes);
        }
        Self(wire)
    }
}

/// What one step of a pump came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Bytes moved; there may be more.
    Moved,
    /// Nothing to do until a socket says so.
    Dry,
}

/// Why a direction cannot go on as before.
#[derive(Debug)]
pub(super) enum Stop {
    /// FIN (TLS: close_notify).
    Eof,
    /// The side it reads from broke.
    ReadFailed(io::Error),
    /// The side it writes to broke.
    WriteFailed(io::Error),
    /// The side it reads from broke the protocol.
    Violated(Violation),
    /// A Close frame was read and put into the outbox.
    Close { code: Option<u16>, text: String },
    /// What was to be the last has passed.
    Boundary,
}

impl Pump {
    pub(super) fn new(from: End, scanner: Scanner) -> Self {
        Self {
            from,
            scanner,
            held: Vec::new(),
            outbox: Outbox::default(),
            wish: None,
        }
    }

    /// Where an insertion would land.
    pub(super) fn edge(&self) -> Edge {
        self.scanner.edge()
    }

    /// Wishes for something at a boundary, or takes the wish back.
    pub(super) fn wish(&mut self, wish: Option<Wish>) {
        self.wish = wish;
    }

    /// Writes what waits, then reads once and passes it on.
    pub(super) fn step<F: Io, T: Io>(
        &mut self,
        from: &mut F,
        to: &mut T,
        cx: &mut Context<'_>,
        turn: &mut Turn<'_>,
    ) -> Result<Step, Stop> {
        let worked = self.outbox.waits();
        if worked {
            self.flush(to, cx, turn)?;
            if self.outbox.waits() {
                return Ok(Step::Dry);
            }
        }
        self.post(self.edge(), to, cx, turn)?;
        if self.outbox.waits() {
            return Ok(Step::Dry);
        }
        let worker = turn.worker;
        let mut scratch = worker.scratch();
        let held = self.held.len();
        scratch[..held].copy_from_slice(&self.held);
        let raw = from.raw_bytes_read();
        let mut buffer = ReadBuf::new(&mut scratch[held..]);
        let read = Pin::new(&mut *from).poll_read(cx, &mut buffer);
        let fresh = buffer.filled().len();
        if fresh > 0 || from.raw_bytes_read() != raw {
            turn.heart.read(self.from, turn.now);
            turn.tally[self.from as usize].heard = true;
        }
        match read {
            Poll::Pending if worked => Ok(Step::Moved),
            Poll::Pending => Ok(Step::Dry),
            Poll::Ready(Err(error)) => Err(Stop::ReadFailed(error)),
            Poll::Ready(Ok(())) if fresh == 0 => Err(Stop::Eof),
            Poll::Ready(Ok(())) => {
                turn.tally[self.from as usize].bytes += fresh as u64;
                self.pass(&scratch[..held + fresh], to, cx, turn)?;
                Ok(Step::Moved)
            }
        }
    }

    /// Passes bytes that were read before the relay began.
    pub(super) fn pass_ahead<T: Io>(
        &mut self,
        ahead: &[u8],
        to: &mut T,
        cx: &mut Context<'_>,
        turn: &mut Turn<'_>,
    ) -> Result<(), Stop> {
        turn.heart.read(self.from, turn.now);
        turn.tally[self.from as usize].heard = true;
        turn.tally[self.from as usize].bytes += ahead.len() as u64;
        for piece in ahead.chunks(SCRATCH / 2) {
            let mut input = std::mem::take(&mut self.held);
            input.extend_from_slice(piece);
            self.pass(&input, to, cx, turn)?;
        }
        Ok(())
    }

    /// Reads and forgets; returns how many bytes there were.
    pub(super) fn discard<F: Io>(
        from: &mut F,
        cx: &mut Context<'_>,
        worker: &Worker,
    ) -> Poll<io::Result<usize>> {
        let mut scratch = worker.scratch();
        let mut buffer = ReadBuf::new(&mut scratch);
        Pin::new(from)
            .poll_read(cx, &mut buffer)
            .map_ok(|()| buffer.filled().len())
    }

    /// At the end of the input: what was held back to be judged whole passes as it is.
    pub(super) fn release<T: Io>(&mut self, to: &mut T, cx: &mut Context<'_>) -> io::Result<()> {
        let held = std::mem::take(&mut self.held);
        self.outbox.send(to, cx, &held)
    }

    /// Puts a heartbeat into this direction now.
    pub(super) fn beat<T: Io>(
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
    fn post<T: Io>(
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
    pub(super) fn fits(&self, message: &Message) -> Result<(), Unfit> {
        self.scanner
            .seal(&message.payload, message.binary)
            .map(drop)
    }

    /// Whether this direction knows the answer to a heartbeat of data.
    pub(super) fn knows_reply(&self) -> bool {
        self.scanner.knows_reply()
    }

    /// Moves what waits and tells the heart how the side takes it.
    pub(super) fn flush<T: Io>(
        &mut self,
        to: &mut T,
        cx: &mut Context<'_>,
        turn: &mut Turn<'_>,
    ) -> Result<(), Stop> {
        let end = self.from.other();
        let appetite = self.outbox.flush(to, cx).map_err(Stop::WriteFailed)?;
        turn.stirred |= appetite != Appetite::Free;
        match appetite {
            Appetite::Free => {}
            Appetite::Blocked => turn.heart.blocked(end, turn.now),
            Appetite::Progressed => turn.heart.progressed(end, turn.now),
            Appetite::Unblocked => turn.heart.unblocked(end, turn.now),
        }
        if let Some(token) = self.outbox.heartbeat_sent() {
            turn.stirred = true;
            turn.heart.ping_sent(end, token, turn.now);
            turn.sent[end as usize] += 1;
        }
        if let (End::Client, Some(mailbox)) = (end, &mut turn.mailbox) {
            mailbox.taken(self.outbox.taken());
        }
        Ok(())
    }

    /// Scans `input` and sends on every run of bytes that passes.
    fn pass<T: Io>(
        &mut self,
        input: &[u8],
        to: &mut T,
        cx: &mut Context<'_>,
        turn: &mut Turn<'_>,
    ) -> Result<(), Stop> {
        if !self.held.is_empty() {
            self.held = Vec::new();
        }
        let (mut start, mut at, mut messages) = (0, 0, 0);
        let mut stop = None;
        while at < input.len() {
            let item = match self.scanner.next(&input[at..]) {
                Ok(item) => item,
                Err(violation) => {
                    stop = Some(Stop::Violated(violation));
                    break;
                }
            };
            match item {
                Item::Data { len, edge, message } => {
                    if self.from == End::Client && turn.first_message.is_some() {
                        self.gather(&input[at..at + len], message, turn);
                    }
                    at += len;
                    messages += u64::from(message);
                    match self.wish {
                        Some(Wish::Heartbeat(wanted)) if edge >= wanted => {
                            self.send(&input[start..at], to, cx)?;
                            start = at;
                            self.beat(to, cx, turn)?;
                        }
                        Some(Wish::Stop) if edge >= Edge::Frame => {
                            stop = Some(Stop::Boundary);
                            break;
                        }
                        Some(_) | None => {}
                    }
                    if self.from == End::Upstream && edge >= Edge::Frame && turn.mailbox.is_some() {
                        self.send(&input[start..at], to, cx)?;
                        start = at;
                        self.post(edge, to, cx, turn)?;
                    }
                }
                Item::Ping { len } => {
                    at += len;
                    turn.heart.app_ping_passed(self.from.other());
                    turn.stirred = true;
                }
                Item::Pong { len, token } => {
                    turn.stirred = true;
                    if let Pong::Ours { rtt } = turn.heart.pong(self.from, token, turn.now) {
                        turn.answered(self.from, token, rtt);
                        self.send(&input[start..at], to, cx)?;
                        start = at + len;
                    }
                    at += len;
                }
                Item::Reply { len } => {
                    if let Some(rtt) = turn.heart.reply(turn.now) {
                        turn.answered(End::Client, None, rtt);
                    }
                    self.send(&input[start..at], to, cx)?;
                    at += len;
                    start = at;
                }
                Item::Close { .. } if self.wish == Some(Wish::LastWords) => {
                    stop = Some(Stop::Boundary);
                    break;
                }
                Item::Close { len, code, text } => {
                    at += len;
                    stop = Some(Stop::Close { code, text });
                    break;
                }
                Item::Incomplete => {
                    self.held = input[at..].to_vec();
                    break;
                }
            }
        }
        if messages > 0 {
            // All of them were heard at the same instant: the heart need not be told one by one.
            turn.heart.message(self.from, turn.now);
            turn.tally[self.from as usize].messages += messages;
        }
        self.send(&input[start..at], to, cx)?;
        self.flush(to, cx, turn)?;
        stop.map_or(Ok(()), Err)
    }

    /// Gathers the first message out of the data that passes.
    fn gather(&self, data: &[u8], ends: bool, turn: &mut Turn<'_>) {
        let Some(first) = turn.first_message else {
            return;
        };
        match first.take_in(data, ends, &self.scanner) {
            Gathered::More => {}
            Gathered::Uid(uid) => {
                turn.uid = Some(uid);
                *turn.first_message = None;
            }
            Gathered::Nothing => *turn.first_message = None,
        }
    }

    fn send<T: Io>(&mut self, run: &[u8], to: &mut T, cx: &mut Context<'_>) -> Result<(), Stop> {
        self.outbox.send(to, cx, run).map_err(Stop::WriteFailed)
    }
}
