//! One request asked of the app, and bodies on their way.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, Sleep, sleep};

use super::http::BoxError;
use crate::net::leg::Leg;

/// An app's answer head beyond this is no answer.
const ANSWER_HEAD: usize = 64 * 1024;

/// The app's connection while hyper speaks on it.
pub(super) type Upstream<B> = http1::Connection<TokioIo<Leg>, B>;

/// Why an app's answer cannot be passed on.
#[derive(Debug, thiserror::Error)]
pub(super) enum AnswerError {
    #[error("{0}")]
    Http(#[from] hyper::Error),
    #[error("its head is over 64 KiB")]
    Head,
}

/// Sends a request and waits for the head of its answer; the connection is still to be driven, or taken apart.
pub(super) async fn ask<B>(
    leg: Leg,
    request: Request<B>,
) -> Result<(Response<Incoming>, Upstream<B>), AnswerError>
where
    B: HttpBody<Data = Bytes> + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    let mut builder = http1::Builder::new();
    builder
        .preserve_header_case(true)
        .title_case_headers(true)
        .max_buf_size(ANSWER_HEAD);
    let (mut sender, mut upstream) = builder.handshake(TokioIo::new(leg)).await?;
    let mut answer = pin!(sender.send_request(request));
    let mut ended = None;
    poll_fn(|cx| {
        if ended.is_none()
            && let Poll::Ready(end) = upstream.poll_without_shutdown(cx)
        {
            ended = Some(end.err());
        }
        match answer.as_mut().poll(cx) {
            Poll::Ready(answer) => Poll::Ready(answer),
            // An app that answers early may close while its request is still being written: the answer counts.
            Poll::Pending => match ended.take() {
                Some(Some(error)) => Poll::Ready(Err(error)),
                Some(None) => {
                    ended = Some(None);
                    Poll::Pending
                }
                None => Poll::Pending,
            },
        }
    })
    .await
    .map_err(AnswerError::from)
    .and_then(|answer| {
        if head_size(&answer) > ANSWER_HEAD {
            return Err(AnswerError::Head);
        }
        Ok((answer, upstream))
    })
}

/// hyper bounds what it buffers, but a head that comes in one read may be longer.
fn head_size(answer: &Response<Incoming>) -> usize {
    let line = "HTTP/1.1 200 \r\n\r\n".len();
    let headers = answer.headers().iter();
    let headers = headers.map(|(name, value)| name.as_str().len() + value.len() + ": \r\n".len());
    line + headers.sum::<usize>()
}

/// A body on its way, whose sender may not stall longer than `limit` between two pieces.
pub(super) struct Passing<G> {
    body: Incoming,
    limit: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    /// When the last piece was taken.
    pub(super) progress: Rc<Cell<Instant>>,
    /// Lives as long as the body.
    _keeps: G,
}

impl<G> Passing<G> {
    /// `keeps` lives as long as the body.
    pub(super) fn new(body: Incoming, limit: Duration, keeps: G) -> Self {
        Self {
            body,
            limit,
            timer: None,
            progress: Rc::new(Cell::new(Instant::now())),
            _keeps: keeps,
        }
    }
}

impl<G: Unpin> HttpBody for Passing<G> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            self.timer = None;
            self.progress.set(Instant::now());
            return Poll::Ready(match frame {
                // Trailers are dropped: they could set what the head must say (RFC 9110 section 6.5.1).
                Some(Ok(frame)) if frame.is_trailers() => None,
                other => other.map(|frame| frame.map_err(Into::into)),
            });
        }
        let limit = self.limit;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(limit)));
        timer
            .as_mut()
            .poll(cx)
            .map(|()| Some(Err("the body stalled for http_timeout".into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
