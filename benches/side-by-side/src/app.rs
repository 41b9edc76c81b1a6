//! The app behind the proxies: a WebSocket echo, or a source and sink of bytes.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::sync::{Arc, Mutex, PoisonError};

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

use crate::{Options, Result, time};

const LISTENER: Token = Token(usize::MAX);
const SCRATCH: usize = 256 << 10;

/// What one connection is doing.
enum Work {
    /// Reading the request head.
    Head(Vec<u8>),
    /// Echoing frames.
    Frames(Frames),
    /// Reading the nine bytes that say what to do.
    Order(Vec<u8>),
    /// Sending this many bytes more, then FIN.
    Source(u64),
    /// Reading this many bytes more, then one byte back.
    Sink(u64),
}

#[derive(Default)]
struct Frames {
    /// Bytes of a head that was cut.
    head: Vec<u8>,
    payload_left: u64,
    key: [u8; 4],
    key_at: usize,
    /// A payload that has no answer (Pong).
    skip: bool,
    closing: bool,
    /// What the client called itself by its first message, if that had eight bytes.
    number: Option<u64>,
}

/// Which streams ended, by the number that their clients sent, and when that was seen.
type Ends = Arc<Mutex<Vec<(u64, u64)>>>;

struct Connection {
    socket: TcpStream,
    work: Work,
    out: Vec<u8>,
    sent: usize,
    /// The number of a stream whose Close came, until that is told.
    closed: Option<u64>,
}

/// Serves until it is killed; prints the address that it listens on.
pub fn run(options: &Options) -> Result<()> {
    let bulk = options.text("kind")? == "bulk";
    let mut poll = Poll::new()?;
    let mut listener = TcpListener::bind(options.text("listen")?.parse()?)?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    println!("{{\"listening\": \"{}\"}}", listener.local_addr()?);

    let ends = Ends::default();
    std::thread::spawn({
        let ends = Arc::clone(&ends);
        move || tell(&ends)
    });
    let mut connections: Vec<Option<Connection>> = Vec::new();
    let mut free = Vec::new();
    let mut events = Events::with_capacity(1024);
    let mut scratch = vec![0; SCRATCH];
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            polled => polled?,
        }
        for event in &events {
            if event.token() == LISTENER {
                while let Ok((mut socket, _)) = listener.accept() {
                    socket.set_nodelay(true)?;
                    let slot = free.pop().unwrap_or_else(|| {
                        connections.push(None);
                        connections.len() - 1
                    });
                    poll.registry().register(&mut socket, Token(slot), Interest::READABLE | Interest::WRITABLE)?;
                    let work = if bulk { Work::Order(Vec::new()) } else { Work::Head(Vec::new()) };
                    connections[slot] = Some(Connection { socket, work, out: Vec::new(), sent: 0, closed: None });
                }
                continue;
            }
            let slot = event.token().0;
            let Some(connection) = connections[slot].as_mut() else { continue };
            let over = connection.turn(&mut scratch).is_err();
            if let Some(number) = connection.end_of(over) {
                ends.lock().unwrap_or_else(PoisonError::into_inner).push((number, time::now()));
            }
            if over {
                connections[slot] = None;
                free.push(slot);
            }
        }
    }
}

/// Prints the ends so far for each line on standard input.
fn tell(ends: &Ends) {
    for _ in std::io::stdin().lines() {
        let seen: Vec<String> = ends.lock().unwrap_or_else(PoisonError::into_inner).drain(..).map(|(number, at)| format!("[{number}, {at}]")).collect();
        println!("{{\"ends\": [{}]}}", seen.join(", "));
    }
}

impl Connection {
    /// The number of a stream whose end was seen: a Close frame, or `over`. Told once.
    fn end_of(&mut self, over: bool) -> Option<u64> {
        if let (Work::Frames(frames), true) = (&mut self.work, over) {
            return self.closed.take().or(frames.number.take());
        }
        self.closed.take()
    }

    /// Does all that can be done now; an error is the end of the connection.
    fn turn(&mut self, scratch: &mut [u8]) -> std::io::Result<()> {
        self.flush()?;
        loop {
            if let Work::Source(left) = &mut self.work {
                scratch.fill(b'x');
                while *left > 0 {
                    let piece = scratch.len().min(*left as usize);
                    match self.socket.write(&scratch[..piece]) {
                        Ok(written) => *left -= written as u64,
                        Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                        Err(error) => return Err(error),
                    }
                }
                self.socket.shutdown(Shutdown::Write)?;
                self.work = Work::Sink(u64::MAX);
            }
            if !self.out.is_empty() {
                return Ok(());
            }
            let read = match self.socket.read(scratch) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            self.take(&scratch[..read])?;
            self.flush()?;
            // A short read has emptied the socket: the next bytes come with the next event. Not so a FIN that came with them.
            if read < scratch.len() && matches!(self.work, Work::Frames(_)) {
                return Ok(());
            }
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        while self.sent < self.out.len() {
            match self.socket.write(&self.out[self.sent..]) {
                Ok(written) => self.sent += written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        self.out.clear();
        self.sent = 0;
        if let Work::Frames(Frames { closing: true, payload_left: 0, .. }) = self.work {
            self.socket.shutdown(Shutdown::Write)?;
            self.work = Work::Sink(u64::MAX);
        }
        Ok(())
    }

    fn take(&mut self, data: &[u8]) -> std::io::Result<()> {
        match &mut self.work {
            Work::Head(head) => {
                head.extend_from_slice(data);
                if !head.ends_with(b"\r\n\r\n") {
                    return Ok(());
                }
                let text = String::from_utf8_lossy(head).into_owned();
                let key = text.lines().find_map(|line| {
                    let (name, value) = line.split_once(':')?;
                    name.eq_ignore_ascii_case("sec-websocket-key").then(|| value.trim().to_owned())
                });
                let accept = crate::client::accept(&key.unwrap_or_default());
                self.out.extend_from_slice(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ");
                self.out.extend_from_slice(accept.as_bytes());
                self.out.extend_from_slice(b"\r\n\r\n");
                self.work = Work::Frames(Frames::default());
            }
            Work::Frames(frames) => {
                frames.echo(data, &mut self.out);
                if frames.closing {
                    self.closed = frames.number.take();
                }
            }
            Work::Order(order) => {
                order.extend_from_slice(data);
                if order.len() >= 9 {
                    let mut count = [0; 8];
                    count.copy_from_slice(&order[1..9]);
                    let count = u64::from_be_bytes(count);
                    let early = order.len() as u64 - 9;
                    self.work = if order[0] == b'D' { Work::Source(count) } else { Work::Sink(count - early) };
                }
            }
            Work::Sink(left) => {
                *left = left.saturating_sub(data.len() as u64);
                if *left == 0 {
                    self.out.push(b'K');
                }
            }
            Work::Source(_) => {}
        }
        Ok(())
    }
}

impl Frames {
    /// Turns masked frames into the same frames unmasked; a ping into its pong, a Close into its answer.
    fn echo(&mut self, mut data: &[u8], out: &mut Vec<u8>) {
        while !data.is_empty() {
            if self.payload_left > 0 {
                let (payload, rest) = data.split_at(data.len().min(self.payload_left as usize));
                if !self.skip {
                    let from = out.len();
                    out.extend_from_slice(payload);
                    if self.key != [0; 4] {
                        for (at, byte) in out[from..].iter_mut().enumerate() {
                            *byte ^= self.key[(self.key_at + at) % 4];
                        }
                        self.key_at = (self.key_at + payload.len()) % 4;
                    }
                }
                self.payload_left -= payload.len() as u64;
                if let (8, true, 0) = (payload.len(), self.number.is_none(), self.payload_left) {
                    self.number = payload.try_into().ok().map(u64::from_be_bytes);
                }
                data = rest;
                continue;
            }
            let had = self.head.len();
            let take = data.len().min(14 - had);
            self.head.extend_from_slice(&data[..take]);
            let Some(size) = head_size(&self.head) else { return };
            data = &data[size - had..];
            self.begin(size, out);
        }
    }

    fn begin(&mut self, size: usize, out: &mut Vec<u8>) {
        let head = &self.head[..size];
        self.payload_left = payload_size(head);
        self.key.copy_from_slice(&head[size - 4..]);
        self.key_at = 0;
        let opcode = head[0] & 15;
        self.skip = opcode == 10;
        self.closing |= opcode == 8;
        if !self.skip {
            out.push(if opcode == 9 { 0x8a } else { head[0] });
            out.push(head[1] & 0x7f);
            out.extend_from_slice(&head[2..size - 4]);
        }
        self.head.clear();
    }
}

/// The size of a masked frame's head, once enough of it is there.
fn head_size(head: &[u8]) -> Option<usize> {
    let size = match head.get(1)? & 0x7f {
        126 => 8,
        127 => 14,
        _ => 6,
    };
    (head.len() >= size).then_some(size)
}

/// The payload's size in a complete head.
pub fn payload_size(head: &[u8]) -> u64 {
    match head[1] & 0x7f {
        126 => u64::from(u16::from_be_bytes([head[2], head[3]])),
        127 => head[2..10].iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)),
        short => u64::from(short),
    }
}
