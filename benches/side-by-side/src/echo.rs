//! Messages there and back, as many as go or at a rate.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::Waker;

use crate::load::{Load, Stream, TICK};
use crate::watch::Watch;
use crate::{Options, Result, time};

/// Messages there and back: how many in the window, how long each took, and the CPU that they cost.
///
/// Without a rate every stream keeps `in-flight` messages on their way. With one, messages are due at even intervals,
/// stream by stream, and take as long as from when they were due: a load that could not send in time hides nothing.
pub fn echo(options: &Options) -> Result<()> {
    let mut load = Load::new(options, options.number("size")?)?;
    let mut streams = load.open(options.number("streams")?)?;
    let warm = Duration::from_secs_f64(options.number("warm")?);
    let window = Duration::from_secs_f64(options.number("seconds")?);
    let mut pace = match options.optional("rate") {
        Some(rate) => Some(Pace::start(&load, rate.parse()?)?),
        None => {
            let in_flight: usize = options.number("in-flight")?;
            for stream in &mut streams {
                stream.answers_back = true;
                stream.send(&load, in_flight, time::now())?;
            }
            None
        }
    };
    spin(&mut load, &mut streams, &mut pace, warm)?;
    let before = sum(&streams);
    load.took.clear();
    let watch = Watch::start(options.optional("watch"))?;
    spin(&mut load, &mut streams, &mut pace, window)?;
    let messages = sum(&streams) - before;
    watch.report(&format!("\"units\": {messages}, {}", load.took.field()));
    Ok(())
}

fn sum(streams: &[Stream]) -> u64 {
    streams.iter().map(|stream| stream.messages).sum()
}

/// Turns for so long.
pub fn spin(load: &mut Load, streams: &mut [Stream], pace: &mut Option<Pace>, time: Duration) -> Result<()> {
    let end = Instant::now() + time;
    while Instant::now() < end {
        for token in load.ready(Duration::from_millis(100))? {
            streams[token].turn(load)?;
        }
        if let Some(pace) = pace {
            while let Some((at, due)) = pace.next(streams.len()) {
                streams[at].send(load, 1, due)?;
            }
        }
    }
    Ok(())
}

/// Things that are due at even intervals. A thread wakes the load, because a poll waits in whole milliseconds.
pub struct Pace {
    started: u64,
    interval: u64,
    count: u64,
    /// The thread ends when this is gone.
    _waker: Arc<Waker>,
}

impl Pace {
    /// Begins now, with so many things a second.
    pub fn start(load: &Load, rate: f64) -> Result<Self> {
        let waker = Arc::new(Waker::new(load.registry(), TICK)?);
        let weak = Arc::downgrade(&waker);
        let (started, interval) = (time::now(), (1e9 / rate) as u64);
        std::thread::spawn(move || {
            let mut next = started;
            while weak.upgrade().is_some_and(|waker| waker.wake().is_ok()) {
                next = (next + interval).max(time::now());
                std::thread::sleep(Duration::from_nanos(next - time::now().min(next)));
            }
        });
        Ok(Self { started, interval, count: 0, _waker: waker })
    }

    /// The next thing that is due by now: which of `all`, and since when.
    pub fn next(&mut self, all: usize) -> Option<(usize, u64)> {
        let due = self.started + self.count * self.interval;
        if due > time::now() {
            return None;
        }
        let at = (self.count % all as u64) as usize;
        self.count += 1;
        Some((at, due))
    }
}
