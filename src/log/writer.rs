//! The thread that writes lines, so that a reader of standard output that hangs stops nobody but it.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, SyncSender, TryRecvError, TrySendError};
use std::sync::mpsc::{channel, sync_channel};
use std::thread;
use std::time::Duration;

use crate::priority;

/// Some 8 MB of long lines: a burst of closes when a network goes away fits.
const QUEUE: usize = 8192;
/// One write call for lines that come together.
const BATCH: usize = 64 * 1024;
/// How long an exit waits for a reader that hangs.
const FLUSH_LIMIT: Duration = Duration::from_secs(1);
/// Between tries on a pipe that somebody has made non-blocking.
const RETRY: Duration = Duration::from_millis(10);

enum Entry {
    Line(Vec<u8>),
    /// Answered when everything before it has been written.
    Flush(Sender<()>),
}

/// Where lines go in; each write is one line.
#[derive(Clone)]
pub(super) struct Lines {
    queue: SyncSender<Entry>,
    dropped: Arc<AtomicU64>,
}

/// The thread; dropping this waits until it has written what is queued, at most a second.
pub(super) struct Writer {
    queue: SyncSender<Entry>,
}

/// Starts the thread that writes to `out`; `tell_dropped` is called with the number of lines lost, once there is room again.
pub(super) fn start(
    out: impl Write + Send + 'static,
    tell_dropped: impl Fn(u64) + Send + 'static,
) -> io::Result<(Lines, Writer)> {
    let (queue, entries) = sync_channel(QUEUE);
    let dropped = Arc::new(AtomicU64::new(0));
    let lines = Lines {
        queue: queue.clone(),
        dropped: Arc::clone(&dropped),
    };
    thread::Builder::new()
        .name("log".to_owned())
        .spawn(move || {
            priority::yield_to_workers();
            run(&entries, &dropped, out, tell_dropped)
        })?;
    Ok((lines, Writer { queue }))
}

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.queue.try_send(Entry::Line(line.to_vec())).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Writer {
    /// Waits until everything logged before has been written, at most a second.
    pub(super) fn flush(&self) {
        let (done, flushed) = channel();
        let mut entry = Entry::Flush(done);
        let mut left = FLUSH_LIMIT;
        while let Err(TrySendError::Full(back)) = self.queue.try_send(entry) {
            if left.is_zero() {
                return;
            }
            thread::sleep(RETRY);
            left = left.saturating_sub(RETRY);
            entry = back;
        }
        // Disconnected or too late: there is nobody left to wait for.
        let _ = flushed.recv_timeout(left);
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.flush();
    }
}

fn run(
    entries: &Receiver<Entry>,
    dropped: &AtomicU64,
    mut out: impl Write,
    tell_dropped: impl Fn(u64),
) {
    let mut batch = Vec::new();
    while let Ok(first) = entries.recv() {
        let mut next = Ok(first);
        let mut flushes = Vec::new();
        loop {
            match next {
                Ok(Entry::Line(line)) => batch.extend(line),
                Ok(Entry::Flush(done)) => flushes.push(done),
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
            }
            if batch.len() >= BATCH {
                break;
            }
            next = entries.try_recv();
        }
        write_all(&mut out, &batch);
        batch.clear();
        let lost = dropped.swap(0, Ordering::Relaxed);
        if lost > 0 {
            tell_dropped(lost);
        }
        for done in flushes {
            // Whoever asked may have given up.
            let _ = done.send(());
        }
    }
}

/// Writes everything, or gives up on these lines: a log that cannot be written is no reason to end.
fn write_all(out: &mut impl Write, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match out.write(bytes) {
            Ok(0) => return,
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(RETRY),
            Err(_) => return,
        }
    }
    // The same holds for a flush that fails.
    let _ = out.flush();
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// Output that takes nothing while the test holds the lock.
    #[derive(Clone, Default)]
    struct Reader(Arc<Mutex<Vec<u8>>>);

    impl Write for Reader {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_come_out_whole_and_in_order() {
        let reader = Reader::default();
        let (mut lines, writer) = start(reader.clone(), |_| ()).unwrap();
        let mut expected = String::new();
        for number in 0..1000 {
            let line = format!("line {number}\n");
            lines.write_all(line.as_bytes()).unwrap();
            expected += &line;
        }
        drop(writer);
        assert_eq!(*reader.0.lock().unwrap(), expected.as_bytes());
    }

    #[test]
    fn a_stuck_reader_costs_lines_and_stops_nobody() {
        let reader = Reader::default();
        let stuck = reader.0.lock().unwrap();
        let (tell, told) = channel();
        let (mut lines, writer) = start(reader.clone(), move |lost| {
            let _ = tell.send(lost);
        })
        .unwrap();
        for _ in 0..QUEUE {
            lines.write_all(b"x\n").unwrap();
        }
        assert_eq!(
            lines.dropped.load(Ordering::Relaxed),
            0,
            "the queue holds them"
        );
        // Before it got stuck the thread can have taken a batch out of the queue, which makes room for as much.
        let tried = 2 * QUEUE + BATCH;
        for _ in 0..tried {
            lines.write_all(b"x\n").unwrap();
        }
        let lost = lines.dropped.load(Ordering::Relaxed);
        assert!(lost > 0);
        drop(stuck);
        assert_eq!(told.recv().unwrap(), lost);
        drop(writer);
        let written = reader.0.lock().unwrap().len() / 2;
        assert_eq!(written as u64 + lost, (QUEUE + tried) as u64);
    }

    #[test]
    fn an_exit_does_not_wait_for_a_stuck_reader_for_ever() {
        let reader = Reader::default();
        let stuck = reader.0.lock().unwrap();
        let (mut lines, writer) = start(reader.clone(), |_| ()).unwrap();
        for _ in 0..4 * QUEUE {
            lines.write_all(b"x\n").unwrap();
        }
        drop(writer);
        drop(stuck);
    }

    #[test]
    fn interrupted_and_non_blocking_output_is_tried_again() {
        struct Fussy(Vec<u8>, u32);
        impl Write for Fussy {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.1 += 1;
                match self.1 % 3 {
                    1 => Err(io::ErrorKind::Interrupted.into()),
                    2 => Err(io::ErrorKind::WouldBlock.into()),
                    _ => {
                        self.0.push(bytes[0]);
                        Ok(1)
                    }
                }
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut fussy = Fussy(Vec::new(), 0);
        write_all(&mut fussy, b"abc");
        assert_eq!(fussy.0, b"abc");
    }
}
