//! What the hooks are told across the ends of processes, by way of the log in `state_dir`.

use std::collections::HashSet;
use std::path::PathBuf;

use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::*;
use crate::hook::event::tests::check;
use crate::registry::{Identity, Opening};
use crate::worker::Home;

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
        proxy.hooks.begin(SystemTime::now());
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

async fn until(condition: impl Fn() -> bool) {
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
async fn streams_open_at_a_crash_are_reported_once_in_order_and_under_their_last_uid() {
    let (receiver, open) = gated().await;
    open.send(true).unwrap();
    let (directory, app) = (tempfile::tempdir().unwrap(), everything(&receiver));
    let first = Life::begin(directory.path(), &[("app", &app)]);
    first.proxy.opened(1, Some("42"));
    first.proxy.opened(2, None);
    first.proxy.opened(3, Some("42"));
    first.proxy.closed(3, Some("42"));
    first.proxy.hooks.rebound(&entry(2, "late"));
    receiver.wait_for(5).await;
    // Also what the receiver has said to them: an event whose answer is not written comes again.
    first.proxy.settled().await;
    first.committed().await;
    let left = first.kill();
    // Nothing of what the second process says comes through before it is killed, too.
    open.send(false).unwrap();
    let second = Life::begin(left.path(), &[("app", &app)]);
    second.committed().await;
    let left = second.kill();
    let before = receiver.all().len();
    open.send(true).unwrap();
    let third = Life::begin(left.path(), &[("app", &app)]);
    third.proxy.opened(4, Some("42"));
    third.committed().await;
    third.proxy.settled().await;

    let received = distinct(&receiver.all()[before..]);
    let received: Vec<Value> = received.iter().map(Received::event).collect();
    let of = |kind: &str| -> Vec<&Value> {
        received
            .iter()
            .filter(|event| event["type"] == kind)
            .collect()
    };
    let schema = schema();
    for event in &received {
        let definition = &schema["$defs"][event["type"].as_str().unwrap()];
        check(&schema, definition, event).unwrap();
    }
    let started = of(STARTED);
    let recovered: Vec<&Value> = started
        .iter()
        .map(|event| &event["data"]["recovered"])
        .collect();
    assert_eq!(recovered, [2, 0], "the third process found nothing open");
    let mut closed = of(CLOSED);
    closed.retain(|event| event["data"]["reason"] == "sidecar_crash");
    let uids: HashSet<&str> = closed
        .iter()
        .map(|event| event["data"]["uid"].as_str().unwrap())
        .collect();
    assert_eq!((closed.len(), uids), (2, HashSet::from(["42", "late"])));
    for event in &closed {
        let data = &event["data"];
        assert_eq!(data["by"], "sidecar");
        assert_eq!(data["uid_streams_left"], 0);
        assert_eq!(data["closed_at"], event["time"]);
        assert_eq!(
            data["bytes"],
            serde_json::json!({"client": null, "upstream": null})
        );
        assert_eq!(data["pings"]["sent"], Value::Null);
        assert_eq!(
            event["source"], started[0]["source"],
            "of the process that found it"
        );
        assert_eq!(event["partitionkey"], data["uid"]);
    }
    let late = closed
        .iter()
        .find(|event| event["data"]["uid"] == "late")
        .unwrap();
    assert_eq!(late["data"]["uid_source"], "response_header");
    assert_eq!(late["data"]["tags"], serde_json::json!(["vip"]));
    // The user who is back is told of after he was gone.
    let place = |kind: &str, subject: u128| {
        let subject = Uuid::from_u128(subject).to_string();
        received
            .iter()
            .position(|event| event["type"] == kind && event["subject"] == *subject)
            .unwrap()
    };
    assert!(place(CLOSED, 1) < place(OPENED, 4));
    let all = events(&receiver, CLOSED);
    let ids: HashSet<&str> = all
        .iter()
        .map(|event| event["id"].as_str().unwrap())
        .collect();
    assert_eq!(ids.len(), 3, "one id for each stream that closed");
}

fn entry(stream: u128, uid: &str) -> Arc<Entry> {
    let opening = Opening {
        listener: Arc::from("chat"),
        protocol: "wss",
        client: "203.0.113.9:50122".parse().unwrap(),
        client_source: "socket",
        upstream: Box::from("127.0.0.1:8080"),
        upstream_local: None,
        host: None,
        path: None,
        subprotocol: None,
        user_agent: None,
        at: SystemTime::now(),
        instant: Instant::now(),
    };
    let identity = Identity {
        uid: Some(Box::from(uid)),
        uid_source: Some(UidSource::ResponseHeader),
        tags: vec![Box::from("vip")],
    };
    Entry::new(
        Uuid::from_u128(stream),
        Home { worker: 0, slot: 0 },
        opening,
        identity,
    )
}

#[tokio::test]
async fn a_hook_that_wants_only_closed_learns_of_a_crash() {
    let receiver = Receiver::start(|_, _| Answer::Status(200)).await;
    let app = config::Hook {
        events: vec![EventKind::Closed],
        ..receiver.hook()
    };
    let directory = tempfile::tempdir().unwrap();
    let first = Life::begin(directory.path(), &[("app", &app)]);
    let hooks = &first.proxy.hooks;
    assert!(hooks.wants(EventKind::Opened, "chat") && hooks.wants(EventKind::Closed, "other"));
    first.proxy.opened(1, None);
    first.proxy.opened(2, None);
    first.proxy.closed(2, None);
    first.committed().await;
    first.proxy.settled().await;
    let second = Life::begin(first.kill().path(), &[("app", &app)]);
    second.proxy.settled().await;
    let reasons: Vec<Value> = events(&receiver, CLOSED)
        .iter()
        .map(|event| event["data"]["reason"].clone())
        .collect();
    assert_eq!(reasons, ["client_idle", "sidecar_crash"]);
    assert_eq!(receiver.all().len(), 2);
}

#[tokio::test]
async fn events_left_by_a_process_come_with_the_same_bytes_and_at_once() {
    let (receiver, open) = gated().await;
    let (directory, app) = (tempfile::tempdir().unwrap(), everything(&receiver));
    let patient = config::Hook {
        give_up_after: Duration::from_secs(7_200),
        ..app.clone()
    };
    let first = Life::begin(directory.path(), &[("app", &patient)]);
    for stream in 0..10 {
        first.proxy.opened(stream, Some("42"));
        first.proxy.closed(stream, Some("42"));
    }
    // Even if it happened long before any process was there to try.
    let long_ago = SystemTime::now() - Duration::from_secs(3_600);
    let event = Event::Closed(Arc::new(closed(77, None)));
    first.proxy.hooks.emit(event, long_ago);
    first.committed().await;
    let refused = receiver.all();
    let left = first.kill();
    open.send(true).unwrap();
    let before = receiver.all().len();
    let second = Life::begin(left.path(), &[("app", &app)]);
    second.proxy.settled().await;
    let delivered = distinct(&receiver.all()[before..]);
    // Twenty, the old one, and a start of each.
    assert_eq!(delivered.len(), 23);
    let of_uid = |requests: &[Received]| -> Vec<Value> {
        let events = requests.iter().map(Received::event);
        events
            .filter(|event| event["partitionkey"] == "42")
            .collect()
    };
    let sequences: Vec<String> = of_uid(&delivered)
        .iter()
        .map(|event| event["sequence"].to_string())
        .collect();
    assert!(
        sequences.len() == 20 && sequences.is_sorted(),
        "{sequences:?}"
    );
    for request in &refused {
        let again = delivered
            .iter()
            .find(|other| other.header("webhook-id") == request.header("webhook-id"));
        assert_eq!(again.unwrap().body, request.body);
    }
    let delivered = second.proxy.result("delivered");
    assert_eq!((delivered, second.proxy.result("expired")), (11.0, 0.0));
}

#[tokio::test]
async fn a_hook_that_is_gone_leaves_dead_letters_and_frees_the_log() {
    let (receiver, open) = gated().await;
    let (app, spare) = (everything(&receiver), everything(&receiver));
    let directory = tempfile::tempdir().unwrap();
    let first = Life::begin(directory.path(), &[("app", &app), ("spare", &spare)]);
    first.proxy.closed(1, None);
    first.committed().await;
    let left = first.kill();
    open.send(true).unwrap();
    let second = Life::begin(left.path(), &[("spare", &spare)]);
    second.proxy.settled().await;
    let delivered = format!(
        "sidebeat_hook_events_total{{hook=\"spare\",result=\"delivered\",type=\"{CLOSED}\"}}"
    );
    assert_eq!(second.proxy.metric(&delivered), Some(1.0));
    let letters = dead_letters(left.path());
    assert_eq!(letters.len(), 2);
    for letter in letters {
        assert_eq!(
            (&letter["hook"], &letter["result"]),
            (&Value::from("app"), &Value::from("removed"))
        );
    }
}

fn dead_letters(state_dir: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(state_dir.join("dead-letters.jsonl")).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[tokio::test]
async fn what_is_given_up_or_rejected_is_kept_as_a_dead_letter() {
    let receiver = Receiver::start(|_, _| Answer::Status(413)).await;
    let (directory, app) = (tempfile::tempdir().unwrap(), receiver.hook());
    let life = Life::begin(directory.path(), &[("app", &app)]);
    life.proxy.closed(1, None);
    let long_ago = SystemTime::now() - Duration::from_secs(901);
    life.proxy
        .hooks
        .emit(Event::Closed(Arc::new(closed(2, None))), long_ago);
    life.proxy.settled().await;
    let mut results: Vec<(String, String)> = dead_letters(directory.path())
        .iter()
        .map(|letter| {
            (
                letter["result"].to_string(),
                letter["event"]["subject"].to_string(),
            )
        })
        .collect();
    results.sort();
    let of = |result: &str, stream| {
        (
            format!("\"{result}\""),
            format!("\"{}\"", Uuid::from_u128(stream)),
        )
    };
    assert_eq!(results, [of("expired", 2), of("rejected", 1)]);
    let text = receiver.all()[0].body.clone();
    let raw = std::fs::read(directory.path().join("dead-letters.jsonl")).unwrap();
    assert!(
        memchr::memmem::find(&raw, &text).is_some(),
        "the event is kept as it was sent"
    );
}

#[tokio::test]
async fn what_a_queue_has_no_room_for_waits_in_the_log_and_keeps_its_order() {
    const EVENTS: usize = CAPACITY + 1_000;
    let (receiver, open) = gated().await;
    let (directory, app) = (tempfile::tempdir().unwrap(), receiver.hook());
    let first = Life::begin(directory.path(), &[("app", &app)]);
    for nth in 0..EVENTS {
        let uid = (nth % 100).to_string();
        first.proxy.closed(nth as u128, Some(&uid));
    }
    first.committed().await;
    let queued = "sidebeat_hook_queue_events{hook=\"app\"}";
    assert_eq!(first.proxy.hooks.status()[0].queued, EVENTS);
    assert_eq!(first.proxy.metric(queued), Some(EVENTS as f64));
    assert_eq!(first.proxy.result("dropped"), 0.0);
    let left = first.kill();
    open.send(true).unwrap();
    let before = receiver.all().len();
    let second = Life::begin(left.path(), &[("app", &app)]);
    second.proxy.closed(EVENTS as u128, Some("0"));
    second.proxy.settled().await;
    assert_eq!(second.proxy.result("delivered"), (EVENTS + 1) as f64);
    let mut of_uid: std::collections::HashMap<String, Vec<String>> = Default::default();
    for request in distinct(&receiver.all()[before..]) {
        let event = request.event();
        let time = event["time"].as_str().unwrap();
        let order = format!("{time} {}", event["sequence"]);
        let uid = event["partitionkey"].to_string();
        of_uid.entry(uid).or_default().push(order);
    }
    assert_eq!(of_uid.len(), 100);
    assert!(of_uid.values().all(|order| order.is_sorted()));
}

#[tokio::test]
async fn a_clock_that_was_set_back_neither_delays_nor_expires_what_was_left() {
    let (receiver, open) = gated().await;
    let (directory, app) = (tempfile::tempdir().unwrap(), everything(&receiver));
    let first = Life::begin(directory.path(), &[("app", &app)]);
    let tomorrow = SystemTime::now() + Duration::from_secs(86_400);
    let mut record = opened(1, Some("42"));
    record.opened_at = humantime::format_rfc3339_millis(tomorrow).to_string();
    let hooks = &first.proxy.hooks;
    hooks.emit(Event::Opened(Arc::new(record)), tomorrow);
    hooks.emit(Event::Closed(Arc::new(closed(2, None))), tomorrow);
    first.committed().await;
    let left = first.kill();
    open.send(true).unwrap();
    let second = Life::begin(left.path(), &[("app", &app)]);
    second.proxy.settled().await;
    assert_eq!(second.proxy.result("delivered"), 2.0);
    let closed = events(&receiver, CLOSED);
    let crashed = |event: &&Value| event["data"]["reason"] == "sidecar_crash";
    let crashed = closed.iter().find(crashed).unwrap();
    assert_eq!(crashed["data"]["duration_ms"], 0);
    assert!(crashed["time"].as_str().unwrap() < crashed["data"]["opened_at"].as_str().unwrap());
}

#[tokio::test]
async fn a_reload_neither_loses_nor_invents_streams() {
    let receiver = Receiver::start(|_, _| Answer::Status(200)).await;
    let (directory, app) = (tempfile::tempdir().unwrap(), everything(&receiver));
    let first = Life::begin(directory.path(), &[("app", &app)]);
    first.proxy.opened(1, None);
    first.proxy.opened(2, None);
    first.committed().await;
    first.proxy.hooks.reload(&IndexMap::new()).unwrap();
    // No hook wants it, but the log has to know that the stream is over.
    assert!(first.proxy.hooks.wants(EventKind::Closed, "chat"));
    assert!(!first.proxy.hooks.wants(EventKind::Opened, "chat"));
    first.proxy.closed(1, None);
    first.committed().await;
    let second = Life::begin(first.kill().path(), &[("app", &app)]);
    second.proxy.settled().await;
    let closed = events(&receiver, CLOSED);
    assert_eq!(closed.len(), 1);
    assert_eq!(closed[0]["subject"], Uuid::from_u128(2).to_string());
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
