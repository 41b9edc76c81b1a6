//! What grows with the number of streams, over in-memory pipes: more of them than a machine has descriptors for.
//!
//! `benches/growth/run` runs this once for each number of streams, each in a process of its own, and reads what it prints.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::Request;
use http_body_util::{BodyExt, Empty};
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, DuplexStream, ReadBuf};
use tokio::sync::mpsc;
use tokio::task::coop::unconstrained;
use tokio::time::{Instant, sleep, sleep_until};

use super::bench::{Bench, Peer, Setup, Stage, in_virtual_time};
use crate::admin::{Api, Guards, Peer as Asker};
use crate::proto::websocket::{OPCODE_CLOSE, OPCODE_PING, OPCODE_PONG};
use crate::registry::Registry;
use crate::worker::{Command, Post};

/// Room for a few heartbeats.
const PIPE: usize = 64;
/// How often the clients look for pings; that much later they answer.
const LOOK: Duration = Duration::from_millis(250);
/// The pings of the first half interval are denser than those of a crowd that has been there for a while.
const SETTLE: Duration = Duration::from_secs(30);
const MINUTE: Duration = Duration::from_secs(60);
/// The streams open within this time, and so their deadlines come.
const SPREAD: Duration = Duration::from_secs(5);
const LIMIT: Duration = Duration::from_secs(6);

#[test]
#[ignore = "a measurement: benches/growth/run"]
fn growth() {
    let streams = std::env::var("SIDEBEAT_GROWTH_STREAMS");
    let streams = streams.map_or(1000, |streams| streams.parse().unwrap());
    let report = Rc::new(RefCell::new(json!({ "streams": streams })));
    // One turn of ours looks at every stream: more than tokio lets a task do before others.
    in_virtual_time(unconstrained(crowd(streams, Rc::clone(&report))));
    in_real_time(late(streams, Rc::clone(&report)));
    println!("GROWTH {}", report.borrow());
}

fn in_real_time<F: Future<Output = ()>>(measurement: F) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(Default::default());
    runtime.unwrap().block_on(measurement);
}

fn stage(heartbeat: &'static str) -> Stage {
    let setup = Setup {
        keys: "limits: { streams: 200000 },",
        pipe: PIPE,
        ..Setup::websocket(heartbeat)
    };
    setup.stage()
}

/// Streams that are idle but for pings, which are answered: memory, CPU, listing, drain. What our two ends cost is taken off.
async fn crowd(streams: usize, report: Rc<RefCell<Value>>) {
    let stage = stage("{ idle_limit: 55s, ping: { interval: 25s } }");
    let note = |name: &str, value: f64| report.borrow_mut()[name] = json!(value);
    let per_stream = |bytes: usize| bytes as f64 / streams as f64;

    let mut pipes = Vec::with_capacity(2 * streams);
    let empty = resident();
    pipes.extend((0..2 * streams).map(|_| tokio::io::duplex(PIPE)));
    let piped = resident();
    let mut open: Vec<Bench> = Vec::with_capacity(streams);
    open.extend((0..streams).map(|_| stage.open()));
    // Every relay had its first turn.
    sleep(Duration::from_millis(1)).await;
    let ends = (piped - empty) + streams * size_of::<Bench>();
    note(
        "memory_bytes_per_stream",
        per_stream((resident() - piped).saturating_sub(ends)),
    );
    drop(pipes);

    let mut driver = Driver::default();
    driver
        .answer_until(&mut open, Instant::now() + SETTLE)
        .await;
    let (before, driven, pings) = (cpu(), driver.cpu, driver.pings);
    driver
        .answer_until(&mut open, Instant::now() + MINUTE)
        .await;
    note(
        "cpu_seconds_per_minute",
        cpu() - before - (driver.cpu - driven),
    );
    note("pings_per_minute", (driver.pings - pings) as f64);

    let registry = &stage.ground.worker.shared.registry;
    note("list_ms", listing(registry, streams).await * 1e3);

    let (before, driven) = (cpu(), driver.cpu);
    for bench in &open {
        bench.command(Command::Close(stage.ground.worker.shared.drain_cause()));
    }
    while stage.ground.worker.streams() > 0 {
        tokio::task::yield_now().await;
        driver.answer(&mut open);
    }
    note("drain_ms", (cpu() - before - (driver.cpu - driven)) * 1e3);
}

/// The clients and apps of all streams, looked after by turns.
#[derive(Default)]
struct Driver {
    /// Seconds that this took.
    cpu: f64,
    pings: u64,
}

impl Driver {
    async fn answer_until(&mut self, open: &mut [Bench], end: Instant) {
        while Instant::now() < end {
            sleep(LOOK).await;
            self.answer(open);
        }
    }

    /// Answers what came: a pong for a ping, a Close and FIN for a Close.
    fn answer(&mut self, open: &mut [Bench]) {
        let before = cpu();
        for bench in open {
            for peer in [&mut bench.client, &mut bench.app] {
                self.answer_one(peer);
            }
        }
        self.cpu += cpu() - before;
    }

    fn answer_one(&mut self, peer: &mut Peer) {
        let mut context = Context::from_waker(Waker::noop());
        let mut room = [0; PIPE];
        let mut read = ReadBuf::new(&mut room);
        let polled = Pin::new(&mut peer.pipe).poll_read(&mut context, &mut read);
        let (Poll::Ready(Ok(())), &[first, _, ref payload @ ..]) = (polled, read.filled()) else {
            return;
        };
        match first & 0x0f {
            OPCODE_PING => {
                self.pings += 1;
                let pong = peer.frame(OPCODE_PONG, payload);
                send(&mut peer.pipe, &pong, &mut context);
            }
            OPCODE_CLOSE => {
                let close = peer.frame(OPCODE_CLOSE, &1012_u16.to_be_bytes());
                send(&mut peer.pipe, &close, &mut context);
                let _ = Pin::new(&mut peer.pipe).poll_shutdown(&mut context);
            }
            other => panic!("nobody sent a frame of {other}"),
        }
    }
}

fn send(pipe: &mut DuplexStream, frame: &[u8], context: &mut Context<'_>) {
    let sent = Pin::new(pipe).poll_write(context, frame);
    assert!(matches!(sent, Poll::Ready(Ok(sent)) if sent == frame.len()));
}

/// Seconds until every page of the API was answered, the median of three lists.
async fn listing(registry: &Arc<Registry>, streams: usize) -> f64 {
    let (control, _commands) = mpsc::channel(1);
    let post = Post::new(|_, _, _| panic!("a list tells streams nothing"));
    let api = Api::new(control, Arc::clone(registry), post, Guards::default());
    let mut took = Vec::new();
    for _ in 0..3 {
        let (mut cursor, mut listed, mut seconds) = (String::new(), 0, 0.0);
        loop {
            let uri = format!("/v1/streams?limit=1000{cursor}");
            let request = Request::get(uri).body(Empty::<bytes::Bytes>::new());
            let before = wall();
            let answer = api.answer(Asker::Unix(None), request.unwrap()).await;
            let body = answer.into_body().collect().await.unwrap().to_bytes();
            seconds += wall() - before;
            let page: Value = serde_json::from_slice(&body).unwrap();
            listed += page["items"].as_array().unwrap().len();
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        assert_eq!(listed, streams);
        took.push(seconds);
    }
    took.sort_by(f64::total_cmp);
    took[1]
}

/// Clients that never say a word: how long after the limit each sees that it was closed.
async fn late(streams: usize, report: Rc<RefCell<Value>>) {
    let stage = stage("{ idle_limit: 6s, ping: off, close_timeout: 1s }");
    let late = Rc::new(RefCell::new(Vec::with_capacity(streams)));
    let mut apps = Vec::with_capacity(streams);
    let began = Instant::now();
    for number in 0..streams as u32 {
        sleep_until(began + SPREAD * number / streams as u32).await;
        let due = Instant::now() + LIMIT;
        let Bench {
            mut client, app, ..
        } = stage.open();
        apps.push(app);
        let late = Rc::clone(&late);
        tokio::task::spawn_local(async move {
            client.pipe.read_u8().await.unwrap();
            late.borrow_mut()
                .push(Instant::now().duration_since(due).as_secs_f64() * 1e3);
        });
    }
    while late.borrow().len() < streams {
        sleep(Duration::from_millis(100)).await;
    }
    let mut late = late.borrow_mut();
    late.sort_by(f64::total_cmp);
    let quantile = |part: f64| late[(part * (streams - 1) as f64).round() as usize];
    report.borrow_mut()["late_ms"] = json!({ "p50": quantile(0.5), "p99": quantile(0.99), "p99.9": quantile(0.999), "max": quantile(1.0) });
}

/// Bytes of this process in memory.
fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * rustix::param::page_size()
}

fn cpu() -> f64 {
    seconds(ClockId::ThreadCPUTime)
}

fn wall() -> f64 {
    seconds(ClockId::Monotonic)
}

fn seconds(clock: ClockId) -> f64 {
    let time = clock_gettime(clock);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}
