//! How far each side of a stream is on its way to its end, and the steps on that way.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use rand::RngExt;

use crate::net::leg::Io;
use crate::proto::cause::End;
use crate::proto::framing::Edge;
use crate::proto::heart::Time;
use crate::proto::websocket;
use crate::stream::outbox::Outbox;
use crate::stream::pump::Wish;
use crate::stream::relay::Relay;

/// What a peer may still send after its last useful byte.
const DISCARD: usize = 1024 * 1024;

/// How long the offender of a violation still gets what the other side says. An app answers what was right before the
/// violation, and alone it would have been heard: without this, Autobahn's cases 3.* and 4.* see a lost answer.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What is done with the bytes of a side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::stream) enum Reading {
    /// They pass to the other side.
    Passing,
    /// They are forgotten until its FIN; at most `left` of them.
    Discarding { left: usize },
    /// FIN was seen, or the side is gone.
    Ended,
}

/// What a side still gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::stream) enum Writing {
    /// The bytes of the other side.
    Passing,
    /// The rest of the frame under way, then a Close and FIN.
    Finishing,
    /// What waits in its outbox, then the end.
    Ending(Ending),
    /// Nothing more.
    Ended,
}

/// How a side is told that nothing more comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::stream) enum Ending {
    /// FIN; TLS: close_notify, then FIN.
    Fin,
    /// Reset: raw TCP whose other side was reset.
    Reset,
}

impl Ending {
    pub(in crate::stream) fn finish<T: Io>(
        self,
        to: &mut T,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        match self {
            Self::Fin => Pin::new(to).poll_shutdown(cx),
            Self::Reset => {
                to.reset();
                Poll::Ready(Ok(()))
            }
        }
    }
}

impl Writing {
    /// The same side on its way to its end, unless it is there or further already.
    pub(super) fn then(self, how: Ending) -> Self {
        match self {
            Self::Passing | Self::Finishing => Self::Ending(how),
            Self::Ending(_) | Self::Ended => self,
        }
    }
}

impl<C: Io, U: Io> Relay<C, U> {
    /// Writes our Close to `to`, if this cause has one for it, with FIN right behind it.
    pub(super) fn send_close(&mut self, to: End, cx: &mut Context<'_>) {
        self.writing[to as usize] = Writing::Ending(Ending::Fin);
        let Some(closing) = &self.closing else { return };
        let Some(code) = closing.cause.code else {
            return;
        };
        let mask = (to == End::Upstream).then(|| self.live.worker.random().random());
        let mut frame = Vec::new();
        websocket::encode_close(Some(code), &closing.cause.text, mask, &mut frame);
        let sent = match to {
            End::Client => self.down.outbox.send(&mut self.client, cx, &frame),
            End::Upstream => self.up.outbox.send(&mut self.upstream, cx, &frame),
        };
        if sent.is_err() {
            self.lose(to);
        }
    }

    /// `to` broke the protocol, and still gets what the other side says until that side is through with it.
    pub(super) fn hear_out(&mut self, to: End, now: Time) {
        self.writing[to as usize] = Writing::Finishing;
        self.wish(to, Some(Wish::LastWords));
        // Half of the whole time at most: the offender may need the rest to answer its Close.
        let patience = LAST_WORDS.min(self.terms.policy.close_timeout / 2);
        if let Some(closing) = &mut self.closing {
            closing.last_words = Some((to, now.saturating_add(patience)));
        }
    }

    /// Nothing follows what waits for `end`, but the end.
    pub(super) fn finish(&mut self, end: End) {
        self.writing[end as usize] = self.writing[end as usize].then(Ending::Fin);
    }

    pub(super) fn reset(&self, end: End) {
        match end {
            End::Client => self.client.reset(),
            End::Upstream => self.upstream.reset(),
        }
    }

    /// Nothing more is written to `end`: what comes from the other side would follow a gap.
    pub(super) fn lose(&mut self, end: End) {
        self.writing[end as usize] = Writing::Ended;
        self.outbox(end).clear();
        self.forget(end.other());
    }

    /// What comes from `end` no longer passes.
    pub(super) fn forget(&mut self, end: End) {
        if self.reading[end as usize] == Reading::Passing {
            self.reading[end as usize] = Reading::Discarding { left: DISCARD };
        }
    }

    pub(super) fn outbox(&mut self, to: End) -> &mut Outbox {
        match to {
            End::Client => &mut self.down.outbox,
            End::Upstream => &mut self.up.outbox,
        }
    }

    pub(super) fn edge(&self, to: End) -> Edge {
        match to {
            End::Client => self.down.edge(),
            End::Upstream => self.up.edge(),
        }
    }

    pub(super) fn wish(&mut self, to: End, wish: Option<Wish>) {
        match to {
            End::Client => self.down.wish(wish),
            End::Upstream => self.up.wish(wish),
        }
    }
}
