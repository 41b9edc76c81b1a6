//! A WebSocket that comes back, for tokio: full-jitter backoff, close codes obeyed, silent servers noticed.
//!
//! What a socket had taken when its network vanished is lost: who must know sends again until the app has answered.

use std::collections::HashMap;
use std::future::pending;
use std::sync::Mutex;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::time::{Instant, sleep, sleep_until, timeout};
pub use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

/// A process that slept hears what waited for it within this time.
const GRACE: Duration = Duration::from_secs(2);

/// What follows a close code.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Verdict {
    /// After a random time below a bound that doubles with each failure.
    Retry,
    /// After a random time below `spread`.
    Soon,
    /// After half of `max` at least.
    Slow,
    Stop,
}

/// Close code and reason of the connection that ended; 1006 also for an attempt that failed and for silence.
pub type End = (u16, String);

#[derive(Debug)]
pub enum Event {
    Connecting,
    Open,
    Message(Message),
    /// Until the next attempt, which comes after so long.
    Waiting(End, Duration),
    Stopped(End),
}

pub struct Options {
    /// Sent first on each connection, before what waited: say, a login.
    pub hello: Option<Message>,
    /// The server counts as gone when no frame came for so long; needs a heartbeat that comes in any case (`when: always`).
    pub silence: Duration,
    /// The server's text heartbeat, if it has one (`ping.data`), and what answers it (`ping.reply`). Ping frames count by themselves.
    pub ping: Option<(String, String)>,
    /// For one attempt.
    pub timeout: Duration,
    /// The bound of the first wait, and the greatest one.
    pub backoff: (Duration, Duration),
    /// Over which clients come back after a restart of the server.
    pub spread: Duration,
    /// A connection must live so long before earlier failures are forgotten.
    pub stable: Duration,
    /// Messages that wait for a connection at most.
    pub outbox: usize,
    /// What follows which close code, beyond the defaults.
    pub codes: HashMap<u16, Verdict>,
}

impl Default for Options {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self {
            hello: None,
            silence: seconds(60),
            ping: None,
            timeout: seconds(10),
            backoff: (seconds(1), seconds(30)),
            spread: seconds(5),
            stable: seconds(10),
            outbox: 100,
            codes: HashMap::new(),
        }
    }
}

impl Options {
    pub fn verdict(&self, code: u16) -> Verdict {
        self.codes.get(&code).copied().unwrap_or(match code {
            1000 | 1008 | 4000.. => Verdict::Stop,
            1012 => Verdict::Soon,
            1002 | 1003 | 1007 | 1009 | 1010 | 1013 => Verdict::Slow,
            _ => Verdict::Retry,
        })
    }

    /// The least and the greatest time to wait after so many failures; none after `Stop`.
    pub fn wait(&self, verdict: Verdict, failures: u32) -> Option<(Duration, Duration)> {
        let (base, max) = self.backoff;
        let bound = base.saturating_mul(2_u32.saturating_pow(failures)).min(max);
        match verdict {
            Verdict::Retry => Some((Duration::ZERO, bound)),
            Verdict::Soon => Some((Duration::ZERO, bound.max(self.spread))),
            Verdict::Slow => Some((max / 2, max)),
            Verdict::Stop => None,
        }
    }
}

/// Ends when it is dropped.
pub struct Connection {
    outbox: Sender<Message>,
    events: Receiver<Event>,
}

impl Connection {
    pub fn open(url: &str, options: Options) -> Self {
        let (outbox, waiting) = mpsc::channel(options.outbox);
        let (tell, events) = mpsc::channel(16);
        tokio::spawn(run(url.to_owned(), options, waiting, tell));
        Self { outbox, events }
    }

    /// Sends, or keeps until there is a connection; false if it was not taken.
    pub fn send(&self, message: impl Into<Message>) -> bool {
        self.outbox.try_send(message.into()).is_ok()
    }

    /// The next event; none after `Stopped`.
    pub async fn next(&mut self) -> Option<Event> {
        self.events.recv().await
    }
}

/// Returns when it has stopped, or when nobody takes events any more.
async fn run(url: String, options: Options, mut outbox: Receiver<Message>, tell: Sender<Event>) {
    let mut failures = 0;
    while tell.send(Event::Connecting).await.is_ok() {
        let mut opened = None;
        let end = match timeout(options.timeout, connect_async(url.as_str())).await {
            Err(_) => Some((1006, "timeout".to_owned())),
            Ok(Err(error)) => Some((1006, error.to_string())),
            Ok(Ok((socket, _))) => {
                opened = Some(Instant::now());
                live(socket, &options, &mut outbox, &tell).await
            }
        };
        let Some(end) = end else { return };
        // A server that lets everybody in and throws them out at once must not be asked faster for it.
        if opened.is_some_and(|opened| opened.elapsed() >= options.stable) {
            failures = 0;
        }
        let Some((least, most)) = options.wait(options.verdict(end.0), failures) else {
            outbox.close();
            let _ = tell.send(Event::Stopped(end)).await;
            return;
        };
        failures += 1;
        let delay = least + (most - least).mul_f64(fastrand::f64());
        if tell.send(Event::Waiting(end, delay)).await.is_err() {
            return;
        }
        tokio::select! { () = sleep(delay) => {} () = tell.closed() => return }
    }
}

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// One connection to its end: close code and reason; none when nobody takes events any more.
async fn live(
    socket: Socket,
    options: &Options,
    outbox: &mut Receiver<Message>,
    tell: &Sender<Event>,
) -> Option<End> {
    tell.send(Event::Open).await.ok()?;
    let (mut sink, mut stream) = socket.split();
    let (pong, mut pongs) = mpsc::channel(1);
    let heard = Mutex::new(Instant::now());
    let hear = || *heard.lock().expect("nobody panics with it") = Instant::now();
    let last_heard = || *heard.lock().expect("nobody panics with it");
    let write = async {
        let mut next = options.hello.clone();
        loop {
            if let Some(message) = next.take()
                && sink.send(message).await.is_err()
            {
                // Reading knows why.
                pending::<()>().await;
            }
            next =
                tokio::select! { pong = pongs.recv() => pong, message = outbox.recv() => message };
            if next.is_none() {
                break None;
            }
        }
    };
    let read = async {
        while let Some(got) = stream.next().await {
            hear();
            match (got, &options.ping) {
                (Err(error), _) => return Some((1006, error.to_string())),
                (Ok(Message::Close(close)), _) => {
                    // The answer goes out while the end is awaited, for which a second must do.
                    let _ = timeout(Duration::from_secs(1), stream.next()).await;
                    return Some(close.map_or((1005, String::new()), |close| {
                        (close.code.into(), close.reason.to_string())
                    }));
                }
                (Ok(Message::Text(text)), Some((ping, answer))) if text == ping.as_str() => {
                    let _ = pong.try_send(Message::text(answer));
                }
                (Ok(message @ (Message::Text(_) | Message::Binary(_))), _) => {
                    tell.send(Event::Message(message)).await.ok()?
                }
                _ => {}
            }
        }
        Some((1006, String::new()))
    };
    let watch = async {
        let mut last = false;
        while last_heard().elapsed() < options.silence || !last {
            last = last_heard().elapsed() >= options.silence;
            sleep_until(if last {
                Instant::now() + GRACE
            } else {
                last_heard() + options.silence
            })
            .await;
            if tell.capacity() == 0 {
                // While the app takes nothing, nothing is read, and nothing can be heard.
                hear();
            }
        }
        Some((1006, "silent".to_owned()))
    };
    tokio::select! { end = read => end, end = write => end, end = watch => end, () = tell.closed() => None }
}
