//! The one future of an open stream: both directions, the heart and the closing.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use rand::RngExt;
use tokio::time::{Instant, Sleep};

use super::closing::{Closing, Ending, Reading, Writing};
use super::first_message::FirstMessage;
use super::live::Live;
use super::mailbox::Mailbox;
use super::pump::{Pump, Step, Stop, Tally, Turn};
use crate::net::leg::Io;
use crate::proto::cause::End;
use crate::proto::framing::Scanner;
use crate::proto::heart::{Heart, Kind, Time};

mod orders;
mod terms;
mod verdict;

pub use terms::Terms;

/// Reads of each side in one turn before the other streams of the worker get theirs.
const BUDGET: usize = 16;

/// A sleep that nobody waits for: far enough to cost nothing, near enough for the timer wheel.
const NEVER: Duration = Duration::from_secs(86_400 * 365);

/// An open stream: two byte pipes and one clock.
pub(super) struct Relay<C, U> {
    pub(super) client: C,
    pub(super) upstream: U,
    /// Client to upstream.
    pub(super) up: Pump,
    /// Upstream to client.
    pub(super) down: Pump,
    pub(super) reading: [Reading; 2],
    pub(super) writing: [Writing; 2],
    pub(super) kind: Kind,
    pub(super) heart: Heart,
    pub(super) live: Live,
    pub(super) terms: Arc<Terms>,
    /// `None` while the stream is open, which is when its size counts.
    pub(super) closing: Option<Box<Closing>>,
    /// The side whose FIN came first (raw TCP).
    pub(super) first_fin: Option<End>,
    /// A side that took no more bytes. What it said before is still read: its Close may be there.
    pub(super) broken: Option<Box<(End, io::Error)>>,
    /// What the API has for the client; `None` while there is nothing.
    pub(super) mailbox: Option<Box<Mailbox>>,
    first_message: Option<Box<FirstMessage>>,
    /// What was read before the relay began, until its first turn.
    ahead: Option<Box<Ahead>>,
    begun: bool,
    armed: Option<Instant>,
    /// Until then the heart has nothing new to say if it only hears bytes and messages; zero: it may.
    calm_until: Time,
}

/// Bytes that were read from each side before the relay began.
pub(super) type Ahead = [Bytes; 2];

impl<C: Io, U: Io> Relay<C, U> {
    /// A relay whose opening counts from now.
    pub(super) fn new(
        client: C,
        upstream: U,
        scanners: [Scanner; 2],
        kind: Kind,
        live: Live,
    ) -> Self {
        let [from_client, from_upstream] = scanners;
        let (now, _) = live.worker.clock.now();
        let seed = live.worker.random().random();
        let terms = live.local.shared.terms.load_full();
        Self {
            client,
            upstream,
            up: Pump::new(End::Client, from_client),
            down: Pump::new(End::Upstream, from_upstream),
            reading: [Reading::Passing; 2],
            writing: [Writing::Passing; 2],
            kind,
            heart: Heart::new(now, kind, seed),
            live,
            terms,
            closing: None,
            first_fin: None,
            broken: None,
            mailbox: None,
            first_message: None,
            ahead: None,
            begun: false,
            armed: None,
            calm_until: Time::default(),
        }
    }

    /// The same relay, which takes the client's first message for its uid.
    pub(super) fn awaiting_first_message(mut self) -> Self {
        self.first_message = Some(Box::default());
        self
    }

    /// Runs the stream to its very end.
    // Not an `async fn`: that would keep the arguments beside the variables made of them, and the future of every idle
    // stream would be twice as large.
    pub(super) fn run(mut self, ahead: Ahead) -> impl Future<Output = ()> {
        let read = ahead.iter().any(|bytes| !bytes.is_empty());
        self.ahead = read.then(|| Box::new(ahead));
        async move {
            let mut sleep = pin!(tokio::time::sleep(NEVER));
            poll_fn(|cx| self.turn(cx, sleep.as_mut())).await;
        }
    }

    fn turn(&mut self, cx: &mut Context<'_>, mut sleep: Pin<&mut Sleep>) -> Poll<()> {
        if !std::mem::replace(&mut self.begun, true) {
            self.live.worker.listen(self.live.entry.home, cx.waker());
        }
        if let Some(ahead) = self.ahead.take() {
            self.pass_ahead(&ahead, cx);
        }
        loop {
            let (now, instant) = self.live.worker.clock.now();
            if self.armed.is_some_and(|armed| armed <= instant) {
                self.armed = None;
            }
            self.obey(cx, now);
            while let Some((from, stop)) = self.pump(cx, now, instant) {
                self.stopped(from, stop, cx, now);
            }
            if let (None, Some(broken)) = (&self.closing, self.broken.take()) {
                let (end, error) = *broken;
                self.gone(end, &error.to_string(), cx, now);
                continue;
            }
            let until = match &self.closing {
                // Being heard only moves deadlines away: the timer that is armed will ask.
                None if self.is_calm(now) => return Poll::Pending,
                None => self.ask_heart(cx, now),
                Some(_) => match self.rest(cx, now) {
                    Poll::Pending => self.closing.as_deref().map(Closing::next),
                    Poll::Ready(()) => return Poll::Ready(()),
                },
            };
            if self.broken.is_some() || (self.closing.is_some() && until.is_none()) {
                continue;
            }
            if self.arm(until, sleep.as_mut(), cx).is_pending() {
                return Poll::Pending;
            }
        }
    }

    fn is_calm(&self, now: Time) -> bool {
        self.armed.is_some() && now < self.calm_until
    }

    /// Sets the timer only when the deadline came nearer: one that moved away is looked at when the timer fires.
    fn arm(
        &mut self,
        until: Option<Time>,
        mut sleep: Pin<&mut Sleep>,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        let Some(until) = until else {
            return Poll::Pending;
        };
        let until = self.live.worker.clock.instant(until);
        if self.armed.is_some_and(|armed| armed <= until) {
            return Poll::Pending;
        }
        self.armed = Some(until);
        sleep.as_mut().reset(until);
        sleep.poll(cx)
    }

    /// Moves bytes both ways until nothing moves; returns what a side did that needs a decision.
    fn pump(&mut self, cx: &mut Context<'_>, now: Time, instant: Instant) -> Option<(End, Stop)> {
        // The last words of a broken side are read to their end: there is only what its socket still holds.
        let budget = if self.broken.is_some() {
            usize::MAX
        } else {
            BUDGET
        };
        let (parts, mut turn) = self.split(now);
        let Parts {
            client,
            upstream,
            up,
            down,
            reading,
            writing,
            live,
        } = parts;
        let mut stopped = None;
        'turn: for steps in 1.. {
            let mut moved = false;
            for from in [End::Upstream, End::Client] {
                let states = (&mut *reading, &mut *writing);
                let step = match from {
                    End::Upstream => advance(down, upstream, client, from, states, cx, &mut turn),
                    End::Client => advance(up, client, upstream, from, states, cx, &mut turn),
                };
                match step {
                    Ok(step) => moved |= step == Step::Moved,
                    Err(stop) => {
                        // The other side is not read before this is decided: it may stop, too, and be told only once.
                        stopped = Some((from, stop));
                        break 'turn;
                    }
                }
            }
            if !moved {
                break;
            }
            if steps == budget {
                cx.waker().wake_by_ref();
                break;
            }
        }
        live.tell(&turn, instant);
        if turn.stirred {
            self.calm_until = Time::default();
        }
        self.mailbox.take_if(|mailbox| mailbox.is_empty());
        stopped
    }

    fn pass_ahead(&mut self, ahead: &Ahead, cx: &mut Context<'_>) {
        let (now, instant) = self.live.worker.clock.now();
        let present = End::BOTH.map(|end| (end, &ahead[end as usize]));
        let present = present.into_iter().filter(|(_, bytes)| !bytes.is_empty());
        // All of it was read before any of it ends the stream.
        let (parts, mut turn) = self.split(now);
        for (from, bytes) in present.clone() {
            turn.read(from, bytes.len());
        }
        parts.live.tell(&turn, instant);
        for (from, bytes) in present {
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
            let passed = match from {
                End::Client => up.pass_ahead(bytes, upstream, cx, &mut turn),
                End::Upstream => down.pass_ahead(bytes, client, cx, &mut turn),
            };
            live.tell(&turn, instant);
            if let Err(stop) = passed {
                self.stopped(from, stop, cx, now);
            }
        }
    }

    /// The parts of the relay that one turn works on, borrowed apart from each other.
    fn split(&mut self, now: Time) -> (Parts<'_, C, U>, Turn<'_>) {
        let Self {
            client,
            upstream,
            up,
            down,
            reading,
            writing,
            heart,
            live,
            terms,
            mailbox,
            first_message,
            ..
        } = self;
        let turn = Turn {
            worker: &live.worker,
            heart,
            now,
            beat: terms.beat.as_ref(),
            stirred: false,
            tally: [Tally::default(); 2],
            rtts: Vec::new(),
            sent: [0; 2],
            mailbox,
            first_message,
            uid: None,
        };
        (
            Parts {
                client,
                upstream,
                up,
                down,
                reading,
                writing,
                live,
            },
            turn,
        )
    }
}

struct Parts<'a, C, U> {
    client: &'a mut C,
    upstream: &'a mut U,
    up: &'a mut Pump,
    down: &'a mut Pump,
    reading: &'a mut [Reading; 2],
    writing: &'a mut [Writing; 2],
    live: &'a Live,
}

/// One step of one direction in whatever state its two sides are.
fn advance<F: Io, T: Io>(
    pump: &mut Pump,
    from: &mut F,
    to: &mut T,
    end: End,
    (reading, writing): (&mut [Reading; 2], &mut [Writing; 2]),
    cx: &mut Context<'_>,
    turn: &mut Turn<'_>,
) -> Result<Step, Stop> {
    let target = &mut writing[end.other() as usize];
    let step = match &mut reading[end as usize] {
        Reading::Passing => return pump.step(from, to, cx, turn),
        Reading::Discarding { left } => match Pump::discard(from, cx, turn.worker) {
            Poll::Pending => Step::Dry,
            Poll::Ready(Ok(0)) => return Err(Stop::Eof),
            Poll::Ready(Ok(count)) if count < *left => {
                *left -= count;
                Step::Moved
            }
            Poll::Ready(Ok(_)) => {
                return Err(Stop::ReadFailed(io::Error::other(
                    "too much data after its Close",
                )));
            }
            Poll::Ready(Err(error)) => return Err(Stop::ReadFailed(error)),
        },
        Reading::Ended => Step::Dry,
    };
    if *target != Writing::Ended {
        pump.flush(to, cx, turn)?;
        if let Writing::Ending(how) = *target
            && !pump.outbox.waits()
            && how.finish(to, cx).map_err(Stop::WriteFailed)?.is_ready()
        {
            *target = Writing::Ended;
            if how == Ending::Reset {
                reading[end.other() as usize] = Reading::Ended;
            }
            turn.stirred = true;
            turn.heart.half_closed(end, turn.now);
        }
    }
    Ok(step)
}
