//! One stream from its beginning to its end, as those outside of the proxy know it.

use std::sync::Arc;

use super::ask::{Answer, What as Asked};
use super::trace::{Ms, What};
use super::wire::{Kind, Unit, Wire};
use super::world::{Stream, World};
use crate::proto::cause::End;
use crate::registry::record::ClosedRecord;

pub(super) struct Story {
    pub(super) wire: Wire,
    pub(super) trace: Vec<(Ms, What)>,
    /// The place in the trace at which the stream was over.
    pub(super) over: usize,
    pub(super) record: Arc<ClosedRecord>,
    /// Bytes that the proxy read of each end, and that each end's socket took.
    pub(super) from: [Vec<u8>; 2],
    pub(super) to: [Vec<u8>; 2],
    /// What each end said, as far as it kept to the rules; up to a Close.
    pub(super) said: [Vec<Unit>; 2],
    /// From this byte on an end broke the rules.
    pub(super) bad_from: [Option<usize>; 2],
    pub(super) beat: Option<Vec<u8>>,
    pub(super) reply: Option<Vec<u8>>,
    /// Messages of the API on the wire: `Some(true)` says it arrived, `Some(false)` that it never will.
    pub(super) messages: Vec<(Vec<u8>, Option<bool>)>,
    pub(super) cut: bool,
    /// Since when the process drained.
    pub(super) drains: Option<Ms>,
}

impl Story {
    pub(super) fn of(world: &World, stream: &Stream) -> Self {
        let trace = stream.trace.entries();
        let over = trace
            .iter()
            .position(|(_, what)| matches!(what, What::Over));
        let pipes = stream.pipes.each_ref().map(|pipe| pipe.borrow());
        let from = pipes.each_ref().map(|pipe| pipe.from_peer.clone());
        let wire = world.plan.wire;
        let bad_from = End::BOTH.map(|end| {
            let bytes = &from[end as usize];
            let too_long = world
                .plan
                .longest
                .and_then(|most| too_long(&wire.units(bytes, 0), most));
            let broken = stream.peers[end as usize].bad_from;
            broken.into_iter().chain(too_long).min()
        });
        let said = End::BOTH.map(|end| {
            let bytes = &from[end as usize];
            let good = bad_from[end as usize].unwrap_or(usize::MAX);
            let mut units = wire.units(&bytes[..good.min(bytes.len())], 0);
            let close = units.iter().position(|unit| unit.kind == Kind::Close);
            units.truncate(close.map_or(usize::MAX, |place| place + 1));
            units
        });
        let messages = stream.asks.iter().filter_map(|ask| match &ask.what {
            Asked::Send { unit, answer } => {
                let arrived = match answer {
                    Answer::Given(answer) => Some(answer.is_ok()),
                    Answer::Owed(_) | Answer::Dropped | Answer::GivenUp => None,
                };
                Some((unit.clone(), arrived))
            }
            Asked::Ping(_) | Asked::Cut(_) => None,
        });
        let record = world.books.borrow().record(stream.id).cloned();
        Self {
            wire,
            trace,
            over: over.expect("it is over"),
            record: record.expect("it has a closing record"),
            to: pipes.each_ref().map(|pipe| pipe.to_peer.clone()),
            from,
            said,
            bad_from,
            beat: world.plan.beat.clone(),
            reply: stream.reply.clone(),
            messages: messages.collect(),
            cut: stream
                .asks
                .iter()
                .any(|ask| matches!(ask.what, Asked::Cut(_))),
            drains: world.drains,
        }
    }

    /// The places in the trace at which the proxy had read `end`'s bytes up to each of `offsets`, which rise.
    pub(super) fn read_at(&self, end: End, offsets: impl Iterator<Item = usize>) -> Vec<usize> {
        self.places(offsets, |what| match what {
            What::Read { from, plain, .. } if *from == end => *plain,
            _ => 0,
        })
    }

    /// The same for what the socket of `end` took.
    pub(super) fn taken_at(&self, end: End, offsets: impl Iterator<Item = usize>) -> Vec<usize> {
        self.places(offsets, |what| match what {
            What::Took { to, bytes } if *to == end => *bytes,
            _ => 0,
        })
    }

    fn places(
        &self,
        offsets: impl Iterator<Item = usize>,
        moved: impl Fn(&What) -> usize,
    ) -> Vec<usize> {
        let mut trace = self.trace.iter().map(|(_, what)| moved(what)).enumerate();
        let (mut sum, mut place) = (0, 0);
        let places = offsets.map(|offset| {
            while sum < offset {
                let (at, bytes) = trace.next().expect("all bytes are in the trace");
                (sum, place) = (sum + bytes, at);
            }
            place
        });
        places.collect()
    }

    /// Bytes that were read of `end` when the stream was over.
    pub(super) fn read_before_over(&self, end: End) -> usize {
        let before = self.trace[..self.over].iter();
        let bytes = before.map(|(_, what)| match what {
            What::Read { from, plain, .. } if *from == end => *plain,
            _ => 0,
        });
        bytes.sum()
    }

    pub(super) fn happened(&self, what: impl Fn(&What) -> bool) -> bool {
        self.trace.iter().any(|(_, entry)| what(entry))
    }
}

/// Where the first frame begins with which a message has more than `most` bytes.
fn too_long(units: &[Unit], most: usize) -> Option<usize> {
    let mut size = 0;
    let first = units.iter().find(|unit| {
        if matches!(unit.kind, Kind::Data { .. }) {
            size += unit.payload.len();
            if size <= most && unit.ends_message() {
                size = 0;
            }
        }
        size > most
    });
    first.map(|unit| unit.start)
}
