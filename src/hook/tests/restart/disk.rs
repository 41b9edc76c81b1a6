//! While the disk is full, slow or fails.

use super::super::super::log::Syncer;
use super::*;

const FAILING: &str = "sidebeat_hook_log_failing";

#[tokio::test]
async fn of_what_waits_for_a_full_disk_the_oldest_are_given_up_and_those_in_no_queue_are_lost() {
    let (receiver, _gate) = gated().await;
    let (proxy, mut tap) = by_hand(&receiver.hook());
    tap.log.fill_disk();
    let mut streams = 0..;
    // As many as the queue holds and may wait for the disk, then ten that are spilled, then as many again.
    for (events, dropped) in [(CAPACITY, 0.0), (10, 0.0), (CAPACITY, 10.0)] {
        for stream in streams.by_ref().take(events) {
            proxy.closed(stream, None);
        }
        assert_eq!(tap.events().len(), events);
        tap.log.turn();
        assert_eq!(proxy.result("dropped"), dropped, "behind {events} more");
    }
}

#[tokio::test(start_paused = true)]
async fn a_log_that_cannot_be_written_is_tried_again_after_a_second() {
    let (proxy, mut tap) = by_hand(&hook("http://127.0.0.1:1/"));
    tap.log.fill_disk();
    proxy.closed(1, None);
    tap.events();
    tap.log.turn();
    tap.log.free_disk();
    for (later, failing) in [(0, 1.0), (999, 1.0), (1, 0.0)] {
        tokio::time::advance(Duration::from_millis(later)).await;
        tap.log.turn();
        assert_eq!(proxy.metric(FAILING), Some(failing), "{later} ms later");
        assert_eq!(tap.log.is_written(), failing == 0.0);
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_is_handed_on_when_the_disk_keeps_it_or_has_failed() {
    let (proxy, tap) = by_hand(&hook("http://127.0.0.1:1/"));
    let pending = || proxy.hooks.shared.pending.load(Ordering::Acquire);
    let (syncer, syncs) = Syncer::by_hand();
    tokio::spawn(tap.run(syncer));
    let failed = Err(std::io::Error::other("a bad sector"));
    for (outcome, failing) in [(Ok(()), 0.0), (failed, 1.0)] {
        proxy.closed(1, None);
        settle().await;
        let sync = syncs.try_recv().unwrap();
        assert_eq!(pending(), 1);
        sync.end(outcome);
        settle().await;
        assert_eq!(pending(), 0);
        assert_eq!(proxy.metric(FAILING), Some(failing));
    }
    tokio::time::advance(Duration::from_secs(1)).await;
    settle().await;
    assert_eq!(proxy.metric(FAILING), Some(0.0), "it is written anew");
}

#[tokio::test]
async fn the_ends_of_streams_that_were_open_wait_for_one_sync() {
    let (proxy, mut tap) = by_hand(&hook("http://127.0.0.1:1/"));
    (1..=3).for_each(|stream| proxy.opened(stream, None));
    tap.events();
    tap.log.write();
    let told = tap.log.next_life(|written| *written.end());
    let closed = told.iter().filter(|told| told.kind == EventKind::Closed);
    assert_eq!(closed.count(), 3);
}

/// Lets every task do what it can without more time.
async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}
