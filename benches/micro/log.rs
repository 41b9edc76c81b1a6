//! The hook log: events written and synced in groups, and read back after a crash.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput};
use indexmap::IndexMap;
use sidebeat::hook::{Event, HookMetrics, Hooks};
use sidebeat::metrics::Metrics;
use sidebeat::registry::record::{Both, ClientRecord, PingRecord, StreamRecord, UpstreamRecord};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use uuid::Uuid;

/// On a disk that is stuck a bench fails instead of hanging.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn benches(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    append(criterion, &runtime);
    recovery(criterion, &runtime);
}

/// Without a hook that wants it an `opened` event is written all the same: it is the record of an open stream. Handing
/// it over, writing and the sync that covers it are all in the time.
fn append(criterion: &mut Criterion, runtime: &Runtime) {
    let mut group = criterion.benchmark_group("log/append and sync");
    group.sample_size(10);
    for count in [1, 100, 10_000] {
        group.throughput(Throughput::Elements(count));
        group.bench_function(BenchmarkId::from_parameter(count), |bencher| {
            bencher.iter_custom(|rounds| {
                let mut took = Duration::ZERO;
                for _ in 0..rounds {
                    // A log of its own for each round, so that none is ever rewritten.
                    let directory = tempfile::tempdir().expect("a directory");
                    let hooks = start(directory.path(), runtime);
                    let records: Vec<_> = (0..count).map(record).collect();
                    let began = Instant::now();
                    emit(&hooks, records);
                    runtime.block_on(hooks.flush(PATIENCE));
                    took += began.elapsed();
                }
                took
            });
        });
    }
    group.finish();
}

fn recovery(criterion: &mut Criterion, runtime: &Runtime) {
    let mut group = criterion.benchmark_group("log/recovery of open streams");
    group.sample_size(10);
    for count in [1000, 10_000] {
        let left = tempfile::tempdir().expect("a directory");
        let hooks = start(left.path(), runtime);
        emit(&hooks, (0..count).map(record).collect());
        runtime.block_on(hooks.flush(PATIENCE));
        let file = file_in(left.path());
        group.throughput(Throughput::Elements(count));
        group.bench_function(BenchmarkId::from_parameter(count), |bencher| {
            bencher.iter_batched(
                || copy(&file),
                |directory| (start(directory.path(), runtime), directory),
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

fn start(directory: &Path, runtime: &Runtime) -> Hooks {
    let metrics = HookMetrics::register(Metrics::new().registry());
    let started = Hooks::start_with(&IndexMap::new(), Some(directory), metrics, runtime.handle());
    started.unwrap_or_else(|error| panic!("{error}"))
}

fn emit(hooks: &Hooks, records: Vec<Arc<StreamRecord>>) {
    let (at, instant) = (SystemTime::now(), Instant::now().into());
    for record in records {
        hooks.emit(Event::Opened(record), at, instant);
    }
}

fn file_in(directory: &Path) -> PathBuf {
    directory.join("hooks.log")
}

/// What the process before left, in a directory that nobody holds.
fn copy(file: &Path) -> TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::copy(file, file_in(directory.path())).expect("a copy of the log");
    directory
}

fn record(number: u64) -> Arc<StreamRecord> {
    Arc::new(StreamRecord {
        id: Uuid::now_v7(),
        listener: "chat".into(),
        protocol: "wss",
        state: "open",
        uid: Some(format!("user-{number}")),
        uid_source: Some("query"),
        tags: vec!["room:7".to_owned()],
        client: ClientRecord {
            address: ([192, 0, 2, 1], 40_000).into(),
            source: "socket",
        },
        upstream: UpstreamRecord {
            address: "127.0.0.1:8080".to_owned(),
            local_address: Some(([127, 0, 0, 1], 40_000).into()),
        },
        host: Some("example.com".to_owned()),
        path: Some("/chat".to_owned()),
        subprotocol: None,
        user_agent: Some("Mozilla/5.0 (X11; Linux x86_64) Gecko/20100101 Firefox/140.0".to_owned()),
        opened_at: "2026-01-01T00:00:00.000Z".to_owned(),
        last_client_at: None,
        last_upstream_at: None,
        idle_ms: Some(0),
        deadline_at: None,
        deadline_reason: None,
        bytes: Both::default(),
        messages: Both::default(),
        pings: PingRecord::default(),
    })
}
