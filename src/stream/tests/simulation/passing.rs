//! What comes out of a direction is what went in, without the answers to our own pings, and with nothing but our own
//! frames in between, at the edges where they may stand.

use super::story::Story;
use super::trace::{Ms, What};
use super::wire::{Kind, Unit, Wire};
use crate::proto::cause::End;
use crate::proto::heart::Policy;

/// Our own Ping frames and heartbeats of data on their way to an end: where in the trace its last byte left.
pub(super) struct Passed {
    pub(super) heartbeats: Vec<usize>,
    /// Answers that were kept back.
    pub(super) kept_back: usize,
    /// The stream was over within a message.
    pub(super) within: bool,
}

/// What the proxy put in.
#[derive(Debug, PartialEq, Eq)]
enum Own {
    Ping,
    Beat,
    Message(usize),
    Close,
}

/// Judges the direction of what `from` says.
pub(super) fn judge(story: &Story, from: End) -> Passed {
    if story.wire == Wire::Raw {
        return judge_raw(story, from);
    }
    let to = from.other();
    let out = &story.to[to as usize];
    let units = story.wire.units(out, 0);
    let (said, kept) = (&story.said[from as usize], kept(story, from));
    let mut next = 0;
    let mut passed = Passed {
        heartbeats: Vec::new(),
        kept_back: kept.iter().filter(|kept| **kept).count(),
        within: false,
    };
    let taken = story.taken_at(to, units.iter().map(|unit| unit.end));
    let (mut closed, mut within, mut messages) = (false, false, Vec::new());
    for (unit, place) in units.iter().zip(taken) {
        assert!(!closed, "{from:?}: something follows a Close");
        closed = unit.kind == Kind::Close;
        let bytes = &out[unit.start..unit.end];
        let same = |unit: &Unit| story.from[from as usize][unit.start..unit.end] == *bytes;
        while next < said.len() && kept[next] {
            next += 1;
        }
        if said.get(next).is_some_and(same) {
            within = said[next].leaves_inside(within);
            if place <= story.over {
                passed.within = within;
            }
            next += 1;
            continue;
        }
        match own(story, to, unit, bytes) {
            Own::Ping => passed.heartbeats.push(place),
            Own::Beat => {
                assert!(!within, "a heartbeat of data within a message");
                passed.heartbeats.push(place);
            }
            Own::Message(number) => {
                assert!(!within, "a message of the API within another");
                messages.push(number);
            }
            Own::Close => assert!(place > story.over, "a Close of ours before the end"),
        }
    }
    let next = (next..said.len()).find(|place| !kept[*place]);
    let next = next.map(|place| &said[place]);
    let tail = &out[units.last().map_or(0, |unit| unit.end)..];
    judge_tail(story, from, next, tail);
    assert!(!closed || tail.is_empty(), "bytes follow a Close");
    if to == End::Client {
        judge_messages(story, &messages);
    }
    judge_end(story, from, next, tail);
    passed
}

/// Our own Ping frames to an end, and where in the trace the last byte of each left.
fn asked(story: &Story, end: End) -> Vec<(Unit, usize)> {
    let units: Vec<Unit> = story.wire.units(&story.to[end as usize], 0);
    let left = story.taken_at(end, units.iter().map(|unit| unit.end));
    let units = units.into_iter().zip(left);
    let ours = units.filter(|(unit, _)| {
        unit.kind == Kind::Ping && unit.payload.len() == 8 && unit.payload != [b'p'; 8]
    });
    ours.collect()
}

/// The Ping of ours that a Pong answers, which was read at `place` of the trace: where that had left.
fn answered(asked: &[(Unit, usize)], pong: &Unit, place: usize) -> Option<usize> {
    let known = asked.iter().filter(|(_, left)| *left < place).count();
    let mut last_four = asked[known.saturating_sub(4)..known].iter().rev();
    let ping = last_four.find(|(ping, _)| ping.payload == pong.payload)?;
    Some(ping.1)
}

/// Between which places of the trace the client answered us with a Pong for the last time before the end.
pub(super) fn last_round(story: &Story) -> Option<(usize, usize)> {
    let (asked, units) = (asked(story, End::Client), &story.said[0]);
    let read = story.read_at(End::Client, units.iter().map(|unit| unit.end));
    let pongs = units.iter().zip(read);
    let pongs = pongs.filter(|(unit, read)| unit.kind == Kind::Pong && *read < story.over);
    let mut rounds = pongs.filter_map(|(pong, read)| Some((answered(&asked, pong, read)?, read)));
    rounds.next_back()
}

/// Which of the units of `from` are answers to us.
pub(super) fn kept(story: &Story, from: End) -> Vec<bool> {
    let units = &story.said[from as usize];
    let mut kept = vec![false; units.len()];
    let asked = asked(story, from);
    let read_at = story.read_at(from, units.iter().map(|unit| unit.end));
    for (place, unit) in units.iter().enumerate() {
        let pong = unit.kind == Kind::Pong;
        kept[place] = pong && answered(&asked, unit, read_at[place]).is_some();
    }
    let Some(reply) = story.reply.as_ref().filter(|_| from == End::Client) else {
        return kept;
    };
    let mut message: Vec<usize> = Vec::new();
    for (place, unit) in units.iter().enumerate() {
        match unit.kind {
            Kind::Data { .. } | Kind::Record => message.push(place),
            Kind::Ping | Kind::Pong | Kind::Close => continue,
        }
        if unit.ends_message() {
            let payloads = message.iter().map(|place| &units[*place].payload[..]);
            let whole = message.len() == 1 + place - message[0];
            if whole && payloads.collect::<Vec<_>>().concat() == *reply {
                message.iter().for_each(|place| kept[*place] = true);
            }
            message.clear();
        }
    }
    kept
}

fn own(story: &Story, to: End, unit: &Unit, bytes: &[u8]) -> Own {
    if story.wire == Wire::WebSocket {
        assert_eq!(
            unit.masked,
            to == End::Upstream,
            "the mask of our own frame"
        );
    }
    let record = &story.record;
    let close = record.close_code.map(|code| {
        let text = record.close_reason.clone().unwrap_or_default();
        [&code.to_be_bytes()[..], text.as_bytes()].concat()
    });
    if unit.kind == Kind::Ping && unit.payload.len() == 8 {
        return Own::Ping;
    }
    if unit.kind == Kind::Close && Some(&unit.payload) == close.as_ref() {
        return Own::Close;
    }
    if to == End::Client {
        if story.beat.as_deref() == Some(bytes) {
            return Own::Beat;
        }
        let message = story.messages.iter().position(|(sent, _)| sent == bytes);
        if let Some(number) = message {
            return Own::Message(number);
        }
    }
    panic!(
        "{to:?} got what nobody sent: {:?} {:?}",
        unit.kind,
        bytes.get(..40)
    )
}

/// Behind the last whole unit: the front of what comes next, or of something of ours.
fn judge_tail(story: &Story, from: End, next: Option<&Unit>, tail: &[u8]) {
    let said = &story.from[from as usize];
    let start = match next {
        Some(unit) => unit.start,
        None => story.said[from as usize].last().map_or(0, |unit| unit.end),
    };
    let ours = story
        .messages
        .iter()
        .map(|(bytes, _)| bytes)
        .chain(&story.beat);
    let control = [[0x88], [0x89]];
    assert!(
        said[start..].starts_with(tail)
            || ours.into_iter().any(|bytes| bytes.starts_with(tail))
            || control.iter().any(|first| tail.starts_with(first)) && tail.len() < 130,
        "{from:?}: the direction breaks off in what nobody sent: {:?}",
        tail.get(..40)
    );
}

fn judge_messages(story: &Story, arrived: &[usize]) {
    for (number, (_, told)) in story.messages.iter().enumerate() {
        let times = arrived.iter().filter(|place| **place == number).count();
        assert!(times < 2, "a message of the API came twice");
        if let Some(told) = told {
            assert_eq!(times == 1, *told, "message {number} of the API");
        }
    }
}

/// A direction that ended with FIN has passed all that was read before the end, and told the reason.
fn judge_end(story: &Story, from: End, next: Option<&Unit>, tail: &[u8]) {
    let to = from.other();
    if !story.happened(|what| matches!(what, What::Fin { to: end } if *end == to)) {
        return;
    }
    let read = story.read_before_over(from);
    assert!(
        next.is_none_or(|unit| unit.end > read),
        "{from:?}: a whole frame did not pass"
    );
    let ours = !matches!(
        story.record.reason,
        "client_close" | "upstream_close" | "client_gone"
    );
    if story.wire == Wire::WebSocket && ours && story.record.close_code.is_some() && tail.is_empty()
    {
        let units = story.wire.units(&story.to[to as usize], 0);
        let last = units.last().map(|unit| unit.kind);
        assert_eq!(last, Some(Kind::Close), "{to:?} was told why");
    }
}

/// Raw bytes: our heartbeats are known by their bytes, which nobody else sends.
fn judge_raw(story: &Story, from: End) -> Passed {
    let to = from.other();
    let (mut said, mut out) = (&story.from[from as usize][..], &story.to[to as usize][..]);
    let whole = out.len();
    let beat = story.beat.as_deref().filter(|_| to == End::Client);
    let mut heartbeats = Vec::new();
    while let Some(first) = out.first() {
        if said.first() == Some(first) {
            (said, out) = (&said[1..], &out[1..]);
            continue;
        }
        let beat = beat.expect("bytes that nobody sent");
        if !out.starts_with(beat) {
            assert!(beat.starts_with(out), "{from:?}: bytes that nobody sent");
            break;
        }
        out = &out[beat.len()..];
        heartbeats.push(whole - out.len());
    }
    if story.happened(|what| matches!(what, What::Fin { to: end } if *end == to)) {
        let passed = story.from[from as usize].len() - said.len();
        assert!(passed >= story.read_before_over(from), "bytes are missing");
    }
    Passed {
        heartbeats: story.taken_at(to, heartbeats.into_iter()),
        kept_back: 0,
        within: false,
    }
}

/// A client that is closed for its silence was asked before, if there was a place to ask.
pub(super) fn judge_asking(story: &Story, passed: &Passed, policy: &Policy, heard: Ms) {
    let asked = passed
        .heartbeats
        .iter()
        .any(|place| story.trace[*place].0 >= heard);
    let busy = story.trace[..story.over].iter().any(|(at, what)| {
        *at >= heard && matches!(what, What::Read { from, .. } if *from == End::Upstream)
    });
    let units = story.wire.units(&story.to[0], 0);
    let before = story.trace[..story.over].iter();
    let taken = before.map(|(_, what)| match what {
        What::Took { to, bytes } if *to == End::Client => *bytes,
        _ => 0,
    });
    let taken = taken.sum::<usize>();
    let whole = taken == 0 || units.iter().any(|unit| unit.end == taken);
    let possible = policy.ping.is_some() && story.wire == Wire::WebSocket;
    let free = whole && !passed.within && !busy;
    assert!(asked || !possible || !free, "the client was never asked");
}
