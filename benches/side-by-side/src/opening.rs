//! Streams that open and close.

use std::time::{Duration, Instant};

use crate::load::{Load, PATIENCE, State};
use crate::watch::Watch;
use crate::{Options, Result, time};

/// Streams opened and closed, each by the whole closing handshake; how long each took from connecting to the end.
pub fn open(options: &Options) -> Result<()> {
    let mut load = Load::new(options, 0)?;
    let (count, parallel): (usize, usize) = (options.number("count")?, options.number("parallel")?);
    let mut streams = Vec::new();
    let mut began = vec![0; parallel];
    for (token, began) in began.iter_mut().enumerate() {
        *began = time::now();
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
                stream.incoming.closing = true;
                stream.write(&load)?;
            }
            if streams[token].state == State::Ended {
                done += 1;
                let now = time::now();
                load.took.record(now - began[token]);
                began[token] = now;
                streams[token] = load.stream(token)?;
            }
        }
        if quiet_since.elapsed() > PATIENCE {
            return Err(format!("{done} of {count} streams were opened and closed").into());
        }
    }
    watch.report(&format!("\"units\": {done}, {}", load.took.field()));
    Ok(())
}
