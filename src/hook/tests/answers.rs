//! What each answer of a receiver leads to, and what a receiver gets.

use super::*;

/// HMAC-SHA256 as RFC 2104 defines it, for keys shorter than a block.
fn hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
    let padded = |pad: u8| {
        let mut block = [pad; 64];
        block
            .iter_mut()
            .zip(key)
            .for_each(|(byte, key)| *byte ^= key);
        block
    };
    let inner = Sha256::new()
        .chain_update(padded(0x36))
        .chain_update(message);
    let outer = Sha256::new()
        .chain_update(padded(0x5c))
        .chain_update(inner.finalize());
    outer.finalize().to_vec()
}

#[tokio::test]
async fn a_closed_event_comes_signed_and_as_it_was_promised() {
    let receiver = Receiver::start(|_, _| Answer::Status(204)).await;
    let (secret, token) = (file(b"a raw key\nanother\n"), file(b"t0ken\n"));
    let app = config::Hook {
        secret_file: Some(secret.path().to_owned()),
        bearer_token_file: Some(token.path().to_owned()),
        ..receiver.hook()
    };
    let proxy = Proxy::start(&[("app", &app)]);
    assert_eq!(
        proxy.result("delivered"),
        0.0,
        "series are there from the start"
    );
    proxy.closed(7, Some("42"));
    proxy.settled().await;

    let all = receiver.all();
    let [request] = &all[..] else {
        panic!("{all:?}")
    };
    assert_eq!(request.path, "/_sidebeat?x=1");
    assert_eq!(
        request.header("content-type"),
        "application/cloudevents+json"
    );
    assert_eq!(request.header("authorization"), "Bearer t0ken");
    assert_eq!(request.header("host"), receiver.address.to_string());
    let agent = request.header("user-agent");
    assert_eq!(agent, format!("sidebeat/{}", env!("CARGO_PKG_VERSION")));
    let event = request.event();
    assert_eq!(request.header("webhook-id"), event["id"]);
    let timestamp = request.header("webhook-timestamp");
    let sent = UNIX_EPOCH + Duration::from_secs(timestamp.parse().unwrap());
    assert!(sent <= SystemTime::now());
    let signed = format!("{}.{timestamp}.", request.header("webhook-id"));
    let signed = [signed.as_bytes(), &request.body].concat();
    let expected: Vec<String> = [KEY, b"another"]
        .map(|key| format!("v1,{}", STANDARD.encode(hmac(key, &signed))))
        .to_vec();
    assert_eq!(request.header("webhook-signature"), expected.join(" "));
    assert_eq!(event["data"]["uid"], "42");

    assert_eq!(proxy.result("delivered"), 1.0);
    let hook = "{hook=\"app\"}";
    let queued = "sidebeat_hook_events_queued_total{hook=\"app\",type=\"sidebeat.stream.closed\"}";
    assert_eq!(proxy.metric(queued), Some(1.0));
    let of = |name: &str| proxy.metric(&format!("sidebeat_hook_{name}{hook}"));
    assert_eq!(of("request_duration_seconds_count"), Some(1.0));
    assert_eq!(of("retries_total"), Some(0.0));
    assert_eq!(of("queue_events"), Some(0.0));
    assert_eq!(of("oldest_event_timestamp_seconds"), Some(0.0));
    assert_eq!(of("disabled"), Some(0.0));
}

#[tokio::test]
async fn a_failed_event_comes_again_the_same_and_only_its_relatives_wait() {
    let failed_once = std::sync::atomic::AtomicBool::new(false);
    let receiver = Receiver::start(move |_, request| {
        if request.subject() == 1 && !failed_once.swap(true, Ordering::AcqRel) {
            return Answer::Status(500);
        }
        Answer::Status(200)
    })
    .await;
    let proxy = Proxy::start(&[("app", &receiver.hook())]);
    proxy.opened(1, Some("42"));
    proxy.closed(1, None);
    proxy.closed(2, Some("42"));
    proxy.closed(3, Some("43"));
    proxy.settled().await;

    let all = receiver.all();
    let seen: Vec<(u128, String)> = all
        .iter()
        .map(|request| (request.subject(), request.event()["type"].to_string()))
        .collect();
    let place = |stream, kind: &str| {
        let kind = format!("\"sidebeat.stream.{kind}\"");
        seen.iter()
            .rposition(|seen| *seen == (stream, kind.clone()))
            .unwrap()
    };
    assert_eq!(seen.len(), 5, "{seen:?}");
    let again = place(1, "opened");
    assert!(place(1, "closed") > again, "{seen:?}");
    assert!(place(2, "closed") > again, "{seen:?}");
    assert!(place(3, "closed") < again, "{seen:?}");
    let first = seen.iter().position(|(stream, _)| *stream == 1).unwrap();
    assert_eq!(all[first].body, all[again].body);
    let wait = all[again].at - all[first].at;
    assert!(wait >= Duration::from_millis(500), "{wait:?}");
    assert_eq!(
        proxy.metric("sidebeat_hook_retries_total{hook=\"app\"}"),
        Some(1.0)
    );
    let status = &proxy.hooks.status()[0];
    assert_eq!(
        status.last_error.as_deref(),
        Some("answer 500 Internal Server Error")
    );
}

#[tokio::test]
async fn too_large_and_wrong_type_reject_the_event_and_free_the_next() {
    let receiver = Receiver::start(|nth, _| Answer::Status([413, 415, 200][nth])).await;
    let proxy = Proxy::start(&[("app", &receiver.hook())]);
    for _ in 0..3 {
        proxy.closed(1, None);
    }
    proxy.settled().await;
    assert_eq!(receiver.all().len(), 3);
    assert_eq!(proxy.result("rejected"), 2.0);
    assert_eq!(proxy.result("delivered"), 1.0);
}

#[tokio::test]
async fn a_redirect_is_a_failure_and_not_followed() {
    let receiver = Receiver::start(|nth, _| match nth {
        0 => Answer::Header(307, "location", "/elsewhere".to_owned()),
        _ => Answer::Status(200),
    })
    .await;
    let proxy = Proxy::start(&[("app", &receiver.hook())]);
    proxy.closed(1, None);
    proxy.settled().await;
    let paths: Vec<String> = receiver
        .all()
        .into_iter()
        .map(|request| request.path)
        .collect();
    assert_eq!(paths, ["/_sidebeat?x=1", "/_sidebeat?x=1"]);
    let error = proxy.hooks.status()[0].last_error.clone().unwrap();
    assert!(error.contains("redirects are not followed"), "{error}");
}

#[tokio::test]
async fn retry_after_makes_the_wait_longer() {
    let receiver = Receiver::start(|nth, _| match nth {
        0 => Answer::Header(429, "retry-after", "2".to_owned()),
        _ => Answer::Status(200),
    })
    .await;
    let proxy = Proxy::start(&[("app", &receiver.hook())]);
    proxy.closed(1, None);
    proxy.settled().await;
    let all = receiver.all();
    // The first retry alone would come within a second.
    assert!(all[1].at - all[0].at >= Duration::from_secs(2));
}

#[tokio::test]
async fn a_request_without_an_answer_is_given_up_and_tried_again() {
    let receiver = Receiver::start(|nth, _| match nth {
        0 => Answer::Never,
        _ => Answer::Status(200),
    })
    .await;
    let app = config::Hook {
        timeout: Duration::from_millis(200),
        ..receiver.hook()
    };
    let proxy = Proxy::start(&[("app", &app)]);
    proxy.closed(1, None);
    proxy.settled().await;
    assert!(receiver.all().len() >= 2);
    assert_eq!(proxy.result("delivered"), 1.0);
    let error = proxy.hooks.status()[0].last_error.clone();
    assert_eq!(error.as_deref(), Some("no answer within 200ms"));
}

#[tokio::test]
async fn nobody_listening_is_a_failure_with_its_cause() {
    let free = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let proxy = Proxy::start(&[("app", &hook(&format!("http://{free}/")))]);
    proxy.closed(1, None);
    proxy.until(|status| status[0].last_error.is_some()).await;
    let error = proxy.hooks.status()[0].last_error.clone().unwrap();
    assert!(error.contains("refused"), "{error}");
    assert_eq!(proxy.hooks.flush(Duration::from_millis(1)).await, 1);
}

/// Reads a request and answers with a head and then `after`.
async fn raw_receiver<F>(after: impl Fn(TcpStream) -> F + Send + 'static) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut seen = Vec::new();
            while !seen.ends_with(b"}}") {
                assert_ne!(stream.read_buf(&mut seen).await.unwrap(), 0);
            }
            let head = b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000000\r\n\r\n";
            stream.write_all(head).await.unwrap();
            tokio::spawn(after(stream));
        }
    });
    address
}

#[tokio::test]
async fn an_endless_answer_is_not_read_to_its_end() {
    let (ended, mut endings) = watch::channel(0);
    let address = raw_receiver(move |mut stream| {
        let ended = ended.clone();
        async move {
            let kilobytes = [b'x'; 16 * 1024];
            while stream.write_all(&kilobytes).await.is_ok() {}
            ended.send_modify(|endings| *endings += 1);
        }
    })
    .await;
    // The timeout must not be what ends it.
    let app = config::Hook {
        timeout: 2 * PATIENCE,
        ..hook(&format!("http://{address}/"))
    };
    let proxy = Proxy::start(&[("app", &app)]);
    proxy.closed(1, None);
    proxy.settled().await;
    assert_eq!(proxy.result("delivered"), 1.0);
    let hung_up = endings.wait_for(|endings| *endings == 1);
    tokio::time::timeout(PATIENCE, hung_up)
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn a_stalled_body_after_2xx_still_is_a_delivery() {
    let address = raw_receiver(|stream| async move {
        std::future::pending::<()>().await;
        drop(stream);
    })
    .await;
    let app = config::Hook {
        timeout: Duration::from_millis(200),
        ..hook(&format!("http://{address}/"))
    };
    let proxy = Proxy::start(&[("app", &app)]);
    proxy.closed(1, None);
    proxy.settled().await;
    assert_eq!(proxy.result("delivered"), 1.0);
}

fn tls_server() -> (TlsAcceptor, NamedTempFile) {
    let ca_key = rcgen::KeyPair::generate().unwrap();
    let mut ca = rcgen::CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca_pem = ca.self_signed(&ca_key).unwrap().pem();
    let issuer = rcgen::Issuer::new(ca, ca_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let leaf = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let leaf = leaf.signed_by(&key, &issuer).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], key)
        .unwrap();
    (TlsAcceptor::from(Arc::new(config)), file(ca_pem.as_bytes()))
}

#[tokio::test]
async fn a_tls_receiver_is_trusted_by_its_own_ca_only() {
    let (acceptor, ca) = tls_server();
    let (_, stranger) = tls_server();
    let receiver = Receiver::start_with(Some(acceptor), |_, _| Answer::Status(200)).await;
    let with = |ca: &NamedTempFile| config::Hook {
        ca: Some(ca.path().to_owned()),
        ..hook(&format!("https://localhost:{}/", receiver.address.port()))
    };
    let proxy = Proxy::start(&[("app", &with(&stranger))]);
    proxy.closed(1, None);
    proxy.until(|status| status[0].last_error.is_some()).await;
    let error = proxy.hooks.status()[0].last_error.clone().unwrap();
    assert!(error.contains("invalid peer certificate"), "{error}");
    assert_eq!(receiver.all().len(), 0);
    proxy.hooks.reload(&named(&[("app", &with(&ca))])).unwrap();
    proxy.settled().await;
    assert_eq!(receiver.all().len(), 1);
    assert_eq!(proxy.result("delivered"), 1.0);
}
