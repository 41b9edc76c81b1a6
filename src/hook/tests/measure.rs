//! What a stream pays for its events and what the log takes:
//! `cargo test --release --lib hook::tests::measure -- --ignored --nocapture`.

use super::*;

/// Fewer than may be on their way, so that none is dropped.
const EVENTS: u32 = 10_000;

fn measure(what: &str, state_dir: Option<&Path>) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    // Nobody listens there: delivery costs next to nothing.
    let app = hook("http://127.0.0.1:1/");
    let proxy = Proxy::start_in(state_dir, runtime.handle(), &[("app", &app)]);
    let mut emitting = Duration::ZERO;
    let began = Instant::now();
    for stream in 0..EVENTS.into() {
        let (opened, closed) = (
            Arc::new(opened(stream, None)),
            Arc::new(closed(stream, None)),
        );
        let now = SystemTime::now();
        let started = Instant::now();
        proxy.hooks.emit(Event::Opened(opened), now);
        proxy.hooks.emit(Event::Closed(closed), now);
        emitting += started.elapsed();
    }
    let pending = &proxy.hooks.shared.pending;
    while pending.load(Ordering::Acquire) > 0 {
        std::thread::yield_now();
    }
    let rate = f64::from(2 * EVENTS) / began.elapsed().as_secs_f64();
    println!(
        "{what}: emit {:?}, {rate:.0} events a second to the queue",
        emitting / (2 * EVENTS)
    );
}

#[test]
#[ignore = "a measurement"]
fn the_cost_of_an_event() {
    let directory = tempfile::tempdir().unwrap();
    for _ in 0..3 {
        measure("without a log", None);
        let path = directory.path().join(Uuid::now_v7().to_string());
        measure("with a log", Some(&path));
    }
}
