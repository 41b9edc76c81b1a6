//! Judges a stream when all is over: what passed, when it ended, and for what.

use super::limits;
use super::passing::{self, Passed};
use super::story::Story;
use super::trace::{Ms, What};
use super::wire::{Kind, Wire};
use super::world::World;
use crate::proto::cause::{End, Reason};

impl World {
    /// Judges every stream, and what they were counted with.
    pub(super) fn judge(&self) {
        let (mut sent, mut read, mut answered) = ([0; 2], [0; 2], 0);
        for stream in &self.streams {
            let story = Story::of(self, stream);
            let (policy, heard) = limits::judge(&story);
            let [up, down] = End::BOTH.map(|from| passing::judge(&story, from));
            judge_cause(&story);
            judge_figures(&story, &down);
            let ended = stream.ended.get().expect("it has ended");
            judge_farewell(&story, ended);
            if let Some(heard) = heard
                && story.record.reason == Reason::ClientIdle.as_str()
                && !story.reloaded()
            {
                passing::judge_asking(&story, &down, &policy, heard);
            }
            for (sent, passed) in sent.iter_mut().zip([&down, &up]) {
                *sent += passed.heartbeats.len() as u64;
            }
            answered += up.kept_back;
            for end in End::BOTH {
                read[end as usize] += story.from[end as usize].len() as u64;
            }
        }
        let metrics = &self.ground.listener.metrics;
        let sums = self.books.borrow().sums();
        for end in End::BOTH {
            let counted = metrics.bytes(end).get();
            let [least, messages] = sums[end as usize];
            assert!(
                (least..=read[end as usize]).contains(&counted),
                "bytes of {end:?}"
            );
            assert!(
                metrics.messages(end).get() >= messages,
                "messages of {end:?}"
            );
            let pings = metrics.pings_sent(end).get();
            let out = sent[end as usize];
            assert_eq!(pings, out, "heartbeats to {end:?} and those that left");
        }
        if self.plan.wire == Wire::WebSocket && self.plan.reply.is_none() {
            let pongs = metrics.pongs(End::Client).get();
            assert!(pongs <= answered as u64, "{pongs} of {answered} answers");
        }
    }
}

impl Story {
    fn reloaded(&self) -> bool {
        let limits = |what: &What| matches!(what, What::Limits(_));
        self.trace.iter().filter(|(_, what)| limits(what)).count() > 1
    }

    fn ended(&self, end: End, by_reset: bool) -> bool {
        self.happened(|what| match what {
            What::ReadEnd { from, reset } => *from == end && (*reset || !by_reset),
            What::WriteFailed { to } => *to == end,
            _ => false,
        })
    }
}

/// The cause is one that there was.
fn judge_cause(story: &Story) {
    let record = &story.record;
    let websocket = story.wire == Wire::WebSocket;
    let said_close = |end: End| {
        let units = &story.said[end as usize];
        units.last().is_some_and(|unit| unit.kind == Kind::Close)
    };
    let closed = |end: End| {
        if websocket {
            said_close(end)
        } else {
            story.first_fin() == Some(end) && story.ended(end.other(), false)
        }
    };
    let over = story.trace[story.over].0;
    let drains = story.drains.is_some_and(|since| since <= over);
    let plausible = match record.reason {
        "client_close" => closed(End::Client),
        "upstream_close" => closed(End::Upstream),
        "client_gone" => story.ended(End::Client, !websocket),
        "upstream_gone" => story.ended(End::Upstream, !websocket) && !drains,
        "drain" => drains,
        "admin_close" => story.cut,
        "protocol_error" | "message_too_big" => {
            let detail = record.detail.as_deref().unwrap_or_default();
            let end = if detail.starts_with("client: ") {
                End::Client
            } else {
                End::Upstream
            };
            story.bad_from[end as usize].is_some_and(|bad| bad < story.read_before_over(end))
                || record.reason == "message_too_big"
        }
        "internal_error" | "sidecar_crash" => false,
        // A limit, which was judged by its clock.
        _ => true,
    };
    assert!(plausible, "{} without a reason", record.reason);
    let reason = Reason::ALL
        .iter()
        .find(|reason| reason.as_str() == record.reason);
    assert_eq!(record.by, reason.unwrap().by().as_str());
    if !websocket {
        assert_eq!(record.close_code, None, "raw TCP has no codes");
    }
}

impl Story {
    /// It went before the stream was over.
    fn left_first(&self, end: End) -> bool {
        let mut before = self.trace[..self.over].iter();
        before.any(|(_, what)| matches!(what, What::ReadEnd { from, .. } if *from == end))
    }

    /// Whose end the proxy saw first.
    fn first_fin(&self) -> Option<End> {
        self.trace.iter().find_map(|(_, what)| match what {
            What::ReadEnd { from, .. } => Some(*from),
            _ => None,
        })
    }
}

/// The closing record counts what the sockets saw.
fn judge_figures(story: &Story, down: &Passed) {
    let stream = &story.record.stream;
    for (end, counted) in [
        (End::Client, stream.bytes.client),
        (End::Upstream, stream.bytes.upstream),
    ] {
        let read = story.read_before_over(end) as u64;
        let other = end.other();
        if story.happened(|what| matches!(what, What::WriteFailed { to } if *to == other)) {
            // What came when nobody was left to take it counts for nothing.
            assert!(counted.is_some_and(|counted| counted <= read));
        } else {
            assert_eq!(
                counted,
                Some(read),
                "bytes of {end:?}: {record:?}",
                record = story.record
            );
        }
    }
    let before = down.heartbeats.iter().filter(|place| **place < story.over);
    let before = before.count() as u64;
    assert_eq!(stream.pings.sent, Some(before), "heartbeats");
    if let Some((asked, heard)) = passing::last_round(story)
        && story.reply.is_none()
        && !paused(&story.trace[asked..heard])
    {
        let took = (story.trace[heard].0 - story.trace[asked].0) as f64;
        assert_eq!(stream.pings.rtt_ms, Some(took), "the last round trip");
    }
    let lasted = story.trace[story.over].0 - story.trace[0].0;
    assert_eq!(story.record.duration_ms, lasted, "how long it lasted");
}

fn paused(trace: &[(Ms, What)]) -> bool {
    let mut pauses = trace.iter();
    pauses.any(|(_, what)| matches!(what, What::Paused { .. }))
}

/// Nobody is waited for without end, and what did not end is reset.
fn judge_farewell(story: &Story, ended: Ms) {
    let timeouts = story.trace.iter().filter_map(|(_, what)| match what {
        What::Limits(policy) => Some(policy.close_timeout.as_millis() as Ms),
        _ => None,
    });
    let pauses = story.trace[story.over..]
        .iter()
        .map(|(_, what)| match what {
            What::Paused { by } => *by + 502,
            _ => 0,
        });
    // Once until a Close is written out, and once for its answer.
    let most = 2 * timeouts.max().expect("there is one") + pauses.sum::<Ms>() + 4;
    let over = story.trace[story.over].0;
    assert!(ended <= over + most, "{} ms after its end", ended - over);
    for end in End::BOTH {
        let saw = story.happened(|what| matches!(what, What::ReadEnd { from, .. } if *from == end));
        let left = story.wire == Wire::WebSocket && story.left_first(end);
        let gone = story.ended(end, true) || left;
        let said = story.happened(|what| matches!(what, What::Fin { to } if *to == end));
        let reset = story.happened(
            |what| matches!(what, What::Dropped { end: dropped, reset: true } if *dropped == end),
        );
        assert!(
            saw && said || reset || gone,
            "{end:?} was left in the middle"
        );
    }
}
