//! WebSocket streams of the load, all turned by one thread.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Result as IoResult, Write};
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Registry, Token};
use rustls::ClientConfig;

use crate::client::{self, Client};
use crate::incoming::Incoming;
use crate::time::{self, Histogram};
use crate::{Options, Result};

/// So many openings at a time: more overflow a listener's queue.
const OPENING: usize = 128;
/// So long a load waits for what should come at once.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// The event that is no stream's.
pub const TICK: Token = Token(usize::MAX);

/// What all streams of a load share.
pub struct Load {
    poll: Poll,
    events: Events,
    scratch: Vec<u8>,
    to: SocketAddr,
    tls: Option<Arc<ClientConfig>>,
    opening: Vec<u8>,
    /// Frames end to end, so that one write can carry many.
    frames: Vec<u8>,
    frame: usize,
    /// How long things took.
    pub took: Histogram,
}

/// One WebSocket stream; all its messages are alike, so what is unsent is a number.
pub struct Stream {
    client: Client,
    /// How far it is.
    pub state: State,
    unsent: usize,
    phase: usize,
    /// What comes back.
    pub incoming: Incoming,
    /// Since when the messages under way are due, while anybody measures that.
    due: VecDeque<u64>,
    /// Every answer is followed by the next message.
    pub answers_back: bool,
    /// What to do when the proxy ends it.
    pub on_end: OnEnd,
    /// Answers so far.
    pub messages: u64,
    /// When its end was seen.
    pub ended: u64,
}

/// How far a stream is.
#[derive(Clone, Copy, PartialEq)]
pub enum State {
    /// So much of the request is sent.
    Opening { sent: usize },
    /// Messages may flow.
    Open,
    /// So much of our Close is sent.
    Closing { sent: usize },
    /// Nothing more comes.
    Ended,
}

/// What a stream does when the proxy ends it.
#[derive(Clone, Copy, PartialEq)]
pub enum OnEnd {
    /// Fails: nothing should have ended it.
    Fail,
    /// Notes when, and stays silent.
    Note,
    /// Answers as a client does that is well.
    Answer,
}

impl Load {
    /// What all streams of these options share; `size`: payload of a message.
    pub fn new(options: &Options, size: usize) -> Result<Self> {
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
            took: Histogram::new(),
        })
    }

    /// Where others can register what wakes this load.
    pub fn registry(&self) -> &Registry {
        self.poll.registry()
    }

    /// Begins to open a stream.
    pub fn stream(&mut self, token: usize) -> Result<Stream> {
        let mut client = Client::connect(self.to, self.tls.as_ref())?;
        self.poll.registry().register(&mut client.socket, Token(token), Interest::READABLE | Interest::WRITABLE)?;
        Ok(Stream {
            client,
            state: State::Opening { sent: 0 },
            unsent: 0,
            phase: 0,
            incoming: Incoming::default(),
            due: VecDeque::new(),
            answers_back: false,
            on_end: OnEnd::Fail,
            messages: 0,
            ended: 0,
        })
    }

    /// Waits for events and returns the streams that have one.
    pub fn ready(&mut self, wait: Duration) -> Result<Vec<usize>> {
        match self.poll.poll(&mut self.events, Some(wait)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(Vec::new()),
            polled => polled?,
        }
        Ok(self.events.iter().map(|event| event.token()).filter(|token| *token != TICK).map(|token| token.0).collect())
    }

    /// Opens this many streams.
    pub fn open(&mut self, count: usize) -> Result<Vec<Stream>> {
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
    pub fn turn(&mut self, load: &mut Load) -> Result<()> {
        if self.state == State::Ended {
            return Ok(());
        }
        match self.go_on(load) {
            Err(error) if self.on_end == OnEnd::Fail => Err(error),
            Err(_) => {
                self.state = State::Ended;
                self.ended = time::now();
                if self.on_end == OnEnd::Answer {
                    // Whoever has reset the connection wants no answer.
                    let _ = self.say(&client::frame(8, &1000_u16.to_be_bytes()));
                    let _ = self.client.socket.shutdown(Shutdown::Write);
                }
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    /// Sends messages that are due since `due`.
    pub fn send(&mut self, load: &Load, messages: usize, due: u64) -> Result<()> {
        self.unsent += messages * load.frame;
        self.due.extend(std::iter::repeat_n(due, messages));
        self.write(load)
    }

    /// Sends a frame of its own, on a stream that has nothing else to send.
    pub fn say(&mut self, frame: &[u8]) -> Result<()> {
        match self.client.write(frame)? {
            written if written == frame.len() => Ok(()),
            _ => Err("a small frame found no room".into()),
        }
    }

    fn go_on(&mut self, load: &mut Load) -> Result<()> {
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
                let Some(rest) = self.incoming.answer(data)? else { continue };
                self.state = State::Open;
                data = &data[data.len() - rest..];
            }
            let answers = self.incoming.count(data)?;
            if answers > 0 {
                self.answered(load, answers)?;
            }
            if !self.incoming.pongs.is_empty() {
                let pongs = std::mem::take(&mut self.incoming.pongs);
                self.say(&pongs)?;
            }
            // A short read has emptied the socket, unless a FIN came with it.
            if load.tls.is_none() && read < load.scratch.len() && self.state == State::Open {
                return Ok(());
            }
        }
    }

    fn answered(&mut self, load: &mut Load, answers: usize) -> Result<()> {
        let now = time::now();
        self.messages += answers as u64;
        for due in self.due.drain(..answers.min(self.due.len())) {
            load.took.record(now.saturating_sub(due));
        }
        if self.answers_back {
            return self.send(load, answers, now);
        }
        Ok(())
    }

    /// Sends what there is to send.
    pub fn write(&mut self, load: &Load) -> Result<()> {
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
}
