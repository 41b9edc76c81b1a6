//! What the hooks are told across the ends of processes, by way of the log in `state_dir`.

mod crash;
mod dead_letters;
mod disk;
mod left;

use std::collections::HashSet;
use std::path::PathBuf;

use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::*;

/// A process with a log. It has a runtime of its own, so that nothing of it goes on when it is over.
struct Life {
    proxy: Proxy,
    runtime: Option<Runtime>,
    state_dir: PathBuf,
}

impl Drop for Life {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Life {
    fn begin(state_dir: &Path, hooks: &[(&str, &config::Hook)]) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let proxy = Proxy::start_in(Some(state_dir), runtime.handle(), hooks);
        proxy.hooks.begin();
        Self {
            proxy,
            runtime: Some(runtime),
            state_dir: state_dir.to_owned(),
        }
    }

    /// Waits until everything that was emitted is on disk.
    async fn committed(&self) {
        let pending = &self.proxy.hooks.shared.pending;
        until(|| pending.load(Ordering::Acquire) == 0).await;
    }

    /// Nothing of it runs any more, but what it sent may still arrive.
    fn stop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // A runtime is not to be dropped within another.
            std::thread::spawn(move || drop(runtime)).join().unwrap();
        }
    }

    /// Ends it as SIGKILL does; what was on disk is in the new directory.
    fn kill(mut self) -> TempDir {
        let left = tempfile::tempdir().unwrap();
        std::fs::copy(
            self.state_dir.join("hooks.log"),
            left.path().join("hooks.log"),
        )
        .unwrap();
        self.stop();
        left
    }

    /// Ends it after its events are settled.
    async fn end(mut self) {
        self.proxy.settled().await;
        self.stop();
        let lock = std::fs::File::open(self.state_dir.join("lock")).unwrap();
        drop(self);
        // The thread of the log gives the directory free.
        until(|| lock.try_lock().is_ok()).await;
    }
}

/// A log in the hands of a test, for a hook.
fn by_hand(hook: &config::Hook) -> (Proxy, Tap) {
    let registry = Registry::new();
    let metrics = HookMetrics::register(&registry);
    let (hooks, tap) = tapped(&named(&[("app", hook)]), metrics, &Handle::current()).unwrap();
    (Proxy { hooks, registry }, tap)
}

async fn until(mut condition: impl FnMut() -> bool) {
    let look = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, look).await.unwrap();
}

fn everything(receiver: &Receiver) -> config::Hook {
    config::Hook {
        events: vec![EventKind::Opened, EventKind::Closed, EventKind::Started],
        ..receiver.hook()
    }
}

/// Answers 503 until the gate opens.
async fn gated() -> (Receiver, watch::Sender<bool>) {
    let (open, gate) = watch::channel(false);
    let receiver = Receiver::start(move |_, _| match *gate.borrow() {
        true => Answer::Status(200),
        false => Answer::Status(503),
    })
    .await;
    (receiver, open)
}

/// The requests without repetitions.
fn distinct(requests: &[Received]) -> Vec<Received> {
    let mut seen = HashSet::new();
    let mut distinct = requests.to_vec();
    distinct.retain(|request| seen.insert(request.header("webhook-id").to_owned()));
    distinct
}

fn events(receiver: &Receiver, kind: &str) -> Vec<Value> {
    let all = distinct(&receiver.all())
        .into_iter()
        .map(|request| request.event());
    all.filter(|event| event["type"] == kind).collect()
}

const STARTED: &str = "sidebeat.proxy.started";
const OPENED: &str = "sidebeat.stream.opened";
const CLOSED: &str = "sidebeat.stream.closed";

#[tokio::test]
async fn nothing_comes_twice_after_a_good_end_and_the_boots_are_known_by_name() {
    let receiver = Receiver::start(|_, _| Answer::Status(200)).await;
    let (directory, app) = (tempfile::tempdir().unwrap(), everything(&receiver));
    let first = Life::begin(directory.path(), &[("app", &app)]);
    first.proxy.opened(1, Some("42"));
    first.proxy.closed(1, Some("42"));
    first.committed().await;
    assert!(first.proxy.metric("sidebeat_hook_log_bytes").unwrap() > 0.0);
    assert!(first.proxy.hooks.survive());
    first.end().await;
    let second = Life::begin(directory.path(), &[("app", &app)]);
    second.end().await;
    assert_eq!(receiver.all().len(), 4);
    let started = events(&receiver, STARTED);
    assert_eq!(started[0]["data"]["former_boot_id"], Value::Null);
    let boot = started[1]["data"]["former_boot_id"].as_str().unwrap();
    let source = started[0]["source"].as_str().unwrap();
    assert!(source.ends_with(&format!("/{boot}")), "{source} {boot}");
    assert_eq!(started[1]["data"]["recovered"], 0);
}

#[tokio::test]
async fn a_second_process_on_the_directory_is_refused() {
    let app = hook("http://127.0.0.1:1/");
    let directory = tempfile::tempdir().unwrap();
    let _first = Life::begin(directory.path(), &[("app", &app)]);
    let second = Hooks::start_with(
        &named(&[("app", &app)]),
        Some(directory.path()),
        HookMetrics::register(&Registry::new()),
        &Handle::current(),
    );
    let error = second.err().unwrap();
    assert!(error.is_system());
    assert!(
        error.to_string().contains("another process uses it"),
        "{error}"
    );
}

#[tokio::test]
async fn a_clock_that_is_set_forth_expires_nothing_that_waits_in_the_log() {
    let receiver = Receiver::start(|_, _| Answer::Status(200)).await;
    let (proxy, mut tap) = by_hand(&receiver.hook());
    let an_hour_off = SystemTime::now() - Duration::from_secs(3_600);
    let long_ago = Instant::now() - Duration::from_secs(901);
    // The queue is full of what is too old, so that the last one waits in the log.
    for (events, instant) in [(CAPACITY, long_ago), (1, Instant::now())] {
        for stream in 0..events {
            let event = Event::Closed(Arc::new(closed(stream as u128, None)));
            proxy.hooks.emit(event, an_hour_off, instant);
        }
        assert_eq!(tap.events().len(), events);
        tap.log.turn();
    }
    let delivered = || {
        tap.events();
        tap.log.turn();
        proxy.result("delivered") == 1.0
    };
    until(delivered).await;
    assert_eq!(proxy.result("expired"), CAPACITY as f64);
}
