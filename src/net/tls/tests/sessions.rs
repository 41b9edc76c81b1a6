//! Versions, resumption and protocol names.

use rustls::HandshakeKind;
use rustls::version::{TLS12, TLS13};

use super::*;

/// Connects, exchanges a byte each way (a TLS 1.3 ticket comes behind the handshake) and says how the session began.
async fn kind(server: &ServerTls, client: &Arc<ClientConfig>) -> HandshakeKind {
    let (leg, client) = handshake(server, client, "localhost").await;
    let (mut leg, mut client) = (leg.unwrap(), client.unwrap());
    ending::exchange(&mut leg, &mut client).await;
    client.get_ref().1.handshake_kind().unwrap()
}

fn speaking(version: &'static rustls::SupportedProtocolVersion) -> ClientConfig {
    let client = Trusting {
        versions: vec![version],
        ..Trusting::new()
    };
    client.config()
}

#[tokio::test]
async fn min_version_decides_whether_tls_1_2_is_spoken() {
    let authority = Authority::new();
    let old_too = tls(&[&authority.issue(&["localhost"])]);
    let new_only = config::Tls {
        min_version: TlsVersion::V1_3,
        ..old_too.clone()
    };
    for (tls, version, works) in [
        (&old_too, &TLS12, true),
        (&old_too, &TLS13, true),
        (&new_only, &TLS12, false),
        (&new_only, &TLS13, true),
    ] {
        let server = ServerTls::load(tls, Alpn::None).unwrap();
        let (leg, client) = handshake(&server, &Arc::new(speaking(version)), "localhost").await;
        assert_eq!(leg.is_ok(), works, "{version:?}");
        assert_eq!(client.is_ok(), works, "{version:?}");
        if let Ok(client) = client {
            assert_eq!(client.get_ref().1.protocol_version(), Some(version.version));
        }
    }
}

#[tokio::test]
async fn a_session_resumes_at_its_own_listener_and_at_no_other() {
    let authority = Authority::new();
    let pair = authority.issue(&["localhost"]);
    for version in [&TLS12, &TLS13] {
        let (own, other) = (listener(&[&pair]), listener(&[&pair]));
        let client = Arc::new(speaking(version));
        assert_eq!(kind(&own, &client).await, HandshakeKind::Full);
        assert_eq!(kind(&own, &client).await, HandshakeKind::Resumed);
        assert_eq!(
            kind(&other, &client).await,
            HandshakeKind::Full,
            "{version:?}"
        );
    }
}

#[tokio::test]
async fn sessions_outlive_a_reload_but_not_a_change_of_who_may_connect() {
    let authority = Authority::new();
    let pair = authority.issue(&["localhost"]);
    let open = tls(&[&pair]);
    let optional = config::Tls {
        client_ca: Some(authority.ca()),
        client_auth: ClientAuth::Optional,
        ..open.clone()
    };
    let other_path = authority.write("copy.pem", authority.certificate.pem());
    let same_ca_elsewhere = config::Tls {
        client_ca: Some(other_path.clone()),
        ..optional.clone()
    };
    let required = config::Tls {
        client_auth: ClientAuth::Required,
        ..optional.clone()
    };
    let identity = authority.issue(&["client"]);
    for version in [&TLS12, &TLS13] {
        fs::write(&other_path, authority.certificate.pem()).unwrap();
        let client = Trusting {
            versions: vec![version],
            identity: Some(identity.clone()),
            ..Trusting::new()
        };
        let client = Arc::new(client.config());
        let server = ServerTls::load(&open, Alpn::None).unwrap();
        assert_eq!(kind(&server, &client).await, HandshakeKind::Full);
        for (tls, expected) in [
            (&open, HandshakeKind::Resumed),
            (&optional, HandshakeKind::Full),
            (&same_ca_elsewhere, HandshakeKind::Resumed),
            (&required, HandshakeKind::Full),
        ] {
            server.adopt(server.prepare(tls).unwrap());
            assert_eq!(kind(&server, &client).await, expected, "{tls:?}");
        }
        // The same file with another CA beside the first.
        server.adopt(server.prepare(&same_ca_elsewhere).unwrap());
        assert_eq!(kind(&server, &client).await, HandshakeKind::Full);
        let both = authority.certificate.pem() + &Authority::new().certificate.pem();
        fs::write(&other_path, both).unwrap();
        server.adopt(server.prepare(&same_ca_elsewhere).unwrap());
        assert_eq!(kind(&server, &client).await, HandshakeKind::Full);
        assert_eq!(kind(&server, &client).await, HandshakeKind::Resumed);
    }
}

#[tokio::test]
async fn a_resumed_session_still_knows_the_client() {
    let authority = Authority::new();
    let tls = config::Tls {
        client_ca: Some(authority.ca()),
        ..tls(&[&authority.issue(&["localhost"])])
    };
    let server = ServerTls::load(&tls, Alpn::None).unwrap();
    let client = Trusting {
        identity: Some(authority.issue(&["client"])),
        ..Trusting::new()
    };
    let client = Arc::new(client.config());
    assert_eq!(kind(&server, &client).await, HandshakeKind::Full);
    let (leg, resumed) = handshake(&server, &client, "localhost").await;
    let began = resumed.unwrap().get_ref().1.handshake_kind();
    assert_eq!(began, Some(HandshakeKind::Resumed));
    assert_eq!(leg.unwrap().client_subject().as_deref(), Some("CN=client"));
}

#[tokio::test]
async fn http_is_named_in_alpn_and_bytes_are_not() {
    let authority = Authority::new();
    let tls = tls(&[&authority.issue(&["localhost"])]);
    let http = ServerTls::load(&tls, Alpn::Http11).unwrap();
    let bytes = ServerTls::load(&tls, Alpn::None).unwrap();
    let h1: Option<&[u8]> = Some(b"http/1.1");
    for (server, offered, expected) in [
        (&http, &["h2", "http/1.1"][..], Ok(h1)),
        (&http, &[], Ok(None)),
        (&http, &["h2"], Err(())),
        (&bytes, &["h2"], Ok(None)),
    ] {
        let mut client = Trusting::new().config();
        client.alpn_protocols = offered
            .iter()
            .map(|name| name.as_bytes().to_vec())
            .collect();
        let (leg, client) = handshake(server, &Arc::new(client), "localhost").await;
        let agreed = client
            .as_ref()
            .map(|client| client.get_ref().1.alpn_protocol());
        assert_eq!(agreed.map_err(|_| ()), expected, "{offered:?}");
        assert_eq!(leg.is_ok(), expected.is_ok());
    }
}
