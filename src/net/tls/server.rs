//! TLS with clients: we are the server.

use std::io;
use std::rc::Rc;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::pki_types::TrustAnchor;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, ProducesTickets, WebPkiClientVerifier};
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig};
use tokio::net::TcpStream;

use super::certificates::{self, CertificateInfo, Resolver};
use super::session::{Scratch, Session};
use super::{Alpn, TlsError, provider, setup};
use crate::config::{self, ClientAuth, TlsVersion};
use crate::net::leg::Leg;
use crate::net::pem;

/// A listener's TLS: what new connections use, replaced as a whole by a reload.
#[derive(Debug)]
pub struct ServerTls {
    alpn: Alpn,
    current: ArcSwap<Loaded>,
}

/// Certificates, keys and client rules as read, not yet in use.
pub struct Certificates(Loaded);

#[derive(Debug)]
struct Loaded {
    acceptor: Arc<ServerConfig>,
    certificates: Vec<CertificateInfo>,
    clients: Clients,
}

/// Who may connect. A ticket vouches for a client that was checked earlier, so it must not outlive these rules.
#[derive(Debug, PartialEq, Eq)]
enum Clients {
    Anyone,
    With {
        auth: ClientAuth,
        anchors: Vec<TrustAnchor<'static>>,
    },
}

impl ServerTls {
    /// Reads certificates, keys and the client CA.
    pub fn load(tls: &config::Tls, alpn: Alpn) -> Result<Self, TlsError> {
        let loaded = Loaded::read(tls, alpn, None)?;
        Ok(Self {
            alpn,
            current: ArcSwap::from_pointee(loaded),
        })
    }

    /// Reads everything again without putting it to use. Sessions will resume over the reload unless the rules for
    /// client certificates changed.
    pub fn prepare(&self, tls: &config::Tls) -> Result<Certificates, TlsError> {
        Loaded::read(tls, self.alpn, Some(&self.current.load())).map(Certificates)
    }

    /// Uses what was prepared for connections to come.
    pub fn adopt(&self, Certificates(loaded): Certificates) {
        self.current.store(Arc::new(loaded));
    }

    /// What a connection accepted now uses.
    pub fn acceptor(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.load().acceptor)
    }

    /// The certificates in use, in the order of the configuration.
    pub fn certificates(&self) -> Vec<CertificateInfo> {
        self.current.load().certificates.clone()
    }
}

impl Loaded {
    fn read(tls: &config::Tls, alpn: Alpn, former: Option<&Self>) -> Result<Self, TlsError> {
        let pairs = tls.certificates.iter().map(certificates::load);
        let (resolver, certificates) = Resolver::new(pairs.collect::<Result<_, _>>()?);
        let clients = Clients::read(tls)?;
        let versions: &[_] = match tls.min_version {
            TlsVersion::V1_2 => &[&TLS13, &TLS12],
            TlsVersion::V1_3 => &[&TLS13],
        };
        let mut acceptor = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(versions)
            .map_err(setup)?
            .with_client_cert_verifier(clients.verifier()?)
            .with_cert_resolver(Arc::new(resolver));
        acceptor.alpn_protocols = alpn.protocols();
        acceptor.ticketer = match former {
            Some(former) if former.clients == clients => Arc::clone(&former.acceptor.ticketer),
            Some(_) | None => new_ticketer()?,
        };
        // Tickets keep all of a session at the client: no memory here, and any worker resumes it.
        acceptor.session_storage = Arc::new(NoServerSessionStorage {});
        acceptor.send_tls13_tickets = 1;
        Ok(Self {
            acceptor: Arc::new(acceptor),
            certificates,
            clients,
        })
    }
}

/// Each listener has keys of its own: a session of one must not open another, which may ask for a client certificate
/// (nginx CVE-2025-23419).
fn new_ticketer() -> Result<Arc<dyn ProducesTickets>, TlsError> {
    Ticketer::new().map_err(setup)
}

impl Clients {
    fn read(tls: &config::Tls) -> Result<Self, TlsError> {
        Ok(match &tls.client_ca {
            None => Self::Anyone,
            Some(path) => Self::With {
                auth: tls.client_auth,
                anchors: pem::roots(path)?.roots,
            },
        })
    }

    fn verifier(&self) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
        let Self::With { auth, anchors } = self else {
            return Ok(WebPkiClientVerifier::no_client_auth());
        };
        let roots = anchors.iter().cloned().collect::<RootCertStore>();
        let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
        let builder = match auth {
            ClientAuth::Required => builder,
            ClientAuth::Optional => builder.allow_unauthenticated(),
        };
        builder.build().map_err(setup)
    }
}

/// Does the handshake of a client that just connected. It has no time limit of its own: the caller's limit covers
/// everything from the accept on. `scratch` is that of the worker.
pub async fn accept(
    acceptor: Arc<ServerConfig>,
    tcp: TcpStream,
    scratch: Rc<Scratch>,
) -> io::Result<Leg> {
    let session = Session::accept(acceptor, tcp, scratch).await?;
    Ok(Leg::Accepted(Box::new(session)))
}
