//! Which threads wait when there is not enough CPU for all.

use rustix::process::{getpriority_process, setpriority_process};

/// A third of a worker's share of a busy CPU (nice + 5, sched(7)), and no wake-up that takes a worker off its CPU.
const BEHIND: i32 = 5;

/// Puts the calling thread, and those that it starts from here on, behind the threads that carry streams: a log that is
/// written or a hook that is tried once more must not make a message wait.
pub fn yield_to_workers() {
    let lowered = getpriority_process(None)
        .and_then(|nice| setpriority_process(None, nice.saturating_add(BEHIND)));
    if let Err(error) = lowered {
        tracing::debug!(%error, "the priority of a thread stays as it is");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_calling_thread_is_lowered() {
        let nice = || getpriority_process(None).unwrap();
        let before = nice();
        let lowered = std::thread::spawn(move || {
            yield_to_workers();
            nice()
        });
        assert_eq!(lowered.join().unwrap(), (before + BEHIND).min(19));
        assert_eq!(nice(), before);
    }
}
