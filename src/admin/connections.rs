//! Connections to the two HTTP planes, few at a time: whoever opens many must not take the file descriptors of streams.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Sleep, sleep};

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
        .serve_connection(TokioIo::new(Unstalled::new(io)), service)
        .await;
    if let Err(error) = ended {
        // A peer that hangs up or dawdles is its own business.
        tracing::debug!(%error, "connection to admin or telemetry ended");
    }
}

/// How long a peer may take none of what waits for it. hyper has no limit for that, and a watcher of events who reads
/// no more would keep its place for ever.
const STALL: Duration = Duration::from_secs(30);

/// A connection whose peer has to read.
struct Unstalled<I> {
    io: I,
    /// Runs while the peer takes nothing.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<I: AsyncWrite + Unpin> Unstalled<I> {
    fn new(io: I) -> Self {
        Self { io, stalled: None }
    }

    fn judge<T>(
        &mut self,
        wrote: Poll<io::Result<T>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if wrote.is_ready() {
            self.stalled = None;
            return wrote;
        }
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(STALL)));
        stalled
            .as_mut()
            .poll(cx)
            .map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Unstalled<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Unstalled<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.judge(wrote, cx)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::Full;
    use tokio::io::AsyncWriteExt;
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

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_reads_nothing_loses_its_connection() {
        let (mut client, server) = tokio::io::duplex(1024);
        client
            .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            .await
            .unwrap();
        let began = tokio::time::Instant::now();
        let answer = |_| async { Response::new(Full::new(Bytes::from(vec![0; 4096]))) };
        speak(server, Duration::from_secs(3600), answer).await;
        assert_eq!(began.elapsed(), STALL);
    }
}
