//! TLS on both sides: certificates, the handshake with a client, the handshake with an upstream.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};

use super::pem::PemError;

mod certificates;
mod client;
mod server;
mod session;
mod subject;

pub use certificates::CertificateInfo;
pub use client::{ClientTls, system_roots};
pub use server::{Certificates, ServerTls, accept};
pub use session::{Scratch, Session};

/// What is spoken inside the session, named in ALPN (RFC 7301).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alpn {
    /// HTTP/1.1, which a WebSocket opening is; a peer that speaks HTTP/2 only is refused in the handshake.
    Http11,
    /// Bytes of which we know nothing: no protocol is named.
    None,
}

impl Alpn {
    fn protocols(self) -> Vec<Vec<u8>> {
        match self {
            Self::Http11 => vec![b"http/1.1".to_vec()],
            Self::None => Vec::new(),
        }
    }
}

/// Why TLS cannot be set up from the files named in the configuration.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each message names its fields")]
pub enum TlsError {
    /// A file does not hold what it should.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// A certificate that cannot be parsed or used.
    #[error("the certificate in {} cannot be used: {reason}", path.display())]
    Certificate { path: PathBuf, reason: String },
    /// A private key of a kind that TLS does not know.
    #[error("the key in {} cannot be used: {source}", path.display())]
    Key {
        path: PathBuf,
        source: rustls::Error,
    },
    /// Certificate and key are of different pairs.
    #[error(
        "the key in {} does not match the certificate in {}: if the pair is just being replaced it is read again, else name the key that was made with this certificate",
        key.display(), cert.display()
    )]
    KeyMismatch { cert: PathBuf, key: PathBuf },
    /// The chain does not begin with the server's certificate.
    #[error(
        "the chain in {} is out of order: the certificate that belongs to the key in {} must come first, its issuers after it",
        cert.display(), key.display()
    )]
    ChainOrder { cert: PathBuf, key: PathBuf },
    /// The upstream's certificate cannot be checked for lack of roots.
    #[error(
        "this system has no root certificates ({reason}): name the upstream's CA in upstream_tls.ca"
    )]
    NoSystemRoots { reason: String },
    /// `server_name` is neither a DNS name nor an IP address.
    #[error(
        "{name:?} is no name that a certificate can hold: set upstream_tls.server_name to the DNS name or IP address in the upstream's certificate"
    )]
    ServerName { name: String },
    /// The library refuses the combination.
    #[error("TLS cannot be set up: {0}")]
    Setup(String),
}

fn setup(error: impl std::fmt::Display) -> TlsError {
    TlsError::Setup(error.to_string())
}

/// Named at every use, so that no other crate's choice of a process-wide default can change ours.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// Plaintext or records that a session holds for a peer that does not take them: one read of the relay.
const BUFFER_LIMIT: usize = 64 * 1024;

#[cfg(test)]
mod tests;
