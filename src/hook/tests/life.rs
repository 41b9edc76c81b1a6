//! Many events, full queues, reloads.

use super::*;

#[tokio::test]
async fn gone_disables_the_hook_until_a_reload() {
    let receiver = Receiver::start(|nth, _| Answer::Status([410, 200][nth.min(1)])).await;
    let app = receiver.hook();
    let proxy = Proxy::start(&[("app", &app)]);
    proxy.closed(1, None);
    proxy.until(|status| status[0].disabled).await;
    proxy.closed(2, None);
    let started = Instant::now();
    let left = proxy.hooks.flush(PATIENCE).await;
    assert_eq!(left, 2);
    assert!(
        started.elapsed() < PATIENCE / 2,
        "waited for what cannot come"
    );
    let status = &proxy.hooks.status()[0];
    assert_eq!((status.queued, status.disabled), (2, true));
    assert!(status.oldest_event_at.is_some());
    assert_eq!(status.url, format!("http://{}/_sidebeat", receiver.address));
    let disabled = "sidebeat_hook_disabled{hook=\"app\"}";
    assert_eq!(proxy.metric(disabled), Some(1.0));
    assert_eq!(receiver.all().len(), 1);

    proxy.hooks.reload(&named(&[("app", &app)])).unwrap();
    proxy.settled().await;
    assert_eq!(receiver.all().len(), 3);
    assert_eq!(proxy.result("delivered"), 2.0);
    assert_eq!(proxy.metric(disabled), Some(0.0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_closes_at_once_are_all_delivered_over_few_connections() {
    let receiver = Receiver::start(|_, _| Answer::Status(200)).await;
    let proxy = Proxy::start(&[("app", &receiver.hook())]);
    let emitting = proxy.hooks.clone();
    let workers = [0u128, 1].map(|worker| {
        let hooks = emitting.clone();
        std::thread::spawn(move || {
            for stream in 0..5_000 {
                // A thousand users of ten streams each.
                let uid = (stream % 500).to_string();
                let record = closed(worker * 5_000 + stream, Some(&uid));
                hooks.emit(
                    Event::Closed(Arc::new(record)),
                    SystemTime::now(),
                    Instant::now(),
                );
            }
        })
    });
    for worker in workers {
        worker.join().unwrap();
    }
    proxy.settled().await;
    let all = receiver.all();
    assert_eq!(all.len(), 10_000);
    assert_eq!(proxy.result("delivered"), 10_000.0);
    let mut of_uid: std::collections::HashMap<String, Vec<String>> = Default::default();
    let mut sequences = std::collections::HashSet::new();
    for request in &all {
        let event = request.event();
        let text = |name: &str| event[name].as_str().unwrap().to_owned();
        of_uid
            .entry(text("partitionkey"))
            .or_default()
            .push(text("sequence"));
        sequences.insert(text("sequence"));
    }
    assert_eq!((of_uid.len(), sequences.len()), (500, 10_000));
    assert!(of_uid.values().all(|sequences| sequences.is_sorted()));
    let connections = *receiver.connections.borrow();
    assert!(connections < 200, "{connections} connections");
}

#[tokio::test]
async fn an_event_that_is_too_old_expires_without_a_try() {
    let receiver = Receiver::start(|_, _| Answer::Status(200)).await;
    let proxy = Proxy::start(&[("app", &receiver.hook())]);
    let long_ago = Instant::now() - Duration::from_secs(901);
    let event = Event::Closed(Arc::new(closed(1, None)));
    proxy.hooks.emit(event, SystemTime::now(), long_ago);
    proxy.settled().await;
    assert_eq!(proxy.result("expired"), 1.0);
    assert_eq!(receiver.all().len(), 0);
}

#[tokio::test]
async fn a_clock_that_is_set_forth_expires_nothing() {
    let receiver = Receiver::start(|_, _| Answer::Status(200)).await;
    let proxy = Proxy::start(&[("app", &receiver.hook())]);
    let an_hour_off = SystemTime::now() - Duration::from_secs(3_600);
    let event = Event::Closed(Arc::new(closed(1, None)));
    proxy.hooks.emit(event, an_hour_off, Instant::now());
    proxy.settled().await;
    assert_eq!(proxy.result("delivered"), 1.0);
}

#[tokio::test]
async fn the_oldest_are_dropped_beyond_ten_thousand_and_counted() {
    let receiver = Receiver::start(|_, _| Answer::Never).await;
    let app = config::Hook {
        timeout: 2 * PATIENCE,
        ..receiver.hook()
    };
    let proxy = Proxy::start(&[("app", &app)]);
    for stream in 0..16 {
        proxy.closed(stream, None);
    }
    receiver.wait_for(16).await;
    for stream in 16..10_030 {
        proxy.closed(stream, None);
    }
    // The last one is marked so that the wait is for it and not for time.
    proxy.opened(20_000, None);
    let opened = "sidebeat_hook_events_total{hook=\"app\",result=\"dropped\",type=\"sidebeat.stream.opened\"}";
    proxy.until(|_| proxy.metric(opened) == Some(1.0)).await;
    assert_eq!(proxy.result("dropped"), 30.0);
    assert_eq!(proxy.hooks.status()[0].queued, CAPACITY);
    let flying: std::collections::BTreeSet<u128> =
        receiver.all().iter().map(Received::subject).collect();
    assert_eq!(flying, (0..16).collect());
}

#[test]
fn memory_is_bounded_while_the_control_runtime_stands_still() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let proxy = Proxy::start_on(runtime.handle(), &[("app", &hook("http://127.0.0.1:1/"))]);
    let record = Arc::new(closed(1, None));
    let first = Arc::new(opened(1, None));
    let long_ago = Instant::now() - Duration::from_secs(901);
    let emit = |event| proxy.hooks.emit(event, SystemTime::now(), long_ago);
    for _ in 0..INTAKE + 5 {
        emit(Event::Opened(first.clone()));
    }
    for _ in 0..INTAKE + 7 {
        emit(Event::Closed(record.clone()));
    }
    assert_eq!(Arc::strong_count(&first), 1 + INTAKE);
    assert_eq!(Arc::strong_count(&record), 1 + INTAKE);
    assert_eq!(proxy.result("dropped"), 7.0);
    // Once it moves again, everything that was taken comes to an end: all of it is older than give_up_after.
    assert_eq!(runtime.block_on(proxy.hooks.flush(PATIENCE)), 0);
    assert_eq!(Arc::strong_count(&record), 1);
    assert_eq!(
        proxy.result("expired") + proxy.result("dropped"),
        (INTAKE + 7) as f64
    );
}

#[tokio::test]
async fn events_that_nobody_takes_any_more_are_dropped_and_counted() {
    let registry = Registry::new();
    let metrics = HookMetrics::register(&registry);
    let app = hook("http://127.0.0.1:1/");
    let (hooks, tap) = tapped(&named(&[("app", &app)]), metrics, &Handle::current()).unwrap();
    let proxy = Proxy { hooks, registry };
    proxy.closed(1, None);
    assert_eq!(proxy.result("dropped"), 0.0);
    drop(tap);
    proxy.closed(2, None);
    assert_eq!(proxy.result("dropped"), 1.0);
}

#[tokio::test]
async fn events_go_where_they_are_wanted() {
    let receiver = Receiver::start(|_, _| Answer::Status(200)).await;
    let chat = config::Hook {
        listeners: Some(vec!["chat".to_owned()]),
        url: format!("http://{}/chat", receiver.address).parse().unwrap(),
        events: vec![EventKind::Closed, EventKind::Draining],
        ..receiver.hook()
    };
    let other = config::Hook {
        listeners: Some(vec!["other".to_owned()]),
        url: format!("http://{}/other", receiver.address)
            .parse()
            .unwrap(),
        events: vec![EventKind::Opened, EventKind::Closed],
        ..receiver.hook()
    };
    let proxy = Proxy::start(&[("chat", &chat), ("other", &other)]);
    assert!(proxy.hooks.wants(EventKind::Closed, "chat"));
    assert!(!proxy.hooks.wants(EventKind::Opened, "chat"));
    assert!(proxy.hooks.wants(EventKind::Opened, "other"));
    assert!(!proxy.hooks.wants(EventKind::Overdue, "other"));
    assert!(!proxy.hooks.wants(EventKind::Closed, "third"));
    proxy.opened(1, None);
    proxy.closed(1, None);
    let event = Event::Draining {
        streams: 1,
        delay: Duration::ZERO,
        spread: Duration::ZERO,
    };
    proxy.hooks.emit(event, SystemTime::now(), Instant::now());
    proxy.settled().await;
    let mut seen: Vec<(String, String)> = receiver
        .all()
        .iter()
        .map(|request| (request.path.clone(), request.event()["type"].to_string()))
        .collect();
    seen.sort();
    assert_eq!(
        seen,
        [
            ("/chat".to_owned(), "\"sidebeat.proxy.draining\"".to_owned()),
            ("/chat".to_owned(), "\"sidebeat.stream.closed\"".to_owned()),
        ]
    );
}

#[tokio::test]
async fn a_reload_is_all_or_nothing_and_a_removed_hook_delivers_what_it_has() {
    let (open, gate) = watch::channel(false);
    let receiver = Receiver::start(move |_, _| match *gate.borrow() {
        true => Answer::Status(200),
        false => Answer::Status(503),
    })
    .await;
    let (app, spare) = (receiver.hook(), receiver.hook());
    let proxy = Proxy::start(&[("app", &app)]);
    proxy.closed(1, None);
    receiver.wait_for(1).await;

    let broken = config::Hook {
        secret_file: Some("/nonexistent/secret".into()),
        ..receiver.hook()
    };
    let refused = proxy
        .hooks
        .reload(&named(&[("spare", &spare), ("broken", &broken)]));
    let refused = refused.unwrap_err().to_string();
    assert!(
        refused.contains("hook broken: cannot read /nonexistent/secret"),
        "{refused}"
    );
    let names = |status: &[HookStatus]| -> Vec<String> {
        status.iter().map(|hook| hook.name.clone()).collect()
    };
    assert_eq!(names(&proxy.hooks.status()), ["app"]);

    proxy.hooks.reload(&named(&[("spare", &spare)])).unwrap();
    assert_eq!(names(&proxy.hooks.status()), ["spare", "app"]);
    open.send(true).unwrap();
    proxy.closed(2, None);
    proxy.until(|status| names(status) == ["spare"]).await;
    proxy.settled().await;
    let delivered: Vec<u128> = receiver.all().iter().map(Received::subject).collect();
    let of = |stream| delivered.iter().filter(|other| **other == stream).count();
    assert!(of(1) >= 2, "not delivered after its hook was removed");
    assert_eq!(of(2), 1, "the removed hook got a new event");
    assert_eq!(proxy.metric("sidebeat_hook_disabled{hook=\"app\"}"), None);
    assert_eq!(
        proxy.metric("sidebeat_hook_disabled{hook=\"spare\"}"),
        Some(0.0)
    );

    proxy.hooks.reload(&named(&[("app", &app)])).unwrap();
    proxy.closed(3, None);
    proxy.settled().await;
    assert_eq!(proxy.result("delivered"), 1.0);
}

#[tokio::test]
async fn unusable_files_are_named() {
    let (empty, binary) = (file(b"\n"), file(b"\xff\xfe"));
    let base = hook("https://localhost/");
    let error = |hook: config::Hook| {
        let metrics = HookMetrics::register(&Registry::new());
        let started = Hooks::start(&named(&[("app", &hook)]), metrics, &Handle::current());
        started.err().unwrap().to_string()
    };
    let path = |file: &NamedTempFile| Some(file.path().to_owned());
    let secret = error(config::Hook {
        secret_file: path(&empty),
        ..base.clone()
    });
    assert!(secret.contains("holds no key"), "{secret}");
    for unusable in [&empty, &binary] {
        let token = error(config::Hook {
            bearer_token_file: path(unusable),
            ..base.clone()
        });
        assert!(token.contains("must hold one token"), "{token}");
    }
    let ca = error(config::Hook {
        ca: path(&empty),
        ..base.clone()
    });
    assert!(ca.contains("no certificate"), "{ca}");
}
