//! The hook log: what has to survive a crash of the process, in one append-only file of the `state_dir`.
//!
//! ```text
//! any thread         the log's thread                                     control runtime
//! emit ── channel ─▶ number, write at once, sync a batch ─▶ queue of hook ─▶ task ─▶ endpoint
//!                      ▲                                      │ full: the event stays in the file
//!                      └──────────── settled, refill ─────────┘
//!
//! sidebeat hook log 1 \n │ boot │ event │ event │ settled │ over │ …      append, rewritten when most of it is dead
//! ```
//!
//! What is written survives the process; fdatasync is for the machine. A disk that is busy may take a second for it, so
//! it runs beside: one at a time, for all that was written until it began, and those events are handed on when it ends.
//! Meanwhile what happens is written on.
//!
//! An `opened` event is also the record of its stream, a `closed` event ends that. What is open at the end of the file
//! was open when the process was killed: the next one reports it.

mod crash;
mod crc32c;
mod dead;
mod directory;
mod error;
mod record;
mod recover;
mod rewrite;
mod scan;
mod spill;
mod store;
mod syncer;
mod write;
mod writer;

use std::path::Path;
use std::sync::Arc;

use tokio::sync::mpsc::UnboundedReceiver;
use uuid::Uuid;

pub use self::error::LogError;
pub(super) use self::record::BoundEntry;

use self::directory::Directory;
use self::recover::Past;
use self::store::Store;
pub(super) use self::syncer::Syncer;
use self::writer::Writer;
use super::dispatch::Command;
use super::shared::Shared;
use crate::priority;

/// A log that nobody writes yet.
pub(super) struct Log {
    store: Store,
    past: Past,
}

impl Log {
    /// Takes the directory for this process and reads what former ones left.
    pub(super) fn open(path: &Path, boot: Uuid) -> Result<Self, LogError> {
        let (store, past) = Store::open(Directory::open(path)?, boot)?;
        Ok(Self { store, past })
    }

    /// Starts the thread that writes; what was left goes to the hooks at once.
    pub(super) fn start(
        self,
        shared: Arc<Shared>,
        source: String,
        commands: UnboundedReceiver<Command>,
    ) -> Result<(), LogError> {
        let Self { store, past } = self;
        let cannot = |source| LogError::System {
            path: store.directory.log(),
            what: "start the thread that writes it",
            source,
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .map_err(cannot)?;
        let syncer = Syncer::start().map_err(cannot)?;
        let path = store.directory.log();
        let writer = Writer::new(Arc::clone(&shared), store, past, source);
        let thread = std::thread::Builder::new().name("hook-log".to_owned());
        let watch = Watch(shared);
        let spawned = thread.spawn(move || {
            let _watch = watch;
            priority::yield_to_workers();
            runtime.block_on(writer.run(commands, syncer))
        });
        spawned.map(drop).map_err(|source| LogError::System {
            path,
            what: "start the thread that writes it",
            source,
        })
    }
}

/// Shows that the thread of the log has ended by a panic. Streams go on and their events are dropped, which is counted;
/// what the log holds, those that were open in it included, is told by the next process.
struct Watch(Arc<Shared>);

impl Drop for Watch {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.metrics.log_failing.set(1);
            tracing::error!(
                "the thread of the hook log has panicked: new events are dropped until a restart"
            );
        }
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) use self::writer::by_hand;
