//! TLS with upstreams: we are the client.

use std::io;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{Alpn, BUFFER_LIMIT, TlsError, certificates, provider, setup};
use crate::config;
use crate::net::leg::Leg;
use crate::net::pem;
use crate::net::sensor::Sensor;

/// How an upstream is verified and what we show it.
#[derive(Clone)]
pub struct ClientTls {
    connector: TlsConnector,
    server_name: ServerName<'static>,
}

impl ClientTls {
    /// Reads the CA, or the system's roots, and our own certificate.
    pub fn load(tls: &config::UpstreamTls, alpn: Alpn) -> Result<Self, TlsError> {
        let roots = match &tls.ca {
            Some(path) => pem::roots(path)?,
            None => system_roots()?,
        };
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(setup)?
            .with_root_certificates(roots);
        let mut config = match &tls.identity {
            None => builder.with_no_client_auth(),
            Some(files) => {
                let (certified, _) = certificates::load(files)?;
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certified)))
            }
        };
        config.alpn_protocols = alpn.protocols();
        Ok(Self {
            connector: TlsConnector::from(Arc::new(config)),
            server_name: server_name(&tls.server_name)?,
        })
    }

    /// Does the handshake over a connection that was just made; the caller limits its time.
    pub async fn connect(&self, tcp: TcpStream) -> io::Result<Leg> {
        let session = self
            .connector
            .connect_with(self.server_name.clone(), Sensor::new(tcp), |session| {
                session.set_buffer_limit(Some(BUFFER_LIMIT));
            })
            .await?;
        Ok(Leg::Dialed(Box::new(session)))
    }
}

impl std::fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientTls")
            .field("server_name", &self.server_name)
            .finish_non_exhaustive()
    }
}

/// The root certificates of this system (`SSL_CERT_FILE` and `SSL_CERT_DIR` are obeyed), at least one.
pub fn system_roots() -> Result<RootCertStore, TlsError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    // Bundles hold oddities that no chain needs; one of them must not cost us all others.
    let (usable, _) = roots.add_parsable_certificates(found.certs);
    if usable == 0 {
        let reason = found.errors.first().map(ToString::to_string);
        return Err(TlsError::NoSystemRoots {
            reason: reason.unwrap_or_else(|| "no bundle found".to_owned()),
        });
    }
    Ok(roots)
}

/// A host as written in a URL has brackets around IPv6; a certificate has none.
fn server_name(name: &str) -> Result<ServerName<'static>, TlsError> {
    let bare = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'))
        .unwrap_or(name);
    ServerName::try_from(bare.to_owned()).map_err(|_| TlsError::ServerName {
        name: name.to_owned(),
    })
}
