//! The log without its thread, in the hands of a test: it writes and syncs when it is told to, and may end at any byte.

use std::collections::BTreeMap;
use std::fs::File;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::Instant;
use uuid::Uuid;

use super::Writer;
use crate::config::EventKind;
use crate::hook::dispatch::Command;
use crate::hook::log::Directory;
use crate::hook::log::Store;
use crate::hook::log::Syncer;
use crate::hook::log::tests::scratch;
use crate::hook::message::Message;
use crate::hook::shared::Shared;

/// A log whose thread is the test.
pub(crate) struct ByHand {
    writer: Writer,
    directory: TempDir,
    /// So many bytes of the file survive the machine.
    synced: u64,
}

/// An event as a hook gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) id: String,
    pub(crate) kind: EventKind,
    pub(crate) stream: Uuid,
    pub(crate) uid: Option<String>,
    /// Of a `closed` event.
    pub(crate) reason: Option<String>,
    number: u64,
}

impl Told {
    fn of(message: &Message) -> Self {
        let body: Value = serde_json::from_slice(&message.body).unwrap();
        let word = |key: &str| body["data"][key].as_str().map(str::to_owned);
        Self {
            id: message.id.clone(),
            kind: message.kind,
            stream: message.keys.stream.unwrap(),
            uid: word("uid"),
            reason: word("reason"),
            number: message.number,
        }
    }
}

impl ByHand {
    pub(in crate::hook) fn new(shared: Arc<Shared>) -> Self {
        let directory = scratch();
        let writer = writer(shared, &directory);
        let synced = writer.store.length;
        Self {
            writer,
            directory,
            synced,
        }
    }

    pub(in crate::hook) fn take(&mut self, command: Command) {
        self.writer.take(command);
    }

    /// The open streams, and the uid that each got after its opening.
    pub(crate) fn open(&self) -> BTreeMap<Uuid, Option<String>> {
        let store = &self.writer.store;
        let open = store.open.iter().map(|(stream, open)| {
            let uid = store.identity(*open).and_then(|identity| identity.uid);
            (*stream, uid.as_deref().map(str::to_owned))
        });
        open.collect()
    }

    /// Writes what came: that survives the process.
    pub(crate) fn write(&mut self) {
        self.writer.store.commit().unwrap();
    }

    pub(crate) fn is_written(&self) -> bool {
        self.writer.store.unwritten.all.is_empty()
    }

    /// Writes what came and has the disk keep it. Returns what the hooks get now.
    pub(crate) fn sync(&mut self) -> Vec<Told> {
        self.write();
        drop(self.writer.store.take_unsynced());
        self.synced = self.writer.store.length;
        let batch = std::mem::take(&mut self.writer.batch);
        let pending = &self.writer.shared.pending;
        pending.fetch_sub(batch.pending, Ordering::AcqRel);
        let events = batch.events.iter();
        events.map(|(message, _)| Told::of(message)).collect()
    }

    /// From here on nothing can be written.
    pub(in crate::hook) fn fill_disk(&mut self) {
        let store = &mut self.writer.store;
        store.file = Arc::new(
            File::options()
                .read(true)
                .write(true)
                .open("/dev/full")
                .unwrap(),
        );
        std::fs::create_dir(store.directory.next_log()).unwrap();
    }

    /// A new file can be written, as one must be after the old one has failed.
    pub(in crate::hook) fn free_disk(&mut self) {
        std::fs::remove_dir(self.writer.store.directory.next_log()).unwrap();
    }

    /// The log's thread.
    pub(in crate::hook) async fn run(self, commands: UnboundedReceiver<Command>, syncer: Syncer) {
        self.writer.run(commands, syncer).await;
    }

    /// A turn of the log's thread behind the commands that it took.
    pub(in crate::hook) fn turn(&mut self) {
        self.writer.commit();
        let batch = std::mem::take(&mut self.writer.batch);
        self.writer.finish(batch);
    }

    /// Leaves out of the file what is not needed any more.
    pub(crate) fn rewrite(&mut self) {
        self.writer.store.rewrite().unwrap();
        self.synced = self.writer.store.length;
    }

    /// A hook is done with an event.
    pub(crate) fn settle(&mut self, told: &Told) {
        let hooks = self.writer.store.records.get(&told.number);
        let hooks = hooks.map_or(Vec::new(), |stored| stored.hooks.clone());
        for hook in &hooks {
            self.writer.store.settled(told.number, hook);
        }
    }

    /// What the next process has to tell if this one ends now. `left` says how many bytes of the file are left, from
    /// what the disk keeps to all that was written.
    pub(crate) fn next_life(&self, left: impl FnOnce(RangeInclusive<u64>) -> u64) -> Vec<Told> {
        let next = scratch();
        let log = |directory: &TempDir| directory.path().join("hooks.log");
        let mut file = std::fs::read(log(&self.directory)).unwrap();
        file.truncate(left(self.synced..=file.len() as u64) as usize);
        std::fs::write(log(&next), file).unwrap();
        let mut writer = writer(Arc::clone(&self.writer.shared), &next);
        let records = writer.store.records.iter();
        let waits = records.filter(|(_, stored)| !stored.hooks.is_empty());
        let waits = waits.map(|(number, _)| Told::of(&writer.store.load(*number).unwrap()));
        let mut told: Vec<Told> = waits.collect();
        let clock = writer.shared.clock;
        let now = clock.moment(SystemTime::now(), Instant::now());
        writer.take(Command::Begin(now));
        let crashed = writer.batch.events.iter();
        told.extend(crashed.map(|(message, _)| Told::of(message)));
        told
    }
}

fn writer(shared: Arc<Shared>, directory: &TempDir) -> Writer {
    let directory = Directory::open(directory.path()).unwrap();
    let (store, past) = Store::open(directory, Uuid::now_v7()).unwrap();
    assert_eq!(past.damaged, 0);
    Writer::new(shared, store, past, "/by-hand".to_owned())
}
