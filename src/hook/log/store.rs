//! What the log holds, in memory by number and on disk by place.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::sync::Arc;

use bytes::Bytes;
use uuid::Uuid;

use super::directory::Directory;
use super::record::{BoundEntry, Entry, EventEntry, LONGEST, seal, unseal};
use crate::config::EventKind;
use crate::hook::message::Message;

/// Records that wait for room on the disk at most.
pub(super) const UNWRITTEN_BOUND: usize = crate::hook::queue::CAPACITY;
/// Bytes of marks that wait for room on the disk at most; beyond, only a rewrite brings the file up to date.
const MARKS_BOUND: usize = 4 * 1024 * 1024;

/// Everything that has to survive this process, and where it is.
pub(super) struct Store {
    pub(super) directory: Directory,
    pub(super) file: Arc<File>,
    /// Where the next record goes. What a failed write left behind it is cut off.
    pub(super) length: u64,
    /// Bytes of the records on disk that are needed.
    pub(super) live: u64,
    /// The length from which on a rewrite is thought of.
    pub(super) rewrite_at: u64,
    /// The record of this process.
    pub(super) boot: Bytes,
    pub(super) next: u64,
    /// By number, which is the order in which they happened.
    pub(super) records: BTreeMap<u64, Stored>,
    pub(super) open: HashMap<Uuid, Open>,
    pub(super) unwritten: Unwritten,
    /// Records of what is not needed any more, to be written behind them.
    pub(super) marks: Vec<u8>,
    /// Whether the disk has yet to be told to keep what was written.
    pub(super) unsynced: bool,
    /// The file is not what we think: it has to be rewritten.
    pub(super) broken: bool,
}

/// Numbers of the records that are to be written.
#[derive(Default)]
pub(super) struct Unwritten {
    pub(super) all: BTreeSet<u64>,
    /// Those of `opened` events.
    opened: BTreeSet<u64>,
}

impl Unwritten {
    pub(super) fn insert(&mut self, number: u64, kind: Option<EventKind>) {
        self.all.insert(number);
        if kind == Some(EventKind::Opened) {
            self.opened.insert(number);
        }
    }

    pub(super) fn remove(&mut self, number: u64) {
        self.all.remove(&number);
        self.opened.remove(&number);
    }

    pub(super) fn contains(&self, number: u64) -> bool {
        self.all.contains(&number)
    }

    /// The first to be given up: the oldest `opened`, else the oldest.
    fn victim(&self) -> Option<u64> {
        self.opened.first().or(self.all.first()).copied()
    }
}

/// The numbers of the records of an open stream.
#[derive(Debug, Clone, Copy)]
pub(super) struct Open {
    pub(super) opened: u64,
    pub(super) bound: Option<u64>,
}

/// A record that is needed.
pub(super) struct Stored {
    pub(super) place: Place,
    pub(super) size: u32,
    /// `None`: the identity of a stream.
    pub(super) kind: Option<EventKind>,
    /// Hooks that are not done with it.
    pub(super) hooks: Vec<Arc<str>>,
    /// Whether it belongs to an open stream.
    pub(super) open: bool,
    /// The stream that it ends, which may be open on disk until it is written itself.
    pub(super) closes: Option<Uuid>,
    /// Whether hooks or `open` may be others than in its bytes.
    pub(super) changed: bool,
}

pub(super) enum Place {
    Disk(u64),
    Memory(Bytes),
}

impl Store {
    /// Takes an event for `hooks`, or for none if only its stream matters, and gives it its number.
    pub(super) fn event(&mut self, message: &mut Message, hooks: &[Arc<str>]) {
        message.number = self.number();
        let opens = match (message.kind, message.keys.stream) {
            (EventKind::Opened, Some(stream)) => Some(stream),
            _ => None,
        };
        let closes = match (message.kind, message.keys.stream) {
            (EventKind::Closed, Some(stream)) => {
                self.over(stream);
                Some(stream)
            }
            _ => None,
        };
        let entry = Entry::Event(EventEntry::new(message, hooks, opens.is_some()));
        let bytes = Bytes::from(seal(&entry, Some(&message.body)));
        // One allocation for both: while it waits for the disk, the event is in memory once.
        message.body = bytes.slice(bytes.len() - message.body.len()..);
        if let Some(stream) = opens {
            let open = Open {
                opened: message.number,
                bound: None,
            };
            self.open.insert(stream, open);
        }
        let stored = Stored {
            size: bytes.len() as u32,
            place: Place::Memory(bytes),
            kind: Some(message.kind),
            hooks: hooks.to_vec(),
            open: opens.is_some(),
            closes,
            changed: false,
        };
        self.put(message.number, stored);
    }

    /// A stream is over and no hook wants to know.
    pub(super) fn forget(&mut self, stream: Uuid) {
        if self.over(stream) {
            self.mark(&Entry::Over { stream });
        }
    }

    /// An open stream has another identity.
    pub(super) fn bound(&mut self, mut entry: BoundEntry) {
        let number = self.number();
        let Some(open) = self.open.get_mut(&entry.stream) else {
            return;
        };
        let former = open.bound.replace(number);
        entry.number = number;
        let bytes = Bytes::from(seal(&Entry::Bound(entry), None));
        let stored = Stored {
            size: bytes.len() as u32,
            place: Place::Memory(bytes),
            kind: None,
            hooks: Vec::new(),
            open: true,
            closes: None,
            changed: false,
        };
        self.put(number, stored);
        if let Some(former) = former {
            self.release(former);
        }
    }

    /// A hook is done with an event.
    pub(super) fn settled(&mut self, number: u64, hook: &Arc<str>) {
        let Some(stored) = self.records.get_mut(&number) else {
            return;
        };
        stored.hooks.retain(|other| other != hook);
        stored.changed = true;
        let done = stored.hooks.is_empty() && !stored.open;
        match (&stored.place, stored.closes) {
            (Place::Disk(_), _) => {
                let hook = hook.clone();
                self.mark(&Entry::Settled { number, hook });
            }
            // It will never be written, but that its stream was open is.
            (Place::Memory(_), Some(stream)) if done => self.mark(&Entry::Over { stream }),
            (Place::Memory(_), _) => {}
        }
        if done {
            self.remove(number);
        }
    }

    /// If more records wait for room on the disk than may, gives up one of them.
    pub(super) fn evict(&mut self) -> Option<(u64, Stored)> {
        if self.unwritten.all.len() <= UNWRITTEN_BOUND {
            return None;
        }
        let number = self.unwritten.victim()?;
        let stored = self.remove(number)?;
        Some((number, stored))
    }

    /// The event of this number, from wherever it is; `None` if the disk does not hold it any more.
    pub(super) fn load(&self, number: u64) -> Option<Message> {
        let bytes = self.bytes(self.records.get(&number)?)?;
        let (Entry::Event(entry), body) = unseal(&bytes)? else {
            return None;
        };
        if entry.number != number {
            return None;
        }
        entry.message(bytes.slice(body..))
    }

    /// The identity that an open stream got last, if it got one after its opening.
    pub(super) fn identity(&self, open: Open) -> Option<BoundEntry> {
        let bytes = self.bytes(self.records.get(&open.bound?)?)?;
        match unseal(&bytes)? {
            (Entry::Bound(entry), _) => Some(entry),
            _ => None,
        }
    }

    fn number(&mut self) -> u64 {
        let number = self.next;
        self.next += 1;
        number
    }

    fn put(&mut self, number: u64, stored: Stored) {
        if stored.hooks.is_empty() && !stored.open {
            return;
        }
        // What no reader would take back stays in memory only.
        if stored.size as usize <= LONGEST {
            self.unwritten.insert(number, stored.kind);
        } else {
            tracing::warn!(bytes = stored.size, "an event is too long for the hook log");
        }
        self.records.insert(number, stored);
    }

    /// Takes a stream out of those open; whether it is open on disk.
    pub(super) fn over(&mut self, stream: Uuid) -> bool {
        let Some(Open { opened, bound }) = self.open.remove(&stream) else {
            return false;
        };
        let opened_on_disk = self.release(opened);
        if let Some(bound) = bound {
            self.release(bound);
        }
        opened_on_disk
    }

    /// The record belongs to no open stream any more; whether it is on disk.
    fn release(&mut self, number: u64) -> bool {
        let Some(stored) = self.records.get_mut(&number) else {
            return false;
        };
        stored.open = false;
        stored.changed = true;
        let on_disk = matches!(stored.place, Place::Disk(_));
        if stored.hooks.is_empty() {
            self.remove(number);
        }
        on_disk
    }

    pub(super) fn remove(&mut self, number: u64) -> Option<Stored> {
        self.unwritten.remove(number);
        let stored = self.records.remove(&number)?;
        if let Place::Disk(_) = stored.place {
            self.live -= u64::from(stored.size);
        }
        Some(stored)
    }

    fn mark(&mut self, entry: &Entry) {
        let record = seal(entry, None);
        if self.marks.len() + record.len() > MARKS_BOUND {
            self.broken = true;
        }
        if self.broken {
            // A rewrite leaves out what is not needed.
            self.marks.clear();
        } else {
            self.marks.extend_from_slice(&record);
        }
    }
}
