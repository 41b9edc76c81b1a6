//! The thread that waits for the disk. It is there from the start: one that was begun when it is needed would be missing
//! where memory or the number of threads has run out.

use std::fs::File;
use std::io;
use std::sync::{Arc, mpsc};

use tokio::sync::oneshot;

use crate::priority;

/// Has the disk keep files, one after the other.
pub(in crate::hook) struct Syncer(mpsc::Sender<Job>);

pub(in crate::hook) struct Job {
    file: Arc<File>,
    done: oneshot::Sender<io::Result<()>>,
}

impl Syncer {
    /// Starts the thread; it ends with the last job after the syncer is gone.
    pub(super) fn start() -> io::Result<Self> {
        let (jobs, todo) = mpsc::channel::<Job>();
        let thread = std::thread::Builder::new().name("hook-log-sync".to_owned());
        thread.spawn(move || {
            priority::yield_to_workers();
            for Job { file, done } in todo {
                // A log that has ended does not wait any more.
                let _ = done.send(file.sync_data());
            }
        })?;
        Ok(Self(jobs))
    }

    /// Has the disk keep what was written to `file` until now.
    pub(super) fn sync(&self, file: Arc<File>) -> Syncing {
        let (done, told) = oneshot::channel();
        // If the thread were gone, so would be the job, and `told` says that.
        let _ = self.0.send(Job { file, done });
        Syncing(told)
    }
}

/// A sync under way.
pub(super) struct Syncing(oneshot::Receiver<io::Result<()>>);

impl Syncing {
    /// Waits for its end; may be called again if it was interrupted.
    pub(super) async fn done(&mut self) -> io::Result<()> {
        let told = (&mut self.0).await;
        told.unwrap_or_else(|_| Err(io::Error::other("the thread that syncs is gone")))
    }
}

#[cfg(test)]
impl Syncer {
    /// Its jobs are the test's to end.
    pub(in crate::hook) fn by_hand() -> (Self, mpsc::Receiver<Job>) {
        let (jobs, todo) = mpsc::channel();
        (Self(jobs), todo)
    }
}

#[cfg(test)]
impl Job {
    pub(in crate::hook) fn end(self, outcome: io::Result<()>) {
        self.done.send(outcome).unwrap();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_thread_does_it_all_and_tells_how_it_went() {
        let syncer = Syncer::start().unwrap();
        let good = Arc::new(tempfile::tempfile().unwrap());
        // A pipe cannot be synced.
        let bad = std::fs::File::from(std::os::fd::OwnedFd::from(std::io::pipe().unwrap().1));
        let (mut first, mut second) = (syncer.sync(good.clone()), syncer.sync(Arc::new(bad)));
        first.done().await.unwrap();
        second.done().await.unwrap_err();
        let mut last = syncer.sync(good);
        drop(syncer);
        last.done().await.unwrap();
    }
}
