//! How far each side of a stream is on its way to its end.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::net::leg::Io;

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
