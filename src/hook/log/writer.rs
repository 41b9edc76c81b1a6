//! The log's thread: takes what happens, writes it, has it synced, hands it on.

mod begin;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until};
use tracing::{error, info, warn};

use super::dead::DeadLetters;
use super::recover::Past;
use super::store::Store;
use super::syncer::{Syncer, Syncing};
use super::write::WriteError;
use crate::hook::clock::Moment;
use crate::hook::dispatch::Command;
use crate::hook::event::Event;
use crate::hook::message::Message;
use crate::hook::metrics::Settled;
use crate::hook::shared::{Shared, retire_all};
use crate::hook::trouble::Throttle;

/// Commands that share one write at most.
const BATCH: usize = 1024;
/// Between two tries to write when the disk is full.
const RETRY: Duration = Duration::from_secs(1);

/// The log's thread.
pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    pub(super) store: Store,
    past: Past,
    dead: DeadLetters,
    /// The CloudEvents source of this process, and its events so far.
    source: String,
    sequence: u64,
    /// Smaller numbers are of former processes.
    pub(super) first_own: u64,
    /// Numbers of the events that each hook gets when its queue has room, in their order.
    pub(super) spilled: HashMap<Arc<str>, VecDeque<u64>>,
    /// What is to be synced next.
    batch: Batch,
    /// Set while the log cannot be written.
    retry_at: Option<Instant>,
    started: Instant,
    write_errors: Throttle,
    dead_errors: Throttle,
}

/// What waits for one sync.
#[derive(Default)]
struct Batch {
    events: Vec<(Arc<Message>, Vec<Arc<str>>)>,
    /// Commands that count as pending.
    pending: usize,
    waiting: Vec<oneshot::Sender<()>>,
}

/// A sync under way.
type Sync = (Syncing, Batch);

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, store: Store, past: Past, source: String) -> Self {
        Self {
            shared,
            first_own: store.next,
            dead: DeadLetters::new(&store.directory),
            store,
            past,
            source,
            sequence: 0,
            spilled: HashMap::new(),
            batch: Batch::default(),
            retry_at: None,
            started: Instant::now(),
            write_errors: Throttle::default(),
            dead_errors: Throttle::default(),
        }
    }

    /// Writes until nobody is left who tells anything.
    pub(super) async fn run(mut self, mut commands: UnboundedReceiver<Command>, syncer: Syncer) {
        self.resume();
        let mut sync: Option<Sync> = None;
        loop {
            let command = tokio::select! {
                done = synced(&mut sync) => {
                    if let Some((_, batch)) = sync.take() {
                        self.after_sync(done, batch);
                    }
                    None
                }
                command = commands.recv() => match command {
                    Some(command) => Some(command),
                    None => break,
                },
                () = sleep_until(self.retry_at.unwrap_or_else(|| Instant::now() + RETRY)),
                    if self.retry_at.is_some() => None,
            };
            let more = std::iter::from_fn(|| commands.try_recv().ok());
            for command in command.into_iter().chain(more.take(BATCH)) {
                self.take(command);
            }
            self.commit();
            if sync.is_none() {
                sync = self.next_sync(&syncer);
            }
        }
        if let Some((_, batch)) = sync {
            self.finish(batch);
        }
        let batch = std::mem::take(&mut self.batch);
        self.finish(batch);
        retire_all(&self.shared);
    }

    /// Begins to sync what was written since the last time; a batch that needs none is over.
    fn next_sync(&mut self, syncer: &Syncer) -> Option<Sync> {
        let batch = std::mem::take(&mut self.batch);
        let Some(file) = self.store.take_unsynced() else {
            self.finish(batch);
            return None;
        };
        Some((syncer.sync(file), batch))
    }

    fn after_sync(&mut self, done: std::io::Result<()>, batch: Batch) {
        if let Err(error) = done {
            // What the disk has of it is unknown.
            self.store.broken = true;
            self.failed(&error.into());
        }
        self.finish(batch);
    }

    /// Says what was found and hands on the events that were left.
    fn resume(&mut self) {
        let path = self.store.directory.log();
        if let bytes @ 1.. = self.past.damaged {
            warn!(
                path = %path.display(),
                bytes,
                "the hook log is damaged: what could not be read was skipped, events may be missing or come again"
            );
            self.shared.metrics.log_skipped.inc_by(bytes);
        }
        if let bytes @ 1.. = self.past.torn {
            info!(
                path = %path.display(),
                bytes,
                "cut an unfinished record off the hook log"
            );
        }
        self.spill_what_was_left();
        self.commit();
    }

    fn take(&mut self, command: Command) {
        match command {
            Command::Event(event, at) => {
                self.batch.pending += 1;
                self.event(&event, at);
            }
            Command::Begin(at) => {
                self.begin(at);
                self.batch.pending += 1;
            }
            Command::Bound(entry) => {
                self.batch.pending += 1;
                self.store.bound(entry);
            }
            Command::Settled(message, hook, how) => self.settled(&message, &hook, how),
            Command::Refill(hook) => self.refill(&hook),
            Command::Sync(done) => self.batch.waiting.push(done),
        }
    }

    fn event(&mut self, event: &Event, at: Moment) {
        let hooks = self.shared.wanting(event.kind(), event.listener());
        match event {
            Event::Closed(record) if hooks.is_empty() => self.store.forget(record.stream.id),
            Event::Opened(_) | Event::Closed(_) => self.write(event, at, hooks),
            Event::Overdue(_) | Event::Started { .. } | Event::Draining { .. } => {
                if !hooks.is_empty() {
                    self.write(event, at, hooks);
                }
            }
        }
    }

    fn write(&mut self, event: &Event, at: Moment, hooks: Vec<Arc<str>>) {
        self.sequence += 1;
        let message = Message::new(event, at, &self.source, self.sequence);
        self.put(message, hooks);
    }

    fn put(&mut self, mut message: Message, hooks: Vec<Arc<str>>) {
        self.store.event(&mut message, &hooks);
        self.batch.events.push((Arc::new(message), hooks));
    }

    fn settled(&mut self, message: &Message, hook: &Arc<str>, how: Settled) {
        match how {
            Settled::Expired | Settled::Rejected => self.keep_dead(message, hook, how.as_str()),
            Settled::Delivered | Settled::Dropped => {}
        }
        self.store.settled(message.number, hook);
    }

    pub(super) fn keep_dead(&mut self, message: &Message, hook: &str, result: &str) {
        if let Err(error) = self.dead.keep(hook, result, message)
            && self.dead_errors.allows(self.started.elapsed())
        {
            warn!(hook, %error, "cannot write the dead letters");
        }
    }

    /// Hands on what is on disk, or cannot be brought there.
    fn finish(&mut self, batch: Batch) {
        self.hand_on(batch.events);
        self.shared
            .pending
            .fetch_sub(batch.pending, Ordering::AcqRel);
        self.shared.progress.notify_waiters();
        for done in batch.waiting {
            // Who does not wait any more needs no answer.
            let _ = done.send(());
        }
    }

    /// Writes what came.
    fn commit(&mut self) {
        let now = Instant::now();
        if self.retry_at.is_none_or(|at| at <= now) {
            match self.store.commit() {
                Ok(()) => {
                    self.shared.metrics.log_failing.set(0);
                    if self.retry_at.take().is_some() {
                        info!("the hook log is written again");
                    }
                }
                Err(why) => self.failed(&why),
            }
        }
        self.give_up_the_oldest();
        self.shared.metrics.log_bytes.set(self.store.length as i64);
    }

    fn failed(&mut self, why: &WriteError) {
        self.shared.metrics.log_failing.set(1);
        self.retry_at = Some(Instant::now() + RETRY);
        if self.write_errors.allows(self.started.elapsed()) {
            let path = self.store.directory.log();
            error!(
                path = %path.display(),
                error = %why,
                "the hook log cannot be written: until it can, new events would not survive a crash"
            );
        }
    }
}

/// Waits for the end of a sync, for ever if there is none.
async fn synced(sync: &mut Option<Sync>) -> std::io::Result<()> {
    match sync {
        Some((syncing, _)) => syncing.done().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
pub(crate) mod by_hand;
