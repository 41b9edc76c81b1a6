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
use super::pump::{Beat, Pump, Step, Stop, Tally, Turn, Wish};
use crate::config::{self, Protocol};
use crate::net::leg::Io;
use crate::proto::cause::{Cause, End, Reason};
use crate::proto::framing::{Edge, Scanner};
use crate::proto::heart::{Heart, IdleCounts, Kind, Mode, Place, Policy, Time, Verdict};
use crate::worker::{Command, Manner, Message, Refusal};

/// Reads of each side in one turn before the other streams of the worker get theirs.
const BUDGET: usize = 16;

/// A sleep that nobody waits for: far enough to cost nothing, near enough for the timer wheel.
const NEVER: Duration = Duration::from_secs(86_400 * 365);

/// The limits of a listener as open streams use them; a reload replaces them as a whole.
#[derive(Debug)]
pub struct Terms {
    /// The heartbeat rules.
    pub policy: Policy,
    /// `ping.data`, ready for the wire.
    pub(crate) beat: Option<Beat>,
    /// How long a reload spreads the ends of streams beyond a lowered `max_age`.
    pub spread: Duration,
    /// The client's idle limit is the only deadline that can come nearer or go further by what is heard.
    simple: bool,
}

impl Terms {
    /// The limits of `config`; `spread` is `drain.spread`.
    pub fn new(config: &config::Listener, spread: Duration) -> Self {
        let websocket = matches!(config.protocol, Protocol::Ws | Protocol::Wss);
        let beat = config.ping_data.as_ref();
        Self {
            beat: beat.map(|data| Beat::new(data, websocket)),
            ..Self::of(config.heartbeat.clone(), spread)
        }
    }

    /// Limits without an application heartbeat.
    pub(crate) fn of(policy: Policy, spread: Duration) -> Self {
        let simple = is_simple(&policy);
        Self {
            policy,
            beat: None,
            spread,
            simple,
        }
    }
}

fn is_simple(policy: &Policy) -> bool {
    let others = [
        policy.quiet_limit,
        policy.upstream_idle_limit,
        policy.first_message_limit,
        policy.max_age,
    ];
    policy.mode == Mode::Enforce
        && policy.idle_counts == IdleCounts::Traffic
        && policy.upstream_ping.is_none()
        && others.iter().all(Option::is_none)
}

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
    armed: Option<Instant>,
    /// Until then the heart has nothing new to say if it only hears bytes and messages.
    calm_until: Option<Time>,
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
            armed: None,
            calm_until: None,
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
        let mut ahead =
            Some(Box::new(ahead)).filter(|ahead| ahead.iter().any(|bytes| !bytes.is_empty()));
        let mut begun = false;
        async move {
            let mut sleep = pin!(tokio::time::sleep(NEVER));
            poll_fn(|cx| {
                if !std::mem::replace(&mut begun, true) {
                    self.live.worker.listen(self.live.entry.home, cx.waker());
                }
                if let Some(ahead) = ahead.take() {
                    self.pass_ahead(&ahead, cx);
                }
                self.turn(cx, sleep.as_mut())
            })
            .await;
        }
    }

    fn turn(&mut self, cx: &mut Context<'_>, mut sleep: Pin<&mut Sleep>) -> Poll<()> {
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
        self.armed.is_some() && self.calm_until.is_some_and(|until| now < until)
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

    fn obey(&mut self, cx: &mut Context<'_>, now: Time) {
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
                    self.calm_until = None;
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
        for steps in 1.. {
            let mut moved = false;
            for from in [End::Upstream, End::Client] {
                let states = (&mut *reading, &mut *writing);
                let step = match from {
                    End::Upstream => advance(down, upstream, client, from, states, cx, &mut turn),
                    End::Client => advance(up, client, upstream, from, states, cx, &mut turn),
                };
                match step {
                    Ok(step) => moved |= step == Step::Moved,
                    Err(stop) => stopped = stopped.or(Some((from, stop))),
                }
            }
            if stopped.is_some() || !moved {
                break;
            }
            if steps == budget {
                cx.waker().wake_by_ref();
                break;
            }
        }
        live.tell(&turn, instant);
        if turn.stirred {
            self.calm_until = None;
        }
        self.mailbox.take_if(|mailbox| mailbox.is_empty());
        stopped
    }

    fn pass_ahead(&mut self, ahead: &Ahead, cx: &mut Context<'_>) {
        let (now, instant) = self.live.worker.clock.now();
        for from in End::BOTH {
            let bytes = &ahead[from as usize];
            if bytes.is_empty() {
                continue;
            }
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

    /// Does what the heart says; returns when to ask it again.
    fn ask_heart(&mut self, cx: &mut Context<'_>, now: Time) -> Option<Time> {
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
                        self.calm_until = until.filter(|_| calm);
                        let deadline = self.heart.deadline(&self.terms.policy);
                        self.live.note_deadline(deadline, self.terms.simple);
                        return until;
                    }
                }
                Verdict::Close { reason, due } => {
                    if self.has_unread(reason) {
                        // Something came in behind the reactor's back: let it report before anybody is judged.
                        cx.waker().wake_by_ref();
                        return Some(Time(now.0 + 1));
                    }
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
