//! A pipe through which the kernel moves bytes from one socket to another without showing them to us (splice(2)).

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::task::{Context, Poll, ready};

use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use tokio::io::Interest;
use tokio::net::TcpStream;

/// Bytes that a pipe is asked to hold.
const SIZE: usize = 256 * 1024;

/// Two descriptors and what lies between them.
#[derive(Debug)]
pub struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
    held: usize,
}

impl Pipe {
    /// An empty pipe. It fails where the process or the system has no descriptors left.
    pub fn new() -> io::Result<Self> {
        let (read, write) = pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC)?;
        // Users have a limit (fs.pipe-user-pages-soft); beyond it a pipe keeps its usual 64 KiB, which is slower and no less right.
        let _ = fcntl_setpipe_size(&write, SIZE);
        Ok(Self {
            read,
            write,
            held: 0,
        })
    }

    /// Bytes that were taken in and not yet given out.
    pub fn held(&self) -> usize {
        self.held
    }

    /// Takes in at most `most` bytes of `from`; 0 is its end. The pipe must be empty: a full one cannot be told from a
    /// socket without bytes.
    pub fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        from: &dyn Socket,
        most: usize,
    ) -> Poll<io::Result<usize>> {
        debug_assert_eq!(self.held, 0);
        self.held = ready!(from.poll_into(cx, self.write.as_fd(), most.min(SIZE)))?;
        Poll::Ready(Ok(self.held))
    }

    /// Gives to `to` what it takes, and returns how many bytes that were.
    pub fn poll_drain(&mut self, cx: &mut Context<'_>, to: &dyn Socket) -> Poll<io::Result<usize>> {
        let drained = ready!(to.poll_out_of(cx, self.read.as_fd(), self.held))?;
        self.held -= drained;
        Poll::Ready(Ok(drained))
    }
}

/// What can be spliced: a TCP connection, or what stands for one in a test.
pub trait Socket {
    /// Moves at most `most` bytes that have arrived into `pipe`, which is empty; 0 is the end.
    fn poll_into(
        &self,
        cx: &mut Context<'_>,
        pipe: BorrowedFd<'_>,
        most: usize,
    ) -> Poll<io::Result<usize>>;

    /// Sends at most `most` of the bytes in `pipe`, which has as many.
    fn poll_out_of(
        &self,
        cx: &mut Context<'_>,
        pipe: BorrowedFd<'_>,
        most: usize,
    ) -> Poll<io::Result<usize>>;
}

impl Socket for TcpStream {
    fn poll_into(
        &self,
        cx: &mut Context<'_>,
        pipe: BorrowedFd<'_>,
        most: usize,
    ) -> Poll<io::Result<usize>> {
        let fill = || splice(self, None, pipe, None, most, FLAGS).map_err(io::Error::from);
        loop {
            match self.try_io(Interest::READABLE, fill) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(self.poll_read_ready(cx))?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                filled => return Poll::Ready(filled),
            }
        }
    }

    fn poll_out_of(
        &self,
        cx: &mut Context<'_>,
        pipe: BorrowedFd<'_>,
        most: usize,
    ) -> Poll<io::Result<usize>> {
        let drain = || splice(pipe, None, self, None, most, FLAGS).map_err(io::Error::from);
        loop {
            match self.try_io(Interest::WRITABLE, drain) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(self.poll_write_ready(cx))?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                drained => return Poll::Ready(drained),
            }
        }
    }
}

const FLAGS: SpliceFlags = SpliceFlags::MOVE.union(SpliceFlags::NONBLOCK);

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    async fn tcp_pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let dialed = TcpStream::connect(listener.local_addr().unwrap());
        let (dialed, accepted) = tokio::join!(dialed, listener.accept());
        (dialed.unwrap(), accepted.unwrap().0)
    }

    #[tokio::test]
    async fn bytes_pass_in_order_and_an_end_is_none() {
        let (mut client, near) = tcp_pair().await;
        let (far, mut app) = tcp_pair().await;
        let mut pipe = Pipe::new().unwrap();
        client.write_all(b"to be passed").await.unwrap();
        let filled = poll_fn(|cx| pipe.poll_fill(cx, &near, 5)).await.unwrap();
        assert_eq!((filled, pipe.held()), (5, 5));
        while pipe.held() > 0 {
            poll_fn(|cx| pipe.poll_drain(cx, &far)).await.unwrap();
        }
        client.shutdown().await.unwrap();
        let mut all = 5;
        loop {
            let filled = poll_fn(|cx| pipe.poll_fill(cx, &near, SIZE)).await.unwrap();
            if filled == 0 {
                break;
            }
            all += filled;
            while pipe.held() > 0 {
                poll_fn(|cx| pipe.poll_drain(cx, &far)).await.unwrap();
            }
        }
        assert_eq!(all, 12);
        drop(far);
        let mut heard = Vec::new();
        app.read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard, b"to be passed");
    }

    #[tokio::test]
    async fn a_socket_without_bytes_and_one_that_takes_none_are_waited_for() {
        let (client, near) = tcp_pair().await;
        let (far, mut app) = tcp_pair().await;
        let mut pipe = Pipe::new().unwrap();
        poll_fn(|cx| {
            assert!(pipe.poll_fill(cx, &near, SIZE).is_pending());
            Poll::Ready(())
        })
        .await;
        let sender = tokio::spawn(async move {
            let mut client = client;
            client.write_all(&vec![7; 32 << 20]).await.unwrap();
        });
        let mut passed = 0;
        loop {
            passed += poll_fn(|cx| pipe.poll_fill(cx, &near, SIZE)).await.unwrap();
            let blocked = poll_fn(|cx| {
                while pipe.held() > 0 {
                    if pipe.poll_drain(cx, &far)?.is_pending() {
                        return Poll::Ready(Ok::<_, io::Error>(true));
                    }
                }
                Poll::Ready(Ok(false))
            });
            if blocked.await.unwrap() {
                break;
            }
        }
        let held = pipe.held();
        assert!(held > 0 && passed < 32 << 20, "{held} of {passed}");
        let reader = tokio::spawn(async move {
            let mut heard = vec![0; passed];
            app.read_exact(&mut heard).await.unwrap();
            heard.iter().all(|byte| *byte == 7)
        });
        while pipe.held() > 0 {
            poll_fn(|cx| pipe.poll_drain(cx, &far)).await.unwrap();
        }
        assert!(reader.await.unwrap());
        sender.abort();
    }

    #[tokio::test]
    async fn a_peer_that_is_gone_is_an_error() {
        let (mut client, near) = tcp_pair().await;
        let (far, app) = tcp_pair().await;
        let mut pipe = Pipe::new().unwrap();
        client.write_all(b"for nobody").await.unwrap();
        poll_fn(|cx| pipe.poll_fill(cx, &near, SIZE)).await.unwrap();
        app.set_zero_linger().unwrap();
        drop(app);
        far.readable().await.unwrap();
        let drained = poll_fn(|cx| pipe.poll_drain(cx, &far)).await;
        assert!(drained.is_err(), "{drained:?}");
        client.set_zero_linger().unwrap();
        drop(client);
        let mut other = Pipe::new().unwrap();
        let filled = poll_fn(|cx| other.poll_fill(cx, &near, SIZE)).await;
        assert_eq!(filled.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    }
}
