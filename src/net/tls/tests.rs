//! A certificate authority, a listener and a client of its own for each test.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DistinguishedName, DnType, IsCa, Issuer,
    KeyPair,
};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;

use super::*;
use crate::config::{self, CertificateFiles, ClientAuth, TlsVersion};
use crate::net::leg::Leg;

mod choosing;
mod clients;
mod ending;
mod loading;
mod records;
mod sessions;
mod upstreams;

type Client = tokio_rustls::client::TlsStream<TcpStream>;

/// A CA with a directory for what it issues.
struct Authority {
    dir: TempDir,
    issuer: Issuer<'static, KeyPair>,
    certificate: Certificate,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = params(&[], "authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self {
            dir: tempfile::tempdir().unwrap(),
            certificate: params.self_signed(&key).unwrap(),
            issuer: Issuer::new(params, key),
        }
    }

    /// Writes `text` to a file of this directory.
    fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.dir.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    fn ca(&self) -> PathBuf {
        self.write("ca.pem", self.certificate.pem())
    }

    fn sign(&self, params: &CertificateParams, key: &KeyPair) -> Certificate {
        params.signed_by(key, &self.issuer).unwrap()
    }

    /// A pair for `names`, in files called after the first.
    fn issue(&self, names: &[&str]) -> CertificateFiles {
        self.issue_with(
            &params(names, names[0]),
            &KeyPair::generate().unwrap(),
            names[0],
        )
    }

    fn issue_with(
        &self,
        params: &CertificateParams,
        key: &KeyPair,
        file: &str,
    ) -> CertificateFiles {
        CertificateFiles {
            cert: self.write(&format!("{file}.crt"), self.sign(params, key).pem()),
            key: self.write(&format!("{file}.key"), key.serialize_pem()),
        }
    }
}

fn params(names: &[&str], common_name: &str) -> CertificateParams {
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, common_name);
    params
}

/// The configuration of a listener with these certificates and defaults for the rest.
fn tls(certificates: &[&CertificateFiles]) -> config::Tls {
    config::Tls {
        certificates: certificates.iter().map(|files| (*files).clone()).collect(),
        client_ca: None,
        client_auth: ClientAuth::Required,
        min_version: TlsVersion::V1_2,
    }
}

fn listener(certificates: &[&CertificateFiles]) -> ServerTls {
    ServerTls::load(&tls(certificates), Alpn::None).unwrap()
}

/// A client that looks at no certificate, for tests of what the server does.
struct Trusting {
    versions: Vec<&'static rustls::SupportedProtocolVersion>,
    schemes: Vec<SignatureScheme>,
    identity: Option<CertificateFiles>,
}

impl Trusting {
    fn new() -> Self {
        let schemes = provider()
            .signature_verification_algorithms
            .supported_schemes();
        Self {
            versions: rustls::ALL_VERSIONS.to_vec(),
            schemes,
            identity: None,
        }
    }

    fn config(self) -> ClientConfig {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&self.versions)
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Blind(self.schemes)));
        match self.identity {
            None => builder.with_no_client_auth(),
            Some(files) => {
                let chain = CertificateDer::pem_file_iter(files.cert).unwrap();
                let key = PrivateKeyDer::from_pem_file(files.key).unwrap();
                builder
                    .with_client_auth_cert(chain.map(Result::unwrap).collect(), key)
                    .unwrap()
            }
        }
    }
}

#[derive(Debug)]
struct Blind(Vec<SignatureScheme>);

impl ServerCertVerifier for Blind {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.clone()
    }
}

async fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dialed = TcpStream::connect(listener.local_addr().unwrap());
    let (dialed, accepted) = tokio::join!(dialed, listener.accept());
    (dialed.unwrap(), accepted.unwrap().0)
}

/// One handshake: what each side makes of it.
async fn handshake(
    server: &ServerTls,
    client: &Arc<ClientConfig>,
    name: &str,
) -> (io::Result<Leg>, io::Result<Client>) {
    let (dialed, accepted) = tcp_pair().await;
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let connector = TlsConnector::from(Arc::clone(client));
    tokio::join!(
        accept(server.acceptor(), accepted, Rc::default()),
        connector.connect(name, dialed)
    )
}

async fn connected(server: &ServerTls, client: ClientConfig) -> (Leg, Client) {
    let (leg, client) = handshake(server, &Arc::new(client), "localhost").await;
    (leg.unwrap(), client.unwrap())
}
