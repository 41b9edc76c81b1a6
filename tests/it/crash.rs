//! Killed at any instant, by SIGKILL, under a thousand openings and closes a second: nobody loses a close hook.
//!
//! Five times with the binary of the tests, which is slow, and so under a quarter of that. `SIDEBEAT_TEST_KILLS=20` (CI)
//! or 200 (the long form) takes the optimised one, `SIDEBEAT_BIN`.

mod load;
mod receiver;

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::support::Sidebeat;
use load::Load;
use receiver::Receiver;

/// A stream that opened shortly before the kill may have been on its way to the disk. In truth it is the time of one
/// write, but a busy machine may hold up the writer for longer, and with it everything at once; half of those that
/// were lost were on their way for less than this.
const ON_THE_WAY: Duration = Duration::from_secs(1);
/// The log is written in the order of the openings: none is lost while a stream that began so much later is known. In
/// truth no later one is, but a worker may be held up between its answer to the client and the log.
const OVERTAKEN: Duration = Duration::from_secs(1);
/// For the last process to deliver everything.
const DELIVERY: Duration = Duration::from_secs(300);

/// What is killed, how often, and how many clients it gets every ten milliseconds.
struct Form {
    binary: OsString,
    kills: usize,
    clients: usize,
}

impl Form {
    fn of_environment() -> Self {
        match std::env::var("SIDEBEAT_TEST_KILLS") {
            Ok(kills) => Self {
                binary: std::env::var_os("SIDEBEAT_BIN").unwrap(),
                kills: kills.parse().unwrap(),
                clients: 10,
            },
            Err(_) => Self {
                binary: OsString::from(env!("CARGO_BIN_EXE_sidebeat")),
                kills: 5,
                clients: 2,
            },
        }
    }
}

#[test]
fn every_opened_that_was_sent_is_followed_by_one_closed_whenever_the_process_is_killed() {
    let Form {
        binary,
        kills,
        clients,
    } = Form::of_environment();
    let seed = rand::random();
    println!("seed {seed}, {kills} kills");
    let mut random = StdRng::seed_from_u64(seed);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let state_dir = tempfile::tempdir().unwrap();
    let receiver = runtime.block_on(Receiver::start(random.random()));
    let load = runtime.block_on(Load::start(clients));
    let config = format!(
        r#"
listeners: {{ chat: {{ listen: "ws://127.0.0.1:0", upstream: "ws://{}" }} }}
hooks: {{ app: {{ url: "http://{}/hook", events: [opened, closed, started], rate: 100000 }} }}
state_dir: {}
telemetry: {{ listen: "127.0.0.1:0" }}
log: {{ format: json }}
"#,
        load.app,
        receiver.address,
        state_dir.path().display()
    );
    let mut killed = Vec::new();
    let mut alive = Duration::ZERO;
    for boot in 0..kills {
        let sidebeat = Sidebeat::start_build(&binary, &config);
        load.begin(boot, sidebeat.address("chat"));
        let moment = Duration::from_millis(random.random_range(1..2_500));
        std::thread::sleep(moment);
        alive += moment;
        killed.push(Instant::now());
        drop(sidebeat);
    }
    load.end();
    let last = Sidebeat::start_build(&binary, &config);
    let end = Instant::now() + DELIVERY;
    let queued = "sidebeat_hook_queue_events{hook=\"app\"}";
    while receiver.open_streams() > 0 || last.metric(queued) > 0 {
        let (streams, events) = (receiver.open_streams(), last.metric(queued));
        assert!(
            Instant::now() < end,
            "{streams} streams are open for the receiver, {events} events are left"
        );
        std::thread::sleep(Duration::from_millis(100));
    }
    for result in ["dropped", "expired", "rejected"] {
        for kind in ["opened", "closed"] {
            let series = format!(
                "sidebeat_hook_events_total{{hook=\"app\",result=\"{result}\",type=\"sidebeat.stream.{kind}\"}}"
            );
            assert_eq!(last.metric(&series), 0, "{series}");
        }
    }
    drop(last);
    let told = receiver.check();
    // One that was killed in its first milliseconds was never heard of.
    assert!(
        (kills / 2 + 1..=kills + 1).contains(&told.boots),
        "{} boots",
        told.boots
    );
    println!("{alive:?} under load");
    check_streams(&load, &told.streams, &killed, clients);
}

/// Nothing invented, and nothing forgotten but what was on its way.
fn check_streams(load: &Load, reported: &HashSet<String>, killed: &[Instant], clients: usize) {
    let seen = load.seen();
    let invented: Vec<_> = reported.difference(&seen).collect();
    assert!(invented.is_empty(), "the app never saw {invented:?}");
    let opened = load.opened();
    let mut last = HashMap::new();
    for (stream, client) in &opened {
        if reported.contains(stream) {
            let begun = last.entry(client.boot).or_insert(client.begun);
            *begun = client.begun.max(*begun);
        }
    }
    let mut missing = Vec::new();
    for (stream, client) in &opened {
        if !reported.contains(stream) {
            let before = killed[client.boot].saturating_duration_since(client.answered);
            if let Some(last) = last.get(&client.boot) {
                let overtaken = last.saturating_duration_since(client.answered);
                assert!(
                    overtaken < OVERTAKEN,
                    "{stream} is not known, and one that began {overtaken:?} later is"
                );
            }
            missing.push(before);
        }
    }
    missing.sort_unstable();
    println!(
        "{} streams, {} reported, {} were on their way to the log, at most for {:?}, half of them for {:?}",
        opened.len(),
        reported.len(),
        missing.len(),
        missing.last(),
        missing.get(missing.len() / 2),
    );
    let half = missing.get(missing.len() / 2).copied();
    assert!(half.unwrap_or_default() < ON_THE_WAY, "{half:?}");
    let wanted = clients * 30 * killed.len();
    assert!(
        opened.len() > wanted,
        "{} streams test too little, at least {wanted} do",
        opened.len()
    );
}

/// A client that got its answer.
#[derive(Clone, Copy)]
struct Client {
    boot: usize,
    begun: Instant,
    answered: Instant,
}

/// By stream id.
type Opened = HashMap<String, Client>;
type Shared<T> = Arc<std::sync::Mutex<T>>;
