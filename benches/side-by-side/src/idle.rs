//! Streams that stay open: held for others to look at, left in peace, or silent until they are closed.

use std::io::Read;
use std::time::{Duration, Instant};

use crate::echo::{Pace, spin};
use crate::load::{Load, OnEnd, PATIENCE, State, Stream};
use crate::watch::Watch;
use crate::{Options, Result, client, time};

/// Holds streams open until stdin ends; pings are answered, and so is a Close.
pub fn idle(options: &Options) -> Result<()> {
    let touch: usize = options.optional("touch").map_or(Ok(0), str::parse)?;
    let mut load = Load::new(options, touch)?;
    let mut streams = load.open(options.number("streams")?)?;
    if touch > 0 {
        for stream in &mut streams {
            stream.send(&load, 1, time::now())?;
        }
        let deadline = Instant::now() + PATIENCE;
        while streams.iter().any(|stream| stream.messages == 0) {
            spin(&mut load, &mut streams, &mut None, Duration::from_millis(10))?;
            if Instant::now() > deadline {
                return Err("not every stream echoed".into());
            }
        }
    }
    for stream in &mut streams {
        stream.on_end = OnEnd::Answer;
    }
    println!("{{\"units\": {}}}", streams.len());
    let held = std::thread::spawn(|| std::io::stdin().read_to_end(&mut Vec::new()));
    while !held.is_finished() {
        spin(&mut load, &mut streams, &mut None, Duration::from_millis(100))?;
    }
    Ok(())
}

/// What idle streams cost while nothing happens but pings, which are answered.
pub fn rest(options: &Options) -> Result<()> {
    let mut load = Load::new(options, 0)?;
    let mut streams = load.open(options.number("streams")?)?;
    spin(&mut load, &mut streams, &mut None, Duration::from_secs_f64(options.number("settle")?))?;
    let pings = |streams: &[Stream]| streams.iter().map(|stream| stream.incoming.pings).sum::<u64>();
    let before = pings(&streams);
    let watch = Watch::start(options.optional("watch"))?;
    spin(&mut load, &mut streams, &mut None, Duration::from_secs_f64(options.number("seconds")?))?;
    watch.report(&format!("\"units\": {}, \"pings\": {}", streams.len(), pings(&streams) - before));
    Ok(())
}

/// Streams that send one message each, at a rate, and then never again: when each was sent and when its end was seen.
/// The message is the number of the stream in eight bytes, by which the app knows it.
pub fn silent(options: &Options) -> Result<()> {
    let mut load = Load::new(options, 0)?;
    let mut streams = load.open(options.number("streams")?)?;
    let limit = Duration::from_secs_f64(options.number("limit")?);
    let mut pace = Some(Pace::start(&load, options.number("rate")?)?);
    let mut sent = Vec::with_capacity(streams.len());
    let mut deadline = Instant::now() + limit + PATIENCE;
    while streams.iter().any(|stream| stream.state != State::Ended) {
        for token in load.ready(Duration::from_millis(100))? {
            streams[token].turn(&mut load)?;
        }
        while pace.as_mut().is_some_and(|pace| pace.next(streams.len()).is_some()) {
            let number = sent.len();
            sent.push(time::now());
            streams[number].on_end = OnEnd::Note;
            streams[number].say(&client::frame(2, &(number as u64).to_be_bytes()))?;
            deadline = Instant::now() + limit + PATIENCE;
            pace.take_if(|_| sent.len() == streams.len());
        }
        if Instant::now() > deadline {
            let open = streams.iter().filter(|stream| stream.state != State::Ended).count();
            return Err(format!("{open} silent streams are still open").into());
        }
    }
    let unheard = streams.iter().filter(|stream| stream.messages == 0).count();
    if unheard > 0 {
        return Err(format!("{unheard} streams ended before their message came back").into());
    }
    let ended: Vec<u64> = streams.iter().map(|stream| stream.ended).collect();
    println!("{{\"units\": {}, \"sent\": {sent:?}, \"ended\": {ended:?}}}", streams.len());
    Ok(())
}
