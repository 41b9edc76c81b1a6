//! Reads what former processes left.

use std::collections::{BTreeMap, HashMap};
use std::io::{Seek, SeekFrom};
use std::sync::Arc;

use bytes::Bytes;
use uuid::Uuid;

use super::LogError;
use super::directory::{Directory, Head, head};
use super::record::{BoundEntry, Entry, EventEntry, seal};
use super::scan::{Found, Scanner};
use super::store::{Open, Place, Store, Stored, Unwritten};
use crate::config::EventKind;

/// What was found in a log besides the events.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Past {
    /// The boot id of the process before.
    pub(super) boot: Option<Uuid>,
    /// Its open streams, in the order of their openings.
    pub(super) open: Vec<Uuid>,
    /// Damaged bytes that were skipped.
    pub(super) damaged: u64,
    /// Bytes of an unfinished record that were cut off.
    pub(super) torn: u64,
}

impl Store {
    /// Opens the log, or begins one, for the process called `boot`. Nothing is changed if it is refused.
    pub(super) fn open(directory: Directory, boot: Uuid) -> Result<(Self, Past), LogError> {
        let (mut file, first) = directory.open_log()?;
        let start = match first {
            Head::Known => head().len() as u64,
            Head::Missing => 0,
        };
        file.seek(SeekFrom::Start(start))
            .map_err(|source| directory.error("read the file `hooks.log` in it", source))?;
        let mut store = Self {
            directory,
            file: Arc::new(file),
            length: start,
            live: start,
            rewrite_at: 0,
            boot: Bytes::from(seal(&Entry::Boot { id: boot }, None)),
            next: 1,
            records: BTreeMap::new(),
            open: HashMap::new(),
            unwritten: Unwritten::default(),
            marks: Vec::new(),
            unsynced: false,
            broken: first == Head::Missing,
        };
        let mut past = Past::default();
        if first == Head::Known {
            let read = store.replay(&mut past);
            read.map_err(|source| {
                store
                    .directory
                    .error("read the file `hooks.log` in it", source)
            })?;
        }
        let mut open: Vec<_> = store
            .open
            .iter()
            .map(|(stream, open)| (open.opened, *stream))
            .collect();
        open.sort_unstable();
        past.open = open.into_iter().map(|(_, stream)| stream).collect();
        store.begin();
        Ok((store, past))
    }

    /// Rewrites the file, which leaves out damage; on a full disk goes on behind what there is.
    fn begin(&mut self) {
        if self.rewrite().is_err() && !self.broken {
            // What is torn is cut off.
            self.broken = self.file.set_len(self.length).is_err();
            self.marks.splice(0..0, self.boot.iter().copied());
            self.live += self.boot.len() as u64;
        }
    }

    fn replay(&mut self, past: &mut Past) -> std::io::Result<()> {
        let file = self.file.try_clone()?;
        let mut scanner = Scanner::new(file, self.length);
        while let Some(found) = scanner.next()? {
            match found {
                Found::Record { entry, at, size } => {
                    self.length = at + u64::from(size);
                    self.take(entry, at, size, past);
                }
                Found::Damage(range) => past.damaged += range.end - range.start,
                Found::Torn(range) => past.torn = range.end - range.start,
            }
        }
        Ok(())
    }

    fn take(&mut self, entry: Entry, at: u64, size: u32, past: &mut Past) {
        match entry {
            Entry::Boot { id } => past.boot = Some(id),
            // Numbers rise: what does not is left from before a rewrite that was cut off.
            Entry::Event(event) if event.number >= self.next => self.take_event(event, at, size),
            Entry::Bound(bound) if bound.number >= self.next => self.take_bound(&bound, at, size),
            Entry::Event(_) | Entry::Bound(_) => {}
            Entry::Settled { number, hook } => {
                self.settled(number, &hook);
                // That it is settled stands in the file already.
                self.marks.clear();
            }
            Entry::Over { stream } => drop(self.over(stream)),
        }
    }

    fn take_event(&mut self, event: EventEntry, at: u64, size: u32) {
        self.next = event.number + 1;
        let Some(kind) = event.kind() else { return };
        let mut open = false;
        match (kind, event.stream) {
            (EventKind::Opened, Some(stream)) if event.open => {
                open = true;
                let opened = event.number;
                self.open.insert(
                    stream,
                    Open {
                        opened,
                        bound: None,
                    },
                );
            }
            (EventKind::Closed, Some(stream)) => drop(self.over(stream)),
            _ => {}
        }
        if event.hooks.is_empty() && !open {
            return;
        }
        let stored = Stored {
            place: Place::Disk(at),
            size,
            kind: Some(kind),
            hooks: event.hooks,
            open,
            closes: None,
            changed: false,
        };
        self.live += u64::from(size);
        self.records.insert(event.number, stored);
    }

    fn take_bound(&mut self, bound: &BoundEntry, at: u64, size: u32) {
        self.next = bound.number + 1;
        let Some(open) = self.open.get_mut(&bound.stream) else {
            return;
        };
        let former = open.bound.replace(bound.number);
        let stored = Stored {
            place: Place::Disk(at),
            size,
            kind: None,
            hooks: Vec::new(),
            open: true,
            closes: None,
            changed: false,
        };
        self.live += u64::from(size);
        self.records.insert(bound.number, stored);
        if let Some(former) = former {
            self.remove(former);
        }
    }
}
