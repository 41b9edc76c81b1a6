//! Selectors over 10,000 open streams, and streams that come and go among them.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::SystemTime;

use criterion::{BatchSize, BenchmarkId, Criterion};
use sidebeat::config::Protocol;
use sidebeat::net::upstream::Address;
use sidebeat::registry::{ClientSource, Entry, Identity, Opening, Registry, Selector, UidSource};
use sidebeat::worker::Home;
use tokio::time::Instant;
use uuid::Uuid;

const STREAMS: u32 = 10_000;

/// A selector as the API reads it.
type Parameters = &'static [(&'static str, &'static str)];

const SELECTORS: [(&str, Parameters); 7] = [
    ("uid, 2 fit", &[("uid", "u7")]),
    ("tag, 100 fit", &[("tag", "room:7")]),
    ("two tags, 50 fit", &[("tag", "room:6"), ("tag", "beta")]),
    (
        "tag and network, 25 fit",
        &[("tag", "room:8"), ("client", "10.0.0.0/19")],
    ),
    ("listener, 5,000 fit", &[("listener", "chat")]),
    ("network, 2,560 fit", &[("client", "10.0.0.0/19")]),
    ("idle_over, 0 fit", &[("idle_over", "1h")]),
];

pub(crate) fn benches(criterion: &mut Criterion) {
    let registry = crowd();
    let mut count = criterion.benchmark_group("registry/count");
    for (name, parameters) in SELECTORS {
        let selector = selector(parameters);
        count.bench_function(BenchmarkId::from_parameter(name), |bencher| {
            bencher.iter(|| registry.count(&selector));
        });
    }
    count.finish();

    let mut others = criterion.benchmark_group("registry");
    others.bench_function("first page of 100", |bencher| {
        let all = Selector::default();
        bencher.iter(|| registry.page(&all, None, 100));
    });
    others.bench_function("record of a stream", |bencher| {
        let entry = entry(7);
        bencher.iter(|| entry.record());
    });
    others.bench_function("enter", |bencher| {
        bencher.iter_batched(
            || (Registry::default(), (0..100).map(entry).collect::<Vec<_>>()),
            |(registry, entries)| {
                for entry in entries {
                    registry.enter(entry, || {});
                }
                registry
            },
            BatchSize::SmallInput,
        );
    });
    others.finish();
}

fn crowd() -> Registry {
    let registry = Registry::default();
    for number in 0..STREAMS {
        registry.enter(entry(number), || {});
    }
    registry
}

fn selector(parameters: Parameters) -> Selector {
    let mut selector = Selector::default();
    for (name, value) in parameters {
        selector.set(name, value).expect("a part of a selector");
    }
    selector
}

fn entry(number: u32) -> Arc<Entry> {
    let address = Ipv4Addr::from(0x0a00_0000 + number % 32_768);
    let opening = Opening {
        listener: if number.is_multiple_of(2) {
            "chat"
        } else {
            "game"
        }
        .into(),
        protocol: Protocol::Ws,
        client: (IpAddr::V4(address), 40_000).into(),
        client_source: ClientSource::Socket,
        upstream: Address::Ip(([127, 0, 0, 1], 8080).into()),
        upstream_local: Some(([127, 0, 0, 1], 40_000).into()),
        host: Some("example.com".into()),
        path: Some("/chat".into()),
        subprotocol: None,
        user_agent: None,
        at: SystemTime::now(),
        instant: Instant::now(),
    };
    let identity = Identity {
        uid: Some(format!("u{}", number % 5000).into()),
        uid_source: Some(UidSource::Query),
        tags: [
            format!("room:{}", number % 100),
            if number % 4 < 2 { "beta" } else { "stable" }.to_owned(),
        ]
        .into_iter()
        .map(Into::into)
        .collect(),
    };
    let home = Home {
        worker: 0,
        slot: number as usize,
    };
    Entry::new(Uuid::now_v7(), home, opening, identity)
}
