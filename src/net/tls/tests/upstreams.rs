//! Dialing an app over TLS.

use std::time::Duration;

use super::*;
use crate::config::{Upstream, UpstreamAddress, UpstreamTls};
use crate::net::upstream::{Address, DialError, Dialed, Dialer};

/// Dials a TLS app that has `server`; what either side makes of it.
async fn dial(
    server: &ServerTls,
    upstream_tls: UpstreamTls,
    preamble: &[u8],
) -> (io::Result<Leg>, Result<Dialed, DialError>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = Upstream {
        url: String::new(),
        address: UpstreamAddress::Host {
            host: "127.0.0.1".to_owned(),
            port: listener.local_addr().unwrap().port(),
        },
        tls: Some(upstream_tls),
    };
    let dialer = Dialer::new(&upstream, Alpn::Http11, Duration::from_secs(30), None).unwrap();
    let app = async {
        let mut tcp = listener.accept().await.unwrap().0;
        let mut head = vec![0; preamble.len()];
        tokio::io::AsyncReadExt::read_exact(&mut tcp, &mut head).await?;
        assert_eq!(head, preamble);
        accept(server.acceptor(), tcp, Rc::default()).await
    };
    tokio::join!(app, dialer.dial(preamble))
}

fn trusting(authority: &Authority, server_name: &str) -> UpstreamTls {
    UpstreamTls {
        ca: Some(authority.ca()),
        server_name: server_name.to_owned(),
        identity: None,
    }
}

#[tokio::test]
async fn the_upstream_is_verified_by_name_or_address() {
    let authority = Authority::new();
    let server = listener(&[&authority.issue(&["app.example", "127.0.0.1", "::1"])]);
    for name in ["app.example", "127.0.0.1", "::1", "[::1]"] {
        let (app, dialed) = dial(&server, trusting(&authority, name), b"").await;
        let (app, dialed) = (app.unwrap(), dialed.unwrap());
        assert_eq!(Some(dialed.address), app.local_address().map(Address::Ip));
    }
    let other = Authority::new();
    for (ca, name) in [
        (&authority, "other.example"),
        (&authority, "127.0.0.2"),
        (&other, "app.example"),
    ] {
        let (_, dialed) = dial(&server, trusting(ca, name), b"").await;
        let error = dialed.unwrap_err();
        assert!(matches!(error, DialError::Tls { .. }), "{error}");
    }
}

#[tokio::test]
async fn both_ends_exchange_data_and_protocol_names() {
    let authority = Authority::new();
    let server =
        ServerTls::load(&tls(&[&authority.issue(&["app.example"])]), Alpn::Http11).unwrap();
    let (app, dialed) = dial(&server, trusting(&authority, "app.example"), b"").await;
    let Leg::Dialed(mut ours) = dialed.unwrap().leg else {
        panic!("not over TLS");
    };
    assert_eq!(ours.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    tokio::io::AsyncWriteExt::write_all(&mut ours, b"x")
        .await
        .unwrap();
    let heard = tokio::io::AsyncReadExt::read_u8(&mut app.unwrap()).await;
    assert_eq!(heard.unwrap(), b'x');
}

#[tokio::test]
async fn the_preamble_comes_before_tls() {
    let authority = Authority::new();
    let server = listener(&[&authority.issue(&["app.example"])]);
    let (app, dialed) = dial(
        &server,
        trusting(&authority, "app.example"),
        b"PROXY UNKNOWN\r\n",
    )
    .await;
    app.unwrap();
    dialed.unwrap();
}

#[tokio::test]
async fn our_certificate_is_shown_to_an_upstream_that_asks() {
    let authority = Authority::new();
    let tls = config::Tls {
        client_ca: Some(authority.ca()),
        ..tls(&[&authority.issue(&["app.example"])])
    };
    let server = ServerTls::load(&tls, Alpn::None).unwrap();
    let upstream_tls = UpstreamTls {
        identity: Some(authority.issue(&["sidebeat"])),
        ..trusting(&authority, "app.example")
    };
    let (app, _dialed) = dial(&server, upstream_tls, b"").await;
    assert_eq!(
        app.unwrap().client_subject().as_deref(),
        Some("CN=sidebeat")
    );
}

#[test]
fn a_name_that_no_certificate_holds_is_an_error_of_configuration() {
    let authority = Authority::new();
    let error = ClientTls::load(&trusting(&authority, "not a name"), Alpn::None).unwrap_err();
    assert!(matches!(error, TlsError::ServerName { .. }), "{error}");
}

#[test]
fn system_roots_are_those_the_environment_names_and_none_is_an_error() {
    const EXPECTED: &str = "SIDEBEAT_TEST_ROOTS";
    if let Ok(expected) = std::env::var(EXPECTED) {
        // This is the process with another environment.
        match system_roots() {
            Ok(roots) => assert_eq!(roots.len().to_string(), expected),
            Err(error) => {
                assert!(matches!(error, TlsError::NoSystemRoots { .. }), "{error}");
                assert_eq!(expected, "none");
            }
        }
        return;
    }
    let authority = Authority::new();
    let empty = authority.write("empty.pem", "");
    let test = "net::tls::tests::upstreams::system_roots_are_those_the_environment_names_and_none_is_an_error";
    for (file, expected) in [(authority.ca(), "1"), (empty, "none")] {
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test])
            .env("SSL_CERT_FILE", file)
            .env_remove("SSL_CERT_DIR")
            .env(EXPECTED, expected)
            .output()
            .unwrap();
        let report = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && report.contains("1 passed"),
            "{report}"
        );
    }
}
