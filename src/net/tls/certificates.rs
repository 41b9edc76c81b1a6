//! A listener's certificates and the choice among them.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::pki_types::CertificateDer;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{CertificateError, Error, InconsistentKeys, SignatureScheme};
use x509_parser::extensions::GeneralName;

use super::{TlsError, provider};
use crate::config::CertificateFiles;
use crate::net::pem;

/// Whoever renews automatically does it weeks before the end; who does it by hand wants two.
const LAST_WEEKS: Duration = Duration::from_secs(14 * 24 * 3600);

/// What a certificate says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateInfo {
    /// The file it was read from.
    pub path: PathBuf,
    /// The end of its validity.
    pub not_after: SystemTime,
    /// From when on it should have been renewed: a tenth of its life before its end, two weeks at most.
    pub renewal_due: SystemTime,
    /// DNS names, lower case, and IP addresses of its subjectAltName; the common name counts for no client any more.
    pub names: Vec<String>,
}

/// Reads one pair. The certificate of the key comes first in its file (RFC 8446 4.4.2).
pub(super) fn load(files: &CertificateFiles) -> Result<(CertifiedKey, CertificateInfo), TlsError> {
    let chain = pem::certificates(&files.cert)?;
    let key = pem::private_key(&files.key)?;
    let info = describe(files, &chain[0])?;
    let certified = CertifiedKey::from_der(chain.clone(), key.clone_key(), &provider());
    let certified = certified.map_err(|error| match error {
        Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            let (cert, key_path) = (files.cert.clone(), files.key.clone());
            let another_matches = chain[1..].iter().any(|certificate| {
                CertifiedKey::from_der(vec![certificate.clone()], key.clone_key(), &provider())
                    .is_ok()
            });
            match another_matches {
                true => TlsError::ChainOrder {
                    cert,
                    key: key_path,
                },
                false => TlsError::KeyMismatch {
                    cert,
                    key: key_path,
                },
            }
        }
        Error::InvalidCertificate(error) => unusable(files, error),
        source => TlsError::Key {
            path: files.key.clone(),
            source,
        },
    })?;
    Ok((certified, info))
}

fn unusable(files: &CertificateFiles, error: CertificateError) -> TlsError {
    TlsError::Certificate {
        path: files.cert.clone(),
        reason: error.to_string(),
    }
}

fn describe(
    files: &CertificateFiles,
    certificate: &CertificateDer<'_>,
) -> Result<CertificateInfo, TlsError> {
    let unusable = |error: &dyn std::fmt::Display| TlsError::Certificate {
        path: files.cert.clone(),
        reason: error.to_string(),
    };
    let (_, parsed) =
        x509_parser::parse_x509_certificate(certificate).map_err(|error| unusable(&error))?;
    let alternatives = parsed
        .subject_alternative_name()
        .map_err(|error| unusable(&error))?;
    let names = alternatives
        .iter()
        .flat_map(|extension| &extension.value.general_names)
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
            GeneralName::IPAddress(octets) => ip_address(octets).map(|ip| ip.to_string()),
            _ => None,
        })
        .collect();
    // A date before 1970 is as expired as 1970 itself.
    let date = |date: x509_parser::time::ASN1Time| {
        UNIX_EPOCH + Duration::from_secs(u64::try_from(date.timestamp()).unwrap_or(0))
    };
    let not_after = date(parsed.validity().not_after);
    let life = not_after.duration_since(date(parsed.validity().not_before));
    Ok(CertificateInfo {
        path: files.cert.clone(),
        not_after,
        renewal_due: not_after - (life.unwrap_or_default() / 10).min(LAST_WEEKS),
        names,
    })
}

fn ip_address(octets: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(octets).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(octets).map(IpAddr::from))
        .ok()
}

/// Chooses by SNI: the exact name, else the wildcard for its first label (RFC 6125 6.4.3), else the first certificate.
/// Among certificates for one name the first whose key the client can verify wins, so that an RSA certificate may
/// stand beside an ECDSA one. Clients that dial an address send no SNI (RFC 6066 3) and get the first.
#[derive(Debug)]
pub(super) struct Resolver {
    by_name: HashMap<String, Vec<Arc<CertifiedKey>>>,
    /// The first certificate, then those with the same names.
    default: Vec<Arc<CertifiedKey>>,
}

impl Resolver {
    pub(super) fn new(
        certificates: Vec<(CertifiedKey, CertificateInfo)>,
    ) -> (Self, Vec<CertificateInfo>) {
        let mut by_name = HashMap::<_, Vec<_>>::new();
        let mut default = Vec::new();
        let mut infos = Vec::<CertificateInfo>::new();
        for (key, info) in certificates {
            let key = Arc::new(key);
            for name in &info.names {
                by_name
                    .entry(name.clone())
                    .or_default()
                    .push(Arc::clone(&key));
            }
            if infos.first().is_none_or(|first| first.names == info.names) {
                default.push(key);
            }
            infos.push(info);
        }
        (Self { by_name, default }, infos)
    }

    fn candidates(&self, server_name: Option<&str>) -> &[Arc<CertifiedKey>] {
        let Some(name) = server_name else {
            return &self.default;
        };
        let wildcard = || {
            let (_, parent) = name.split_once('.')?;
            self.by_name.get(&format!("*.{parent}"))
        };
        let named = self.by_name.get(name).or_else(wildcard);
        named.unwrap_or(&self.default)
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let candidates = self.candidates(hello.server_name());
        let verifiable = |key: &&Arc<CertifiedKey>| can_sign(key, hello.signature_schemes());
        let chosen = candidates.iter().find(verifiable);
        chosen.or(candidates.first()).cloned()
    }
}

fn can_sign(key: &CertifiedKey, schemes: &[SignatureScheme]) -> bool {
    key.key.choose_scheme(schemes).is_some()
}
