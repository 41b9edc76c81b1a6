//! Open files: streams have what is left of them, and nothing breaks when there are none.

use std::time::Duration;

use super::*;

fn streams_limit(sidebeat: &Sidebeat) -> usize {
    let status: serde_json::Value =
        serde_json::from_str(&sidebeat.get("admin", "/v1/status")).unwrap();
    status["listeners"]["main"]["streams_limit"]
        .as_u64()
        .unwrap() as usize
}

#[test]
fn streams_are_lowered_to_what_the_descriptors_allow_and_no_more_are_taken() {
    let sidebeat = Sidebeat::start_with_descriptors(
        400,
        &config(&format!(
            "  main: {{ listen: ws://127.0.0.1:0, upstream: ws://{} }}",
            app()
        )),
    );
    let limit = streams_limit(&sidebeat);
    assert!((100..200).contains(&limit), "{limit}");
    let line = sidebeat.line(|line| line["streams"] == limit && line["configured"] == 100_000);
    assert_eq!(line["level"], "warn");
    for _ in 0..2 {
        let mut held = Vec::new();
        for number in 0..limit {
            let (stream, answer) = open(&sidebeat, "main");
            assert_eq!(answer.status, 101, "stream {number}");
            held.push(stream);
        }
        for _ in 0..20 {
            let (_, answer) = open(&sidebeat, "main");
            assert_eq!(answer.status, 503);
        }
        let ordinary = {
            let mut client = sidebeat.connect("main");
            client
                .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                .unwrap();
            Answer::read(&mut client, Method::Get)
        };
        assert_eq!(
            ordinary.status, 503,
            "it would take the descriptors of streams"
        );
        assert_eq!(
            streams_limit(&sidebeat),
            limit,
            "admin and telemetry have their own"
        );
        drop(held);
        wait_until("all are gone", || {
            sidebeat.metric("sidebeat_streams_active{listener=\"main\"}") == 0
                && sidebeat.metric("sidebeat_streams_closing{listener=\"main\"}") == 0
        });
    }
    assert_eq!(
        sidebeat.rejected("main"),
        [("too_many_streams".to_owned(), 42)].into()
    );
}

/// Clock ticks of CPU that a process has used.
fn cpu_ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat
        .rsplit_once(')')
        .unwrap()
        .1
        .split_whitespace()
        .collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[test]
fn without_a_descriptor_left_clients_are_refused_and_later_served() {
    let sidebeat = Sidebeat::start_with_descriptors(
        120,
        &config(&format!(
            "  main: {{ listen: tcp://127.0.0.1:0, upstream: tcp://{} }}",
            app()
        )),
    );
    let series = "sidebeat_streams_active{listener=\"main\"}";
    // Somebody else takes them all: the planes of the operator are not limited by us.
    let telemetry = sidebeat.address("telemetry");
    let greedy: Vec<_> = (0..200)
        .map(|_| TcpStream::connect(telemetry).unwrap())
        .collect();
    let descriptors = format!("/proc/{}/fd", sidebeat.pid());
    let open = || std::fs::read_dir(&descriptors).unwrap().count();
    wait_until("all descriptors are taken", || open() >= 119);
    for _ in 0..20 {
        assert!(
            is_closed(&mut sidebeat.connect("main")),
            "it hangs in the queue"
        );
    }
    let (before, began) = (cpu_ticks(sidebeat.pid()), Instant::now());
    std::thread::sleep(Duration::from_secs(1));
    let used = cpu_ticks(sidebeat.pid()) - before;
    let passed = began.elapsed().as_millis() as u64 / 10;
    assert!(used < passed / 4, "it spins: {used} of {passed} ticks");
    drop(greedy);
    wait_until("clients are served again", || {
        let _client = sidebeat.connect("main");
        let end = Instant::now() + Duration::from_millis(200);
        while Instant::now() < end {
            if sidebeat.metric(series) == 1 {
                return true;
            }
        }
        false
    });
    assert!(rejected(&sidebeat, "main", "too_many_streams") >= 1);
}
