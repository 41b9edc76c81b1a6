//! Certificates of clients.

use rcgen::string::BmpString;
use tokio::io::AsyncReadExt;

use super::*;

fn mutual(authority: &Authority, client_auth: ClientAuth) -> ServerTls {
    let tls = config::Tls {
        client_ca: Some(authority.ca()),
        client_auth,
        ..tls(&[&authority.issue(&["localhost"])])
    };
    ServerTls::load(&tls, Alpn::None).unwrap()
}

fn showing(identity: &CertificateFiles) -> ClientConfig {
    let client = Trusting {
        identity: Some(identity.clone()),
        ..Trusting::new()
    };
    client.config()
}

/// A client of TLS 1.3 believes itself connected before the server has seen its certificate: the first read tells.
async fn is_refused(server: &ServerTls, client: ClientConfig) -> bool {
    let (leg, client) = handshake(server, &Arc::new(client), "localhost").await;
    if leg.is_ok() {
        return false;
    }
    let heard = client.unwrap().read(&mut [0; 8]).await;
    assert!(heard.is_err(), "refused on one side only: {heard:?}");
    true
}

#[tokio::test]
async fn required_means_a_certificate_of_that_ca() {
    let (authority, other) = (Authority::new(), Authority::new());
    let server = mutual(&authority, ClientAuth::Required);
    assert!(is_refused(&server, Trusting::new().config()).await);
    let foreign = showing(&other.issue(&["client"]));
    assert!(is_refused(&server, foreign).await);
    let (leg, _) = connected(&server, showing(&authority.issue(&["client"]))).await;
    assert_eq!(leg.client_subject().as_deref(), Some("CN=client"));
}

#[tokio::test]
async fn optional_means_none_or_one_of_that_ca() {
    let (authority, other) = (Authority::new(), Authority::new());
    let server = mutual(&authority, ClientAuth::Optional);
    let (leg, _) = connected(&server, Trusting::new().config()).await;
    assert_eq!(leg.client_subject(), None);
    let foreign = showing(&other.issue(&["client"]));
    assert!(is_refused(&server, foreign).await);
    let (leg, _) = connected(&server, showing(&authority.issue(&["client"]))).await;
    assert_eq!(leg.client_subject().as_deref(), Some("CN=client"));
}

#[tokio::test]
async fn without_a_client_ca_no_certificate_is_asked_for() {
    let authority = Authority::new();
    let server = listener(&[&authority.issue(&["localhost"])]);
    let (leg, _) = connected(&server, showing(&authority.issue(&["client"]))).await;
    assert_eq!(leg.client_subject(), None);
}

#[tokio::test]
async fn the_subject_is_an_rfc_4514_string_that_a_header_can_carry() {
    let authority = Authority::new();
    let server = mutual(&authority, ClientAuth::Required);
    let mut params = params(&[], "unused");
    let mut name = DistinguishedName::new();
    name.push(DnType::CountryName, "DE");
    name.push(DnType::StateOrProvinceName, " Baden\\Württemberg ");
    name.push(DnType::OrganizationName, "Sidebeat, \"100%\" <x>;+");
    name.push(
        DnType::OrganizationalUnitName,
        rcgen::DnValue::BmpString(BmpString::try_from("Größe").unwrap()),
    );
    name.push(DnType::CustomDnType(vec![1, 3, 6, 1, 4, 1, 99999]), "ab");
    name.push(
        DnType::CustomDnType(vec![0, 9, 2342, 19200300, 100, 1, 1]),
        "#7\r\n\0",
    );
    name.push(DnType::CommonName, "Jürgen=1");
    params.distinguished_name = name;
    let identity = authority.issue_with(&params, &KeyPair::generate().unwrap(), "client");
    let (leg, _) = connected(&server, showing(&identity)).await;
    assert_eq!(
        leg.client_subject().unwrap(),
        [
            "CN=J%C3%BCrgen=1",
            "UID=\\#7%0D%0A\\00",
            "1.3.6.1.4.1.99999=#0c026162",
            "OU=Gr%C3%B6%C3%9Fe",
            "O=Sidebeat\\, \\\"100%25\\\" \\<x\\>\\;\\+",
            "ST=\\ Baden\\\\W%C3%BCrttemberg\\ ",
            "C=DE",
        ]
        .join(",")
    );
}
