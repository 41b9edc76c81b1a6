//! One direction: bytes of one side, scanned in place and written straight to the other.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::ReadBuf;

use super::first_message::Gathered;
use super::outbox::{Appetite, Outbox};
use crate::net::leg::Io;
use crate::proto::cause::End;
use crate::proto::framing::{Edge, Item, Scanner, Violation};
use crate::proto::heart::Pong;
use crate::worker::{SCRATCH, Worker};

mod insert;
mod splice;
mod turn;

pub(super) use turn::{Beat, Tally, Turn};

/// A side that has as much at once may have more: it pays to pass the rest of a frame, or of a raw direction, unseen.
const BULK: usize = 16 * 1024;

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
    held: Box<[u8]>,
    pub(super) outbox: Outbox,
    wish: Option<Wish>,
    /// The last read was a large one.
    bulk: bool,
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
            held: Box::default(),
            outbox: Outbox::default(),
            wish: None,
            bulk: false,
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
        if self.bulk
            && let Some(pipe) = self.pipe_for_rest(from, to, turn)
        {
            return self.splice(pipe, from, to, cx, turn);
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
            turn.read(self.from, fresh);
        }
        match read {
            Poll::Pending if worked => Ok(Step::Moved),
            Poll::Pending => Ok(Step::Dry),
            Poll::Ready(Err(error)) => Err(Stop::ReadFailed(error)),
            Poll::Ready(Ok(())) if fresh == 0 => Err(Stop::Eof),
            Poll::Ready(Ok(())) => {
                self.bulk = fresh >= BULK;
                self.pass(&scratch[..held + fresh], to, cx, turn)?;
                Ok(Step::Moved)
            }
        }
    }

    /// Passes bytes that were read before the relay began, and are counted.
    pub(super) fn pass_ahead<T: Io>(
        &mut self,
        ahead: &[u8],
        to: &mut T,
        cx: &mut Context<'_>,
        turn: &mut Turn<'_>,
    ) -> Result<(), Stop> {
        for piece in ahead.chunks(SCRATCH / 2) {
            let mut input = std::mem::take(&mut self.held).into_vec();
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
            self.held = Box::default();
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
                    if self.wish.is_some() || turn.mailbox.is_some() {
                        self.send(&input[start..at], to, cx)?;
                        start = at;
                        match self.at_edge(edge, to, cx, turn) {
                            Err(Stop::Boundary) => {
                                stop = Some(Stop::Boundary);
                                break;
                            }
                            reached => reached?,
                        }
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
                    self.held = input[at..].into();
                    break;
                }
            }
        }
        if messages > 0 {
            turn.message(self.from, messages);
        }
        self.send(&input[start..at], to, cx)?;
        self.flush(to, cx, turn)?;
        stop.map_or(Ok(()), Err)
    }

    /// What waits for an edge as this one goes in.
    fn at_edge<T: Io>(
        &mut self,
        edge: Edge,
        to: &mut T,
        cx: &mut Context<'_>,
        turn: &mut Turn<'_>,
    ) -> Result<(), Stop> {
        match self.wish {
            Some(Wish::Heartbeat(wanted)) if edge >= wanted => self.beat(to, cx, turn)?,
            Some(Wish::Stop) if edge >= Edge::Frame => return Err(Stop::Boundary),
            Some(_) | None => {}
        }
        if edge >= Edge::Frame {
            self.post(edge, to, cx, turn)?;
        }
        Ok(())
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
