//! Brings the file up to date, and reads from it.

use std::collections::HashSet;
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use uuid::Uuid;

use super::record::{Entry, is_intact, seal, unseal};
use super::store::{Place, Store, Stored};

/// What is still needed takes at most this much of the disk, and with what is not needed any more the file twice as
/// much: at a kilobyte and a half an event, three and a half minutes of 1,000 opens and closes a second.
pub(super) const LIVE_BOUND: u64 = 512 * 1024 * 1024;

/// Why the log on disk is behind.
#[derive(Debug, thiserror::Error)]
pub(super) enum WriteError {
    #[error("{0}")]
    System(#[from] std::io::Error),
    #[error("it holds {} MiB that are not delivered yet, which is its bound", LIVE_BOUND >> 20)]
    Bound,
}

impl Store {
    /// Brings the file up to date; whether the disk keeps it if the machine fails is another matter.
    pub(super) fn commit(&mut self) -> Result<(), WriteError> {
        if self.broken {
            self.rewrite()?;
        }
        match self.write() {
            Ok(()) => {}
            // Room can be had from what is not needed any more.
            Err(WriteError::System(error)) if is_full(&error) && self.is_wasteful() => {
                self.rewrite()?;
                self.write()?;
            }
            Err(error) => return Err(error),
        }
        if self.length >= self.rewrite_at && self.length - self.live > self.live {
            self.rewrite()?;
        }
        Ok(())
    }

    /// Whether a rewrite on a full disk is worth its price.
    fn is_wasteful(&self) -> bool {
        (self.length - self.live) * 8 > self.live
    }

    /// Writes what is unwritten behind the file.
    fn write(&mut self) -> Result<(), WriteError> {
        if self.unwritten.all.is_empty() && self.marks.is_empty() {
            return Ok(());
        }
        let mut bytes = Vec::new();
        let mut written = Vec::new();
        let mut bounded = false;
        let ending = self.ending();
        for &number in &self.unwritten.all {
            let stored = self.records.get(&number);
            let Some(record) = stored.and_then(|stored| self.image(stored, &ending)) else {
                continue;
            };
            bounded = self.live + (bytes.len() + record.len()) as u64 > LIVE_BOUND;
            if bounded {
                break;
            }
            written.push((
                number,
                self.length + bytes.len() as u64,
                record.len() as u32,
            ));
            bytes.extend_from_slice(&record);
        }
        bytes.extend_from_slice(&self.marks);
        if let Err(error) = self.file.write_all_at(&bytes, self.length) {
            // Half a record at the end is no damage once it is cut off.
            self.broken |= self.file.set_len(self.length).is_err();
            return Err(error.into());
        }
        // That something is not needed any more can wait for the next event: its loss costs a repetition.
        self.unsynced |= !written.is_empty();
        self.length += bytes.len() as u64;
        self.marks.clear();
        for (number, at, size) in written {
            self.placed(number, at, size);
        }
        if bounded {
            return Err(WriteError::Bound);
        }
        Ok(())
    }

    /// The file if the disk has yet to be told to keep what was written to it, which is then the caller's to do.
    pub(super) fn take_unsynced(&mut self) -> Option<Arc<File>> {
        std::mem::take(&mut self.unsynced).then(|| Arc::clone(&self.file))
    }

    /// Takes note of where a record is.
    pub(super) fn placed(&mut self, number: u64, at: u64, size: u32) {
        self.unwritten.remove(number);
        if let Some(stored) = self.records.get_mut(&number) {
            stored.place = Place::Disk(at);
            stored.size = size;
            self.live += u64::from(size);
        }
    }

    /// The streams whose ends are unwritten. On disk they stay open until then: a write may be cut off before the end.
    pub(super) fn ending(&self) -> HashSet<Uuid> {
        let unwritten = self.unwritten.all.iter();
        let closes = unwritten.filter_map(|number| self.records.get(number)?.closes);
        closes.collect()
    }

    /// The bytes of a record as it is to be written now; `None` if the disk does not hold it any more.
    pub(super) fn image(&self, stored: &Stored, ending: &HashSet<Uuid>) -> Option<Bytes> {
        let bytes = self.bytes(stored)?;
        if !stored.changed {
            return Some(bytes);
        }
        match unseal(&bytes)? {
            (Entry::Event(mut entry), body) => {
                entry.hooks.clone_from(&stored.hooks);
                let ends = entry.stream.is_some_and(|stream| ending.contains(&stream));
                entry.open = stored.open || (entry.open && ends);
                let sealed = seal(&Entry::Event(entry), Some(&bytes[body..]));
                Some(Bytes::from(sealed))
            }
            _ => Some(bytes),
        }
    }

    pub(super) fn bytes(&self, stored: &Stored) -> Option<Bytes> {
        match &stored.place {
            Place::Memory(bytes) => Some(bytes.clone()),
            Place::Disk(at) => {
                let mut bytes = vec![0; stored.size as usize];
                self.file.read_exact_at(&mut bytes, *at).ok()?;
                is_intact(&bytes).then(|| Bytes::from(bytes))
            }
        }
    }
}

pub(super) fn is_full(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded
    )
}
