//! The session of a client, which holds no buffer while nothing waits in it.
//!
//! ```text
//! socket ─▶ scratch [ partial │ fresh records ] ─ rustls ─▶ plain, to the reader        (left over: `plain`)
//! socket ◀─ scratch [ records ] ◀─ rustls ◀─ plain, of the writer                       (not taken: `outgoing`)
//! ```
//!
//! rustls' buffered sessions keep 4 KiB for reading and read no more at once, and tokio-rustls builds on them. Here a
//! worker's sessions share two buffers, and what one keeps is the front of a record (at most 16 KiB, or 64 KiB of a
//! handshake) and the records of one write that its socket has not taken.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls::pki_types::CertificateDer;
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncryptError, UnbufferedStatus, WriteTraffic};
use rustls::{ProtocolVersion, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

mod room;

use room::{put, queue};

/// Plaintext of one write: five records of the largest size, which are what a worker reads at once.
const WRITE: usize = 80 * 1024;

/// Ciphertext of one read together with what was left of the last, so that a reader of as much has room for all of it.
const READ: usize = 80 * 1024;

/// Ciphertext of one read behind a handshake message that is larger than that.
const READ_MIN: usize = 16 * 1024;

/// The buffers that all sessions of a thread share, each for the time of one call.
#[derive(Debug, Default)]
pub struct Scratch {
    input: RefCell<Vec<u8>>,
    output: RefCell<Vec<u8>>,
}

type Traffic<'a> = WriteTraffic<'a, ServerConnectionData>;

/// TLS with a client.
pub struct Session {
    tls: UnbufferedServerConnection,
    tcp: TcpStream,
    scratch: Rc<Scratch>,
    /// The front of a record, or of a handshake message.
    partial: Vec<u8>,
    /// Decrypted bytes for which a reader had no room.
    plain: Vec<u8>,
    /// Records that the socket has not taken.
    outgoing: Vec<u8>,
    /// What waits there is TLS 1.3's own and no answer to anything: it goes with the next write.
    patient: bool,
    /// The peer's close_notify was read.
    ended: bool,
    /// Ours was written.
    closed: bool,
    /// The peer broke the protocol: rustls is not to be asked again.
    broken: bool,
    /// Why nothing more can be read, to be told behind what could.
    failed: Option<io::Error>,
    read: u64,
    written: u64,
}

// Each idle stream of TLS holds one.
const _: () = assert!(size_of::<Session>() <= 1280);

impl Session {
    /// Does the handshake of a client that just connected.
    pub(super) async fn accept(
        config: Arc<ServerConfig>,
        tcp: TcpStream,
        scratch: Rc<Scratch>,
    ) -> io::Result<Self> {
        let mut session = Self {
            tls: UnbufferedServerConnection::new(config).map_err(invalid)?,
            tcp,
            scratch,
            partial: Vec::new(),
            plain: Vec::new(),
            outgoing: Vec::new(),
            patient: false,
            ended: false,
            closed: false,
            broken: false,
            failed: None,
            read: 0,
            written: 0,
        };
        std::future::poll_fn(|cx| session.poll_handshake(cx)).await?;
        Ok(session)
    }

    /// The socket itself, for its options and addresses.
    pub fn tcp(&self) -> &TcpStream {
        &self.tcp
    }

    /// Bytes read so far, the handshake's included.
    pub fn bytes_read(&self) -> u64 {
        self.read
    }

    /// Bytes that the socket has taken so far, the handshake's included.
    pub fn bytes_written(&self) -> u64 {
        self.written
    }

    /// The client's certificate chain, if it showed one that was accepted.
    pub fn peer_certificates(&self) -> Option<&[CertificateDer<'static>]> {
        self.tls.peer_certificates()
    }

    fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.tls.is_handshaking() {
            ready!(self.poll_send(cx))?;
            let mut nobody = ReadBuf::new(&mut []);
            ready!(self.poll_receive(cx, &mut nobody))?;
            if self.ended {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Reads once, and decrypts into `buffer` what has room there.
    fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.broken {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let scratch = Rc::clone(&self.scratch);
        let mut input = scratch.input.borrow_mut();
        let held = self.partial.len();
        let end = READ.max(held + READ_MIN);
        if input.len() < end {
            input.resize(end, 0);
        }
        let mut fresh = ReadBuf::new(&mut input[held..end]);
        ready!(Pin::new(&mut self.tcp).poll_read(cx, &mut fresh))?;
        let count = fresh.filled().len();
        if count == 0 {
            // Without close_notify anybody may have cut it off.
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        self.read += count as u64;
        input[..held].copy_from_slice(&self.partial);
        let patient = self.patient || self.outgoing.is_empty();
        let digested = self.digest(&mut input[..held + count], buffer);
        self.patient = patient && digested.is_ok() && self.has_leisure();
        // What TLS itself has to say, be it why it gives up. What the socket does not take goes with the next write.
        let sent = self.poll_flush_records(cx);
        self.partial = input[digested?..held + count].to_vec();
        match sent {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(Ok(())),
        }
    }

    /// Whether the peer waits for nothing that TLS says by itself: session tickets, which would else cost a packet of their
    /// own, and renewed keys, which are due before the next bytes (RFC 8446 sections 4.6.1 and 4.6.3).
    fn has_leisure(&self) -> bool {
        !self.tls.is_handshaking() && self.tls.protocol_version() == Some(ProtocolVersion::TLSv1_3)
    }

    /// Goes through the records of `input`; returns how many of its bytes are done with.
    fn digest(&mut self, input: &mut [u8], buffer: &mut ReadBuf<'_>) -> io::Result<usize> {
        let mut used = 0;
        loop {
            let UnbufferedStatus { mut discard, state } =
                self.tls.process_tls_records(&mut input[used..]);
            match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record.map_err(invalid)?;
                        discard += record.discard;
                        let (now, later) = record
                            .payload
                            .split_at(record.payload.len().min(buffer.remaining()));
                        buffer.put_slice(now);
                        self.plain.extend_from_slice(later);
                    }
                }
                Ok(ConnectionState::EncodeTlsData(mut data)) => {
                    queue(&mut self.outgoing, |room| Ok(data.encode(room)?))?;
                }
                Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
                Ok(ConnectionState::PeerClosed) => self.ended = true,
                Ok(_) => return Ok(used + discard),
                Err(error) => {
                    self.broken = true;
                    self.queue_alert(&mut input[used + discard..])?;
                    return Err(invalid(error));
                }
            }
            used += discard;
        }
    }

    /// Queues what rustls tells the peer about an error. It must be shown what is left of the records that led there, and only
    /// once: with an alert queued it looks at none of them, and behind one it may panic.
    fn queue_alert(&mut self, rest: &mut [u8]) -> io::Result<()> {
        match self.tls.process_tls_records(rest).state {
            Ok(ConnectionState::EncodeTlsData(mut alert)) => {
                queue(&mut self.outgoing, |room| Ok(alert.encode(room)?))
            }
            Ok(_) | Err(_) => Ok(()),
        }
    }

    /// Has records made in `output` from `start` on, behind what rustls has to say by itself; returns where they end.
    fn make(
        &mut self,
        output: &mut Vec<u8>,
        start: usize,
        mut write: impl FnMut(&mut Traffic<'_>, &mut [u8]) -> Result<usize, EncryptError>,
    ) -> io::Result<usize> {
        if self.broken {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let mut end = start;
        loop {
            let UnbufferedStatus { discard, state } =
                self.tls.process_tls_records(&mut self.partial);
            match state.map_err(invalid)? {
                ConnectionState::WriteTraffic(mut traffic) => {
                    end += put(output, end, |room| Ok(write(&mut traffic, room)?))?;
                    self.partial.drain(..discard);
                    return Ok(end);
                }
                ConnectionState::EncodeTlsData(mut data) => {
                    end += put(output, end, |room| Ok(data.encode(room)?))?;
                }
                ConnectionState::TransmitTlsData(data) => data.done(),
                ConnectionState::PeerClosed => self.ended = true,
                _ => return Err(io::ErrorKind::BrokenPipe.into()),
            }
            self.partial.drain(..discard);
        }
    }

    /// Queues close_notify, unless the session has failed: then an alert was its end.
    fn say_goodbye(&mut self) {
        let mut outgoing = std::mem::take(&mut self.outgoing);
        let start = outgoing.len();
        let end = self.make(&mut outgoing, start, |traffic, room| {
            traffic.queue_close_notify(room)
        });
        outgoing.truncate(end.unwrap_or(start));
        self.outgoing = outgoing;
    }

    /// Ready when the socket has taken everything but what can wait.
    fn poll_flush_records(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.patient {
            return Poll::Ready(Ok(()));
        }
        self.poll_send(cx)
    }

    /// Ready when the socket has taken everything.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.outgoing.is_empty() {
            return Poll::Ready(Ok(()));
        }
        let outgoing = std::mem::take(&mut self.outgoing);
        self.patient = false;
        self.send(cx, &outgoing)?;
        if self.outgoing.is_empty() {
            Poll::Ready(Ok(()))
        } else {
            Poll::Pending
        }
    }

    /// Writes `records` and keeps what the socket does not take.
    fn send(&mut self, cx: &mut Context<'_>, mut records: &[u8]) -> io::Result<()> {
        while !records.is_empty() {
            match Pin::new(&mut self.tcp).poll_write(cx, records)? {
                Poll::Ready(0) => return Err(io::ErrorKind::WriteZero.into()),
                Poll::Ready(count) => {
                    self.written += count as u64;
                    records = &records[count..];
                }
                Poll::Pending => break,
            }
        }
        self.outgoing = records.to_vec();
        Ok(())
    }
}

impl AsyncRead for Session {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        loop {
            if !self.plain.is_empty() {
                let count = self.plain.len().min(buffer.remaining());
                buffer.put_slice(&self.plain[..count]);
                self.plain.drain(..count);
                if self.plain.is_empty() {
                    self.plain = Vec::new();
                }
            }
            if buffer.filled().len() > before || buffer.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
            if let Some(error) = self.failed.take() {
                return Poll::Ready(Err(error));
            }
            if self.ended {
                return Poll::Ready(Ok(()));
            }
            if let Err(error) = ready!(self.poll_receive(cx, buffer)) {
                self.failed = Some(error);
            }
        }
    }
}

impl AsyncWrite for Session {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        plain: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_flush_records(cx))?;
        let plain = &plain[..plain.len().min(WRITE)];
        let scratch = Rc::clone(&self.scratch);
        let mut output = scratch.output.borrow_mut();
        let first = std::mem::take(&mut self.outgoing);
        let start = first.len();
        if output.len() < start {
            output.resize(start, 0);
        }
        output[..start].copy_from_slice(&first);
        let end = self.make(&mut output, start, |traffic, room| {
            traffic.encrypt(plain, room)
        })?;
        self.patient = false;
        self.send(cx, &output[..end])?;
        Poll::Ready(Ok(plain.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush_records(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !std::mem::replace(&mut self.closed, true) {
            self.say_goodbye();
        }
        ready!(self.poll_send(cx))?;
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("tcp", &self.tcp)
            .finish_non_exhaustive()
    }
}

fn invalid(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}
