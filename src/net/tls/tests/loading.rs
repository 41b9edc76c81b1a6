//! What is accepted as a pair, and what is said of one that is not.

use base64::Engine;
use x509_parser::asn1_rs::{Any, FromDer};

use super::*;

fn load_error(files: &CertificateFiles) -> TlsError {
    ServerTls::load(&tls(&[files]), Alpn::None).unwrap_err()
}

#[test]
fn a_key_of_another_pair_is_told_apart_from_a_chain_out_of_order() {
    let authority = Authority::new();
    let (one, two) = (
        authority.issue(&["one.example"]),
        authority.issue(&["two.example"]),
    );
    let error = load_error(&CertificateFiles {
        cert: one.cert.clone(),
        key: two.key,
    });
    assert!(matches!(error, TlsError::KeyMismatch { .. }), "{error}");
    let message = error.to_string();
    assert!(
        message.contains("two.example.key does not match"),
        "{message}"
    );
    assert!(message.contains("one.example.crt"), "{message}");

    let leaf = fs::read_to_string(&one.cert).unwrap();
    let error = load_error(&CertificateFiles {
        cert: authority.write("upside-down.pem", authority.certificate.pem() + &leaf),
        key: one.key.clone(),
    });
    assert!(matches!(error, TlsError::ChainOrder { .. }), "{error}");

    let in_order = CertificateFiles {
        cert: authority.write("chain.pem", leaf + &authority.certificate.pem()),
        key: one.key,
    };
    listener(&[&in_order]);
}

#[test]
fn each_unusable_file_is_named_with_its_fault() {
    let authority = Authority::new();
    let good = authority.issue(&["good.example"]);
    let cert_text = fs::read_to_string(&good.cert).unwrap();
    let key_text = fs::read_to_string(&good.key).unwrap();
    let legacy = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAAAA\n-----END RSA PRIVATE KEY-----\n";
    let pkcs8 =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let nonsense = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let garbled = cert_text.replacen("MII", "M*I", 1);
    assert_ne!(garbled, cert_text);
    let no_key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    let (half_cert, half_key) = (&cert_text[..200], &key_text[..60]);

    let bad_certs = [
        ("empty.crt", "", "no certificate in"),
        ("key.crt", &key_text, "no certificate in"),
        ("half.crt", half_cert, "is not valid PEM, was it cut off"),
        ("garbled.crt", &garbled, "is not valid PEM"),
        ("nonsense.crt", nonsense, "cannot be used"),
    ];
    for (file, text, expected) in bad_certs {
        let message = load_error(&CertificateFiles {
            cert: authority.write(file, text),
            key: good.key.clone(),
        });
        let message = message.to_string();
        assert!(
            message.contains(expected) && message.contains(file),
            "{message}"
        );
    }
    let bad_keys = [
        ("empty.key", "", "no private key in"),
        ("cert.key", &cert_text, "no private key in"),
        ("half.key", half_key, "is not valid PEM, was it cut off"),
        ("legacy.key", legacy, "is encrypted"),
        ("pkcs8.key", pkcs8, "is encrypted"),
        ("nonsense.key", no_key, "cannot be used"),
    ];
    for (file, text, expected) in bad_keys {
        let message = load_error(&CertificateFiles {
            cert: good.cert.clone(),
            key: authority.write(file, text),
        });
        let message = message.to_string();
        assert!(
            message.contains(expected) && message.contains(file),
            "{message}"
        );
    }
    let absent = CertificateFiles {
        cert: authority.dir.path().join("absent.crt"),
        ..good
    };
    let message = load_error(&absent).to_string();
    assert!(
        message.contains("cannot read") && message.contains("absent.crt"),
        "{message}"
    );
}

/// The key inside PKCS#8 (RFC 5208 5): version, algorithm, then the older form as an octet string.
fn older_form(key: &KeyPair, label: &str) -> String {
    let der = key.serialize_der();
    let (_, info) = Any::from_der(&der).unwrap();
    let (rest, _version) = Any::from_der(info.data).unwrap();
    let (rest, _algorithm) = Any::from_der(rest).unwrap();
    let (_, inner) = Any::from_der(rest).unwrap();
    let text = base64::engine::general_purpose::STANDARD.encode(inner.data);
    let lines: Vec<_> = text
        .as_bytes()
        .chunks(64)
        .map(String::from_utf8_lossy)
        .collect();
    format!(
        "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
        lines.join("\n")
    )
}

#[tokio::test]
async fn keys_are_read_in_all_three_forms() {
    let authority = Authority::new();
    let cases = [
        (&rcgen::PKCS_ECDSA_P256_SHA256, "EC PRIVATE KEY"),
        (&rcgen::PKCS_RSA_SHA256, "RSA PRIVATE KEY"),
    ];
    for (algorithm, label) in cases {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let modern = authority.issue_with(&params(&["localhost"], "x"), &key, "modern");
        connected(&listener(&[&modern]), Trusting::new().config()).await;
        let older = CertificateFiles {
            key: authority.write("older.key", older_form(&key, label)),
            ..modern
        };
        connected(&listener(&[&older]), Trusting::new().config()).await;
    }
}

#[tokio::test]
async fn certificate_and_key_may_share_a_file() {
    let authority = Authority::new();
    let pair = authority.issue(&["localhost"]);
    let both = [fs::read(pair.key).unwrap(), fs::read(pair.cert).unwrap()].concat();
    let path = authority.write("both.pem", both);
    let both = CertificateFiles {
        cert: path.clone(),
        key: path,
    };
    connected(&listener(&[&both]), Trusting::new().config()).await;
}

#[tokio::test]
async fn a_bad_file_keeps_all_that_was_and_a_good_one_serves_new_connections() {
    let authority = Authority::new();
    let (old, new) = (
        authority.issue(&["old.example"]),
        authority.issue(&["new.example"]),
    );
    let mutual = authority.issue(&["mutual.example"]);
    let server = listener(&[&old]);
    let (before, described) = (server.acceptor(), server.certificates());
    let half_written = CertificateFiles {
        key: old.key.clone(),
        ..new.clone()
    };
    let bad_ca = config::Tls {
        client_ca: Some(authority.dir.path().join("absent.pem")),
        ..tls(&[&new])
    };
    for bad in [tls(&[&half_written]), tls(&[&new, &half_written]), bad_ca] {
        server.prepare(&bad).err().unwrap();
        assert!(Arc::ptr_eq(&server.acceptor(), &before));
        assert_eq!(server.certificates(), described);
    }

    let (mut leg, mut client) = connected(&server, Trusting::new().config()).await;
    server.adopt(server.prepare(&tls(&[&new, &mutual])).unwrap());
    assert_eq!(server.certificates().len(), 2);
    assert_eq!(server.certificates()[0].names, ["new.example"]);
    let (_, newcomer) = connected(&server, Trusting::new().config()).await;
    let leaf = |client: &Client| client.get_ref().1.peer_certificates().unwrap()[0].clone();
    assert_ne!(leaf(&client), leaf(&newcomer));
    ending::exchange(&mut leg, &mut client).await;
}
