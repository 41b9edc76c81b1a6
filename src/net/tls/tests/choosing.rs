//! Which certificate a client is shown.

use std::time::{Duration, UNIX_EPOCH};

use super::*;

/// The common name of the certificate that a client gets who asks for `name`.
async fn shown(server: &ServerTls, client: &Arc<ClientConfig>, name: &str) -> String {
    let (_, client) = handshake(server, client, name).await;
    let client = client.unwrap();
    let certificate = &client.get_ref().1.peer_certificates().unwrap()[0];
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).unwrap();
    let name = parsed.subject().iter_common_name().next().unwrap();
    name.as_str().unwrap().to_owned()
}

#[tokio::test]
async fn the_name_asked_for_chooses_and_the_first_is_the_default() {
    let authority = Authority::new();
    let first = authority.issue(&["first.example"]);
    let several = authority.issue(&["one.example", "Two.Example"]);
    let wildcard = authority.issue(&["*.wild.example"]);
    let exact = authority.issue(&["exact.wild.example"]);
    let server = listener(&[&first, &several, &wildcard, &exact]);
    let client = Arc::new(Trusting::new().config());
    for (asked, expected) in [
        ("first.example", "first.example"),
        ("one.example", "one.example"),
        ("two.example", "one.example"),
        ("TWO.example", "one.example"),
        ("any.wild.example", "*.wild.example"),
        ("exact.wild.example", "exact.wild.example"),
        ("wild.example", "first.example"),
        ("deep.any.wild.example", "first.example"),
        ("unknown.example", "first.example"),
        ("127.0.0.1", "first.example"),
    ] {
        assert_eq!(shown(&server, &client, asked).await, expected, "{asked}");
    }
}

#[tokio::test]
async fn among_certificates_for_a_name_the_client_gets_one_it_can_verify() {
    let authority = Authority::new();
    let of_kind = |algorithm, kind: &str| {
        let key = KeyPair::generate_for(algorithm).unwrap();
        authority.issue_with(&params(&["both.example"], kind), &key, kind)
    };
    let p256 = of_kind(&rcgen::PKCS_ECDSA_P256_SHA256, "p256");
    let ed25519 = of_kind(&rcgen::PKCS_ED25519, "ed25519");
    let server = listener(&[&p256, &ed25519]);
    let verifying = |schemes: &[SignatureScheme]| {
        let client = Trusting {
            schemes: schemes.to_vec(),
            ..Trusting::new()
        };
        Arc::new(client.config())
    };
    use SignatureScheme::{ECDSA_NISTP256_SHA256, ED25519};
    for (schemes, expected) in [
        (&[ECDSA_NISTP256_SHA256, ED25519][..], "p256"),
        (&[ED25519, ECDSA_NISTP256_SHA256], "p256"),
        (&[ED25519], "ed25519"),
    ] {
        let client = verifying(schemes);
        for asked in ["both.example", "unknown.example"] {
            assert_eq!(
                shown(&server, &client, asked).await,
                expected,
                "{schemes:?}"
            );
        }
    }
}

#[test]
fn certificates_are_described_for_metrics_and_status() {
    let authority = Authority::new();
    let mut long = params(
        &["Chat.Example", "*.chat.example", "192.0.2.1", "2001:db8::1"],
        "x",
    );
    long.not_after = rcgen::date_time_ymd(2031, 5, 6);
    let long = authority.issue_with(&long, &KeyPair::generate().unwrap(), "long");
    let nameless = authority.issue_with(
        &params(&[], "cn.example"),
        &KeyPair::generate().unwrap(),
        "nameless",
    );
    let infos = listener(&[&long, &nameless]).certificates();
    assert_eq!(
        infos[0],
        CertificateInfo {
            path: long.cert,
            not_after: UNIX_EPOCH + Duration::from_secs(1_935_792_000),
            renewal_due: UNIX_EPOCH + Duration::from_secs(1_935_792_000 - 14 * 24 * 3600),
            names: ["chat.example", "*.chat.example", "192.0.2.1", "2001:db8::1"]
                .map(str::to_owned)
                .to_vec(),
        }
    );
    assert!(infos[1].names.is_empty(), "a common name is no name");
    assert_eq!(infos.len(), 2);
}
