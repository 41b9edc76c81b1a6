//! The one place that reads PEM files.

use std::fs;
use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls_pemfile::Item;

/// What a PEM file holds for TLS; other sections are skipped.
#[derive(Debug)]
pub struct Pem {
    /// In the order of the file.
    pub certificates: Vec<CertificateDer<'static>>,
    /// The first key: PKCS#8, PKCS#1 or SEC1.
    pub key: Option<PrivateKeyDer<'static>>,
}

/// Why a file yields no certificate or key.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "each message names its fields")]
pub enum PemError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    /// A section that looks like PEM is broken.
    #[error("{} is not valid PEM, was it cut off while being written? {source}", path.display())]
    Syntax {
        path: PathBuf,
        source: std::io::Error,
    },
    /// The key needs a passphrase, which a sidecar has nobody to ask for.
    #[error("the key in {} is encrypted: store it without a passphrase (openssl pkey -in FILE -out FILE)", path.display())]
    Encrypted { path: PathBuf },
    /// There is no certificate in the file.
    #[error("no certificate in {}: it must hold PEM sections that begin with -----BEGIN CERTIFICATE-----", path.display())]
    NoCertificate { path: PathBuf },
    /// There is no private key in the file.
    #[error("no private key in {}: it must hold one in PEM (PKCS#8, PKCS#1 or SEC1)", path.display())]
    NoKey { path: PathBuf },
    /// A certificate cannot be a trust anchor.
    #[error("a certificate in {} cannot serve as a CA: {source}", path.display())]
    Anchor {
        path: PathBuf,
        source: rustls::Error,
    },
}

/// Reads all that TLS may want from the PEM file at `path`.
pub fn read(path: &Path) -> Result<Pem, PemError> {
    let text = fs::read(path).map_err(|source| PemError::Read {
        path: path.to_owned(),
        source,
    })?;
    if is_encrypted(&text) {
        return Err(PemError::Encrypted {
            path: path.to_owned(),
        });
    }
    let (mut certificates, mut key) = (Vec::new(), None);
    for item in rustls_pemfile::read_all(&mut text.as_slice()) {
        let item = item.map_err(|source| PemError::Syntax {
            path: path.to_owned(),
            source,
        })?;
        let found = match item {
            Item::X509Certificate(certificate) => {
                certificates.push(certificate);
                continue;
            }
            Item::Pkcs8Key(key) => PrivateKeyDer::from(key),
            Item::Pkcs1Key(key) => PrivateKeyDer::from(key),
            Item::Sec1Key(key) => PrivateKeyDer::from(key),
            _ => continue,
        };
        key.get_or_insert(found);
    }
    Ok(Pem { certificates, key })
}

/// The certificates of the file at `path`, at least one.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let certificates = read(path)?.certificates;
    if certificates.is_empty() {
        return Err(PemError::NoCertificate {
            path: path.to_owned(),
        });
    }
    Ok(certificates)
}

/// The private key of the file at `path`.
pub fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, PemError> {
    read(path)?.key.ok_or_else(|| PemError::NoKey {
        path: path.to_owned(),
    })
}

/// The CAs of the file at `path`, at least one.
pub fn roots(path: &Path) -> Result<RootCertStore, PemError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|source| PemError::Anchor {
            path: path.to_owned(),
            source,
        })?;
    }
    Ok(roots)
}

/// PKCS#8 says so in its label, the older forms in a header (RFC 1421 4.6.1.1) that the parser would take for base64.
fn is_encrypted(text: &[u8]) -> bool {
    text.split(|byte| *byte == b'\n').any(|line| {
        line.starts_with(b"-----BEGIN ENCRYPTED PRIVATE KEY-----")
            || line.starts_with(b"Proc-Type: 4,ENCRYPTED")
    })
}
