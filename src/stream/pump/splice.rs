//! What need not be seen goes from socket to socket by way of a pipe, without a copy (splice(2)).

use std::task::{Context, Poll};

use super::{BULK, Pump, Step, Stop, Turn};
use crate::net::leg::Io;
use crate::worker::Lent;

impl Pump {
    /// A pipe, if both sides are plain sockets and what comes next is long and need not be seen.
    pub(super) fn pipe_for_rest<F: Io, T: Io>(
        &self,
        from: &F,
        to: &T,
        turn: &Turn<'_>,
    ) -> Option<Lent> {
        if self.scanner.unseen() < BULK as u64 || turn.first_message.is_some() {
            return None;
        }
        from.socket().and(to.socket())?;
        turn.worker.pipes.lend()
    }

    /// Passes bytes from socket to socket, as many as need not be seen.
    pub(super) fn splice<F: Io, T: Io>(
        &mut self,
        mut pipe: Lent,
        from: &F,
        to: &mut T,
        cx: &mut Context<'_>,
        turn: &mut Turn<'_>,
    ) -> Result<Step, Stop> {
        let Some(socket) = from.socket() else {
            return Ok(Step::Dry);
        };
        let most = usize::try_from(self.scanner.unseen()).unwrap_or(usize::MAX);
        let count = match pipe.poll_fill(cx, socket, most) {
            Poll::Pending => return Ok(Step::Dry),
            Poll::Ready(Err(error)) => return Err(Stop::ReadFailed(error)),
            Poll::Ready(Ok(0)) => return Err(Stop::Eof),
            Poll::Ready(Ok(count)) => count,
        };
        self.bulk = count >= BULK;
        turn.read(self.from, count);
        self.outbox.carry(pipe);
        let (edge, message) = self.scanner.skip(count as u64);
        if message {
            turn.message(self.from, 1);
        }
        self.at_edge(edge, to, cx, turn)?;
        self.flush(to, cx, turn)?;
        Ok(Step::Moved)
    }
}
