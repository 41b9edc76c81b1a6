//! The load: WebSocket echoes, bulk, openings and idle streams, all by one thread.

use std::io::{ErrorKind, Read, Result as IoResult, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token};
use rustls::ClientConfig;

use crate::app::payload_size;
use crate::client::{self, Client};
use crate::watch::Watch;
use crate::{Options, Result};

/// So many openings at a time: more overflow a listener's queue.
const OPENING: usize = 128;
const PATIENCE: Duration = Duration::from_secs(30);

/// What all streams of a load share.
struct Load {
    poll: Poll,
    events: Events,
    scratch: Vec<u8>,
    to: SocketAddr,
    tls: Option<Arc<ClientConfig>>,
    opening: Vec<u8>,
    /// Frames end to end, so that one write can carry many.
    frames: Vec<u8>,
    frame: usize,
}

/// One WebSocket stream; all its messages are alike, so what is unsent is a number.
struct Stream {
    client: Client,
    state: State,
    unsent: usize,
    phase: usize,
    head: Vec<u8>,
    payload_left: u64,
    counts: bool,
    messages: u64,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    Opening { sent: usize },
    Open,
    Closing { sent: usize },
    Ended,
}

impl Load {
    fn new(options: &Options, size: usize) -> Result<Self> {
        let to = options.text("to")?.parse()?;
        let resume = options.optional("resume") == Some("true");
        let one = client::frame(2, &vec![b'x'; size]);
        let count = (64 << 10) / one.len() + 2;
        Ok(Self {
            poll: Poll::new()?,
            events: Events::with_capacity(1024),
            scratch: vec![0; 256 << 10],
            to,
            tls: options.optional("ca").map(|ca| client::tls(ca, resume)).transpose()?,
            opening: client::opening(to),
            frames: one.repeat(count),
            frame: one.len(),
        })
    }

    fn stream(&mut self, token: usize) -> Result<Stream> {
        let mut client = Client::connect(self.to, self.tls.as_ref())?;
        self.poll.registry().register(&mut client.socket, Token(token), Interest::READABLE | Interest::WRITABLE)?;
        Ok(Stream { client, state: State::Opening { sent: 0 }, unsent: 0, phase: 0, head: Vec::new(), payload_left: 0, counts: false, messages: 0 })
    }

    /// Waits for events and returns the streams that have one.
    fn ready(&mut self, wait: Duration) -> Result<Vec<usize>> {
        match self.poll.poll(&mut self.events, Some(wait)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(Vec::new()),
            polled => polled?,
        }
        Ok(self.events.iter().map(|event| event.token().0).collect())
    }

    /// Opens this many streams.
    fn open(&mut self, count: usize) -> Result<Vec<Stream>> {
        let deadline = Instant::now() + PATIENCE.max(Duration::from_millis(10 * count as u64));
        let mut streams = Vec::with_capacity(count);
        let mut open = 0;
        while open < count {
            while streams.len() < count && streams.len() - open < OPENING {
                let stream = self.stream(streams.len())?;
                streams.push(stream);
            }
            for token in self.ready(Duration::from_secs(1))? {
                let was = streams[token].state;
                streams[token].turn(self)?;
                open += usize::from(was != State::Open && streams[token].state == State::Open);
            }
            if Instant::now() > deadline {
                return Err(format!("{open} of {count} streams opened").into());
            }
        }
        Ok(streams)
    }
}

fn blocked(result: IoResult<usize>) -> IoResult<Option<usize>> {
    match result {
        Err(error) if error.kind() == ErrorKind::WouldBlock || error.kind() == ErrorKind::NotConnected => Ok(None),
        result => result.map(Some),
    }
}

impl Stream {
    /// Does all that can be done now.
    fn turn(&mut self, load: &mut Load) -> Result<()> {
        self.write(load)?;
        loop {
            let Some(read) = blocked(self.client.read(&mut load.scratch))? else { return Ok(()) };
            if read == 0 {
                if matches!(self.state, State::Closing { .. }) {
                    self.state = State::Ended;
                    return Ok(());
                }
                return Err("the proxy ended a stream".into());
            }
            let mut data = &load.scratch[..read];
            if let State::Opening { .. } = self.state {
                data = match self.answer(data)? {
                    Some(rest) => &data[data.len() - rest..],
                    None => continue,
                };
            }
            let answers = self.count(data)?;
            if self.counts {
                self.messages += answers;
                self.unsent += answers as usize * load.frame;
                self.write(load)?;
            } else {
                self.messages += answers;
            }
            // A short read has emptied the socket, unless a FIN came with it.
            if load.tls.is_none() && read < load.scratch.len() && self.state == State::Open {
                return Ok(());
            }
        }
    }

    fn write(&mut self, load: &Load) -> Result<()> {
        let _ = blocked(self.client.flush().map(|()| 0))?;
        if let State::Opening { sent } = &mut self.state {
            while *sent < load.opening.len() {
                let Some(written) = blocked(self.client.write(&load.opening[*sent..]))? else { return Ok(()) };
                *sent += written;
            }
        }
        if let State::Closing { sent } = &mut self.state {
            let close = client::frame(8, &1000_u16.to_be_bytes());
            while *sent < close.len() {
                let Some(written) = blocked(self.client.write(&close[*sent..]))? else { return Ok(()) };
                *sent += written;
            }
        }
        while self.unsent > 0 {
            let end = load.frames.len().min(self.phase + self.unsent);
            let Some(written) = blocked(self.client.write(&load.frames[self.phase..end]))? else { return Ok(()) };
            self.unsent -= written;
            self.phase = (self.phase + written) % load.frame;
        }
        Ok(())
    }

    /// Takes the answer to the opening; how many bytes follow it, once it is complete.
    fn answer(&mut self, data: &[u8]) -> Result<Option<usize>> {
        let before = self.head.len();
        self.head.extend_from_slice(data);
        let Some(end) = self.head.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
        if !self.head.starts_with(b"HTTP/1.1 101") {
            return Err(String::from_utf8_lossy(&self.head[..end]).into_owned().into());
        }
        self.head.clear();
        self.state = State::Open;
        Ok(Some(data.len() - (end + 4 - before)))
    }

    /// Counts the data messages that end in these bytes.
    fn count(&mut self, mut data: &[u8]) -> Result<u64> {
        let mut ended = 0;
        while !data.is_empty() || !self.head.is_empty() {
            if self.head.is_empty() || self.payload_left == 0 {
                let had = self.head.len();
                self.head.extend_from_slice(&data[..data.len().min(10 - had)]);
                let size = match self.head.get(1).map(|byte| byte & 0x7f) {
                    None => break,
                    Some(126) => 4,
                    Some(127) => 10,
                    Some(_) => 2,
                };
                if self.head.len() < size {
                    break;
                }
                self.payload_left = payload_size(&self.head);
                self.head.truncate(1);
                data = &data[size - had..];
            }
            let taken = data.len().min(self.payload_left as usize);
            self.payload_left -= taken as u64;
            data = &data[taken..];
            if self.payload_left > 0 {
                break;
            }
            match self.head[0] {
                0x82 => ended += 1,
                0x88 if matches!(self.state, State::Closing { .. }) => {}
                first => return Err(format!("a frame that this load does not expect: {first:#x}").into()),
            }
            self.head.clear();
        }
        Ok(ended)
    }
}

/// Messages there and back: how many in the window, and the CPU that they cost.
pub fn echo(options: &Options) -> Result<()> {
    let mut load = Load::new(options, options.number("size")?)?;
    let mut streams = load.open(options.number("streams")?)?;
    let in_flight: usize = options.number("in-flight")?;
    for stream in &mut streams {
        stream.counts = true;
        stream.unsent = in_flight * load.frame;
        stream.write(&load)?;
    }
    spin(&mut load, &mut streams, Duration::from_secs_f64(options.number("warm")?))?;
    let before: u64 = streams.iter().map(|stream| stream.messages).sum();
    let watch = Watch::start(options.optional("watch"))?;
    spin(&mut load, &mut streams, Duration::from_secs_f64(options.number("seconds")?))?;
    let messages = streams.iter().map(|stream| stream.messages).sum::<u64>() - before;
    watch.report(&format!("\"units\": {messages}"));
    Ok(())
}

fn spin(load: &mut Load, streams: &mut [Stream], time: Duration) -> Result<()> {
    let end = Instant::now() + time;
    while Instant::now() < end {
        for token in load.ready(Duration::from_millis(100))? {
            streams[token].turn(load)?;
        }
    }
    Ok(())
}

/// Streams opened and closed, each by the whole closing handshake.
pub fn open(options: &Options) -> Result<()> {
    let mut load = Load::new(options, 0)?;
    let (count, parallel): (usize, usize) = (options.number("count")?, options.number("parallel")?);
    let mut streams = Vec::new();
    for token in 0..parallel {
        streams.push(load.stream(token)?);
    }
    let watch = Watch::start(options.optional("watch"))?;
    let mut done = 0;
    let mut quiet_since = Instant::now();
    while done < count {
        for token in load.ready(Duration::from_secs(1))? {
            quiet_since = Instant::now();
            let stream = &mut streams[token];
            if stream.state == State::Ended {
                continue;
            }
            stream.turn(&mut load)?;
            if stream.state == State::Open {
                stream.state = State::Closing { sent: 0 };
                stream.write(&load)?;
            }
            if streams[token].state == State::Ended {
                done += 1;
                streams[token] = load.stream(token)?;
            }
        }
        if quiet_since.elapsed() > PATIENCE {
            return Err(format!("{done} of {count} streams were opened and closed").into());
        }
    }
    watch.report(&format!("\"units\": {done}"));
    Ok(())
}

/// Holds streams open until stdin ends.
pub fn idle(options: &Options) -> Result<()> {
    let touch: usize = options.optional("touch").map_or(Ok(0), str::parse)?;
    let mut load = Load::new(options, touch)?;
    let mut streams = load.open(options.number("streams")?)?;
    if touch > 0 {
        for stream in &mut streams {
            stream.unsent = load.frame;
            stream.write(&load)?;
        }
        let deadline = Instant::now() + PATIENCE;
        while streams.iter().any(|stream| stream.messages == 0) {
            for token in load.ready(Duration::from_millis(100))? {
                streams[token].turn(&mut load)?;
            }
            if Instant::now() > deadline {
                return Err("not every stream echoed".into());
            }
        }
    }
    println!("{{\"units\": {}}}", streams.len());
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

/// Bytes one way through one raw stream.
pub fn bulk(options: &Options) -> Result<()> {
    let bytes: u64 = options.number("bytes")?;
    let up = options.text("direction")? == "up";
    let mut stream: Box<dyn ReadWrite> = {
        let socket = std::net::TcpStream::connect(options.text("to")?)?;
        socket.set_nodelay(true)?;
        match options.optional("ca") {
            Some(ca) => Box::new(rustls::StreamOwned::new(
                rustls::ClientConnection::new(client::tls(ca, false)?, "localhost".try_into()?)?,
                socket,
            )),
            None => Box::new(socket),
        }
    };
    let mut order = vec![if up { b'U' } else { b'D' }];
    order.extend_from_slice(&bytes.to_be_bytes());
    stream.write_all(&order)?;
    let mut scratch = vec![b'x'; 256 << 10];
    let watch = Watch::start(options.optional("watch"))?;
    if up {
        let mut left = bytes;
        while left > 0 {
            let piece = scratch.len().min(left as usize);
            stream.write_all(&scratch[..piece])?;
            left -= piece as u64;
        }
        stream.flush()?;
        stream.read_exact(&mut scratch[..1])?;
    } else {
        let mut left = bytes;
        while left > 0 {
            let read = stream.read(&mut scratch)?;
            if read == 0 {
                return Err(format!("{left} bytes are missing").into());
            }
            left -= read as u64;
        }
    }
    watch.report(&format!("\"units\": {bytes}"));
    Ok(())
}

trait ReadWrite: Read + Write {}
impl<T: Read + Write> ReadWrite for T {}
