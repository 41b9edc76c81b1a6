//! Connections to the two HTTP planes, few at a time: whoever opens many must not take the file descriptors of streams.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::{AbortHandle, JoinSet};

/// A hundred scrapers are more than anybody has, and a thousandth of the default `limits.streams`.
pub(super) const MOST: usize = 128;

/// What a newcomer does when the plane is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WhenFull {
    /// It waits for another to end: for calls that take their time.
    Wait,
    /// The oldest is closed: for probes, which must get through a flood or the orchestrator kills the process.
    CloseOldest,
}

/// The open connections of one plane; dropping it closes them.
pub(super) struct Connections {
    tasks: JoinSet<()>,
    /// In the order of accept.
    handles: VecDeque<AbortHandle>,
    most: usize,
    when_full: WhenFull,
}

impl Connections {
    pub(super) fn new(most: usize, when_full: WhenFull) -> Self {
        Self {
            tasks: JoinSet::new(),
            handles: VecDeque::new(),
            most,
            when_full,
        }
    }

    /// Adds a connection, as soon as there is room for it.
    pub(super) async fn admit(&mut self, connection: impl Future<Output = ()> + Send + 'static) {
        while self.tasks.try_join_next().is_some() {}
        while self.tasks.len() >= self.most {
            if self.when_full == WhenFull::CloseOldest
                && let Some(oldest) = self.handles.pop_front()
            {
                oldest.abort();
            }
            self.tasks.join_next().await;
        }
        self.handles.retain(|handle| !handle.is_finished());
        self.handles.push_back(self.tasks.spawn(connection));
    }
}

/// Speaks HTTP/1.1 on `io` until either side ends it; a head, or the next one, must be complete within `head_timeout`.
pub(super) async fn speak<I, S, A, B>(io: I, head_timeout: Duration, answer: S)
where
    I: AsyncRead + AsyncWrite + Unpin,
    S: Fn(Request<Incoming>) -> A,
    A: Future<Output = Response<B>>,
    B: Body<Data = Bytes, Error = Infallible> + 'static,
{
    let service = hyper::service::service_fn(|request| {
        let answer = answer(request);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let ended = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head_timeout)
        .serve_connection(TokioIo::new(io), service)
        .await;
    if let Err(error) = ended {
        // A peer that hangs up or dawdles is its own business.
        tracing::debug!(%error, "connection to admin or telemetry ended");
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    /// A connection that stays until its sender is dropped, and a receiver that fails once it has ended.
    fn held() -> (
        oneshot::Sender<()>,
        impl Future<Output = ()>,
        oneshot::Receiver<()>,
    ) {
        let (hold, held) = oneshot::channel::<()>();
        let (alive, ended) = oneshot::channel::<()>();
        let connection = async move {
            let _alive = alive;
            let _ = held.await;
        };
        (hold, connection, ended)
    }

    #[tokio::test]
    async fn the_oldest_makes_room_for_a_probe() {
        let mut connections = Connections::new(2, WhenFull::CloseOldest);
        let (_hold_1, first, first_ended) = held();
        let (_hold_2, second, mut second_ended) = held();
        let (_hold_3, third, _third_ended) = held();
        connections.admit(first).await;
        connections.admit(second).await;
        connections.admit(third).await;
        assert!(first_ended.await.is_err(), "the first was closed");
        assert!(
            second_ended
                .try_recv()
                .is_err_and(|e| e == oneshot::error::TryRecvError::Empty)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_plane_makes_others_wait() {
        let mut connections = Connections::new(1, WhenFull::Wait);
        let (hold, first, _first_ended) = held();
        let (_hold_2, second, _second_ended) = held();
        connections.admit(first).await;
        let mut waiting = Box::pin(connections.admit(second));
        let long = Duration::from_secs(3600);
        assert!(tokio::time::timeout(long, &mut waiting).await.is_err());
        drop(hold);
        waiting.await;
    }

    #[tokio::test]
    async fn ended_connections_give_their_room_back() {
        let mut connections = Connections::new(2, WhenFull::Wait);
        for _ in 0..100 {
            connections.admit(async {}).await;
        }
        assert!(connections.handles.len() <= 2);
    }

    #[tokio::test]
    async fn dropping_the_plane_closes_its_connections() {
        let mut connections = Connections::new(2, WhenFull::Wait);
        let (_hold, first, first_ended) = held();
        connections.admit(first).await;
        drop(connections);
        assert!(first_ended.await.is_err());
    }
}
