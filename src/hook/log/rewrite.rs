//! Rewrites the log without what is not needed any more.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;

use super::directory::{head, options};
use super::store::{Place, Store};
use super::write::is_full;

/// A rewrite is thought of when the file has grown by this much: twenty thousand events.
const LEAST_GROWTH: u64 = 32 * 1024 * 1024;
/// What is needed may be held in memory while the file is rewritten in its own place.
const IN_PLACE_BOUND: u64 = 16 * 1024 * 1024;

/// What was written where.
#[derive(Default)]
struct Written {
    records: Vec<(u64, u64, u32)>,
    /// Numbers that the old file does not hold any more.
    lost: Vec<u64>,
    length: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Which {
    All,
    OnDisk,
}

impl Store {
    /// Replaces the file by one that holds only what is needed.
    pub(super) fn rewrite(&mut self) -> std::io::Result<()> {
        self.rewrite_at = self.length + LEAST_GROWTH;
        match self.rewrite_beside() {
            Err(error) if is_full(&error) && !self.broken && self.live <= IN_PLACE_BOUND => {
                self.rewrite_in_place().map_err(|_| error)
            }
            done => done,
        }
    }

    /// A new file takes the name of the old one when it is complete: at any instant one of them is there.
    fn rewrite_beside(&mut self) -> std::io::Result<()> {
        let path = self.directory.next_log();
        let written = self.write_new(&path).inspect_err(|_| {
            // Half a file takes room that is needed; the next rewrite cuts what is left of it.
            let _ = std::fs::remove_file(&path);
        });
        let (file, written) = written?;
        std::fs::rename(&path, self.directory.log())?;
        self.file = Arc::new(file);
        self.unsynced = false;
        self.broken = false;
        self.marks.clear();
        self.adopt(&written);
        self.directory.sync()
    }

    fn write_new(&self, path: &std::path::Path) -> std::io::Result<(File, Written)> {
        let file = options().open(path)?;
        file.set_len(0)?;
        let mut to = BufWriter::new(&file);
        let written = self.write_all(Which::All, &mut to)?;
        to.flush()?;
        drop(to);
        file.sync_all()?;
        Ok((file, written))
    }

    /// On a full disk there is no room for a second file, but what is needed has room in the first. A process that is
    /// killed meanwhile leaves old records behind the new ones; their streams and events are then told again, under
    /// the ids that they had.
    pub(super) fn rewrite_in_place(&mut self) -> std::io::Result<()> {
        let mut bytes = Vec::new();
        let written = self.write_all(Which::OnDisk, &mut bytes)?;
        if written.length > self.length {
            return Err(std::io::ErrorKind::StorageFull.into());
        }
        let bytes = Bytes::from(bytes);
        let replaced = self.file.write_all_at(&bytes, 0);
        let replaced = replaced.and_then(|()| self.file.set_len(written.length));
        if let Err(error) = replaced.and_then(|()| self.file.sync_data()) {
            self.keep_in_memory(&bytes, &written);
            return Err(error);
        }
        self.marks.clear();
        self.adopt(&written);
        Ok(())
    }

    /// Writes head, boot and records.
    fn write_all(&self, which: Which, to: &mut impl Write) -> std::io::Result<Written> {
        let head = head();
        to.write_all(head.as_bytes())?;
        to.write_all(&self.boot)?;
        let mut written = Written {
            length: (head.len() + self.boot.len()) as u64,
            ..Written::default()
        };
        let ending = self.ending();
        for (&number, stored) in &self.records {
            let on_disk = matches!(stored.place, Place::Disk(_));
            if !on_disk && (which == Which::OnDisk || !self.unwritten.contains(number)) {
                continue;
            }
            let Some(record) = self.image(stored, &ending) else {
                written.lost.push(number);
                continue;
            };
            to.write_all(&record)?;
            let size = record.len() as u32;
            written.records.push((number, written.length, size));
            written.length += u64::from(size);
        }
        Ok(written)
    }

    fn adopt(&mut self, written: &Written) {
        self.length = written.length;
        self.live = (head().len() + self.boot.len()) as u64;
        self.rewrite_at = self.length + self.length.max(LEAST_GROWTH);
        for &(number, at, size) in &written.records {
            self.placed(number, at, size);
        }
        for number in &written.lost {
            if let Some(stored) = self.records.get_mut(number) {
                // Found missing when it is wanted.
                stored.place = Place::Memory(Bytes::new());
            }
        }
        if let records @ 1.. = written.lost.len() {
            tracing::error!(
                records,
                "the hook log has lost records: the disk gave back other bytes than were written"
            );
        }
    }

    /// The file is neither the old nor the new one: what was in it is in memory until it can be written.
    fn keep_in_memory(&mut self, bytes: &Bytes, written: &Written) {
        self.broken = true;
        for &(number, at, size) in &written.records {
            if let Some(stored) = self.records.get_mut(&number) {
                let range = at as usize..at as usize + size as usize;
                stored.place = Place::Memory(bytes.slice(range));
                stored.size = size;
                self.unwritten.insert(number, stored.kind);
            }
        }
        self.live = 0;
    }
}
