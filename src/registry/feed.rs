//! What happens to streams, for whoever watches right now.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use serde::Serialize;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::broadcast::{self, Receiver, Sender};
use uuid::Uuid;

use super::entry::Entry;
use super::record::{Ended, OverdueRecord, StreamRecord};

/// The most happenings that a watcher may be behind; the watchers share them.
const BEHIND: usize = 4096;

/// Something that happened to a stream.
#[derive(Debug, Clone)]
pub enum Happening {
    /// It opened.
    Opened(Arc<StreamRecord>),
    /// It is over.
    Closed(Arc<Ended>),
    /// A limit ran out under `mode: observe`.
    Overdue(Arc<OverdueRecord>),
    /// Its uid or its tags changed.
    Bound(Arc<StreamRecord>),
    /// Its client answered a heartbeat.
    Pong(PingRound),
}

/// A heartbeat that was answered.
#[derive(Debug, Clone, Serialize)]
pub struct PingRound {
    /// The stream.
    pub id: Uuid,
    /// Its listener.
    pub listener: Arc<str>,
    /// The round trip in milliseconds.
    pub rtt_ms: f64,
}

impl PingRound {
    /// The client of `entry` answered after `rtt`.
    pub fn new(entry: &Entry, rtt: Duration) -> Self {
        Self {
            id: entry.id,
            listener: Arc::clone(&entry.opening.listener),
            rtt_ms: rtt.as_micros() as f64 / 1000.0,
        }
    }
}

/// Where happenings are published; costs one load while nobody watches.
#[derive(Debug)]
pub struct Feed {
    sender: Sender<(SystemTime, Happening)>,
    watchers: Arc<AtomicUsize>,
}

/// One watcher; dropping it ends the watch.
#[derive(Debug)]
pub struct Watch {
    receiver: Receiver<(SystemTime, Happening)>,
    watchers: Arc<AtomicUsize>,
}

/// A watcher fell too far behind, and this many happenings are lost to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Missed(pub u64);

impl Default for Feed {
    fn default() -> Self {
        Self {
            sender: broadcast::channel(BEHIND).0,
            watchers: Arc::default(),
        }
    }
}

impl Feed {
    /// Tells every watcher; `happening` is only made if there is one.
    pub fn publish(&self, happening: impl FnOnce() -> Happening) {
        if self.watchers.load(Ordering::Relaxed) > 0 {
            // Nobody is left if the last one went away this very moment.
            let _ = self.sender.send((SystemTime::now(), happening()));
        }
    }

    /// Watches from now on; `None` if `most` watch already.
    pub fn watch(&self, most: usize) -> Option<Watch> {
        let receiver = self.sender.subscribe();
        let more = |watchers| (watchers < most).then_some(watchers + 1);
        let counted = self
            .watchers
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        counted.is_ok().then(|| Watch {
            receiver,
            watchers: Arc::clone(&self.watchers),
        })
    }
}

impl Watch {
    /// The next happening and when it was; `None` when there will be no more.
    pub async fn next(&mut self) -> Result<Option<(SystemTime, Happening)>, Missed> {
        match self.receiver.recv().await {
            Ok(happening) => Ok(Some(happening)),
            Err(RecvError::Closed) => Ok(None),
            Err(RecvError::Lagged(missed)) => Err(Missed(missed)),
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.watchers.fetch_sub(1, Ordering::Relaxed);
    }
}
