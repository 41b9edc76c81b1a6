//! One connection between the proxy and a peer: two sockets and what lies between them.
//!
//! ```text
//! peer ─ push ─▶ under way ─ deliver ─▶ kernel ─ poll_read ─▶ [ TLS records ] ─▶ relay
//! peer ◀ take ── arrived  ◀─ deliver ── under way ◀ socket ◀─ [ TLS session ] ◀─ poll_write
//! ```

use std::collections::VecDeque;
use std::rc::Rc;
use std::task::Waker;

use rand::RngExt;
use rand::rngs::SmallRng;

use super::trace::{Ms, Trace, What};
use crate::proto::cause::End;

/// So late that it does not happen; even, as all that the world does.
pub(super) const NEVER: Ms = Ms::MAX - 1;

/// How a direction ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    Fin,
    Reset,
}

/// What a network is like.
#[derive(Debug, Clone)]
pub(super) struct Nature {
    /// Bytes that fit into each direction, sockets and wire together.
    pub(super) room: usize,
    /// The longest delay of a segment.
    pub(super) delay: Ms,
    /// The most bytes of one read or write.
    pub(super) chunk: usize,
    /// There is a TLS session that holds so many bytes at most.
    pub(super) tls: Option<usize>,
    /// A reactor that is late: what has arrived is not read at the first try.
    pub(super) stale: bool,
}

/// Segments on their way, oldest first.
#[derive(Default)]
pub(super) struct Flow {
    pub(super) segments: VecDeque<(Ms, Vec<u8>)>,
    pub(super) bytes: usize,
    pub(super) end: Option<(Ms, Ending)>,
    pub(super) last: Ms,
}

pub(super) struct Pipe {
    pub(super) end: End,
    pub(super) nature: Nature,
    pub(super) trace: Rc<Trace>,
    pub(super) random: SmallRng,
    /// From when to when nothing gets through.
    dark: Option<(Ms, Ms)>,
    inward: Flow,
    pub(super) kernel: VecDeque<u8>,
    pub(super) ended: Option<Ending>,
    pub(super) end_read: bool,
    pub(super) stale: bool,
    pub(super) sealed: VecDeque<u8>,
    /// Bytes until the end of each TLS record under way.
    pub(super) records: VecDeque<usize>,
    pub(super) raw_read: u64,
    pub(super) session: VecDeque<u8>,
    pub(super) raw_written: u64,
    pub(super) outward: Flow,
    arrived: Vec<u8>,
    said: Option<Ending>,
    /// `poll_write` and `poll_flush` said to wait.
    pub(super) waits: [bool; 2],
    pub(super) reset: bool,
    /// The proxy has ended what it sends.
    pub(super) shut: bool,
    pub(super) reader: Option<Waker>,
    pub(super) writer: Option<Waker>,
    /// Everything that the proxy read, and that its socket took.
    pub(super) from_peer: Vec<u8>,
    pub(super) to_peer: Vec<u8>,
}

impl Pipe {
    pub(super) fn new(end: End, nature: Nature, trace: Rc<Trace>, random: SmallRng) -> Self {
        Self {
            end,
            nature,
            trace,
            random,
            dark: None,
            inward: Flow::default(),
            kernel: VecDeque::new(),
            ended: None,
            end_read: false,
            stale: false,
            sealed: VecDeque::new(),
            records: VecDeque::new(),
            raw_read: 0,
            session: VecDeque::new(),
            raw_written: 0,
            outward: Flow::default(),
            arrived: Vec::new(),
            said: None,
            waits: [false; 2],
            reset: false,
            shut: false,
            reader: None,
            writer: None,
            from_peer: Vec::new(),
            to_peer: Vec::new(),
        }
    }

    /// Nothing gets through before `until`; what was sent meanwhile arrives then.
    pub(super) fn go_dark(&mut self, until: Ms) {
        self.dark = Some((self.trace.now(), until));
    }

    /// When a segment of now is at the other end. Even, as all that the world does.
    pub(super) fn arrival(&mut self, last: Ms) -> Ms {
        let now = self.trace.now();
        let at = now + 2 + self.random.random_range(0..=self.nature.delay);
        let at = match self.dark {
            Some((from, until)) if at >= from && at < until => until,
            Some(_) | None => at,
        };
        at.next_multiple_of(2).max(last)
    }

    /// The proxy has read `bytes` already.
    pub(super) fn read_ahead(&mut self, bytes: &[u8]) {
        let (from, plain) = (self.end, bytes.len());
        self.trace.note(What::Read {
            from,
            raw: plain,
            plain,
        });
        self.from_peer.extend(bytes);
    }

    /// The peer writes; returns how much there was room for.
    pub(super) fn push(&mut self, bytes: &[u8]) -> usize {
        let held = self.inward.bytes + self.kernel.len();
        let count = bytes.len().min(self.nature.room.saturating_sub(held));
        if count > 0 {
            let at = self.arrival(self.inward.last);
            self.inward.last = at;
            self.inward.bytes += count;
            self.inward
                .segments
                .push_back((at, bytes[..count].to_vec()));
            if self.nature.tls.is_some() {
                self.records.push_back(count);
            }
        }
        count
    }

    /// The peer sends its end.
    pub(super) fn finish(&mut self, ending: Ending) {
        let at = self.arrival(self.inward.last);
        self.inward.end.get_or_insert((at, ending));
    }

    /// What the peer reads; room for as much becomes free.
    pub(super) fn take(&mut self, most: usize) -> Vec<u8> {
        let count = most.min(self.arrived.len());
        if count > 0
            && let Some(writer) = self.writer.take()
        {
            writer.wake();
        }
        self.arrived.drain(..count).collect()
    }

    /// How the proxy ended, once the peer has read everything.
    pub(super) fn said(&self) -> Option<Ending> {
        self.said.filter(|_| self.arrived.is_empty())
    }

    /// When something arrives next.
    pub(super) fn next(&self) -> Option<Ms> {
        let of = |flow: &Flow| {
            let first = flow.segments.front().map(|(at, _)| *at);
            first
                .or(flow.end.map(|(at, _)| at))
                .filter(|at| *at < NEVER)
        };
        of(&self.inward).into_iter().chain(of(&self.outward)).min()
    }

    /// Moves what has arrived by `now`; `silently`: the reactor does not know yet.
    pub(super) fn deliver(&mut self, now: Ms, silently: bool) {
        let mut news = false;
        while let Some((_, bytes)) = self.inward.segments.pop_front_if(|(at, _)| *at <= now) {
            self.inward.bytes -= bytes.len();
            self.kernel.extend(&bytes);
            let (from, bytes) = (self.end, bytes.len());
            self.trace.note(What::Arrived { from, bytes });
            news = true;
        }
        if self.inward.segments.is_empty()
            && let Some((_, ending)) = self.inward.end.take_if(|(at, _)| *at <= now)
        {
            self.ended = Some(ending);
            let from = self.end;
            self.trace.note(What::Arrived { from, bytes: 0 });
            news = true;
            if ending == Ending::Reset
                && let Some(writer) = self.writer.take()
            {
                writer.wake();
            }
        }
        if news {
            self.stale = silently || self.nature.stale && self.random.random_bool(0.3);
            if !silently && let Some(reader) = self.reader.take() {
                reader.wake();
            }
        }
        while let Some((_, bytes)) = self.outward.segments.pop_front_if(|(at, _)| *at <= now) {
            self.outward.bytes -= bytes.len();
            self.arrived.extend(bytes);
        }
        if self.outward.segments.is_empty()
            && let Some((_, ending)) = self.outward.end.take_if(|(at, _)| *at <= now)
        {
            self.said = Some(ending);
        }
    }

    /// The reactor tells of what it was silent about.
    pub(super) fn report(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }

    pub(super) fn free(&self) -> usize {
        let held = self.outward.bytes + self.arrived.len();
        self.nature.room.saturating_sub(held)
    }

    pub(super) fn is_blocked(&self) -> bool {
        self.waits != [false; 2]
    }

    /// What must hold whenever everybody has had a turn and the stream is open; `other` is the pipe on its other side.
    pub(super) fn check(&self, other: &Self) {
        let end = self.end;
        let gone = self.ended == Some(Ending::Reset);
        assert!(
            self.session.is_empty() || self.free() == 0 || gone,
            "{end:?}: TLS holds bytes that the socket would take"
        );
        assert!(
            !self.waits[0] || self.free() == 0 || gone,
            "{end:?}: a write waits that the socket would take"
        );
        assert!(
            self.kernel.is_empty() && (self.ended.is_none() || self.end_read) || other.is_blocked(),
            "{end:?}: what has arrived is not read, though the other side takes what comes"
        );
    }
}
