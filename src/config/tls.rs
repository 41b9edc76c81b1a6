//! TLS of one listener, towards clients and towards the app.

use super::error::{ConfigError, Place};
use super::kinds::Text;
use super::leaf::{Block, Leaf, Maybe};
use super::raw::{RawCertificate, RawTls, RawUpstreamTls};
use super::reader::Reader;
use super::ready::{
    CertificateFiles, ClientAuth, Protocol, Tls, TlsVersion, UpstreamAddress, UpstreamTls,
};

/// Reads `upstream_tls` of a wss or tls upstream.
pub(super) fn upstream_tls(
    reader: &Reader<'_>,
    upstream: &Leaf<Text>,
    address: &UpstreamAddress,
    raw: Option<&RawUpstreamTls>,
) -> Result<UpstreamTls, ConfigError> {
    let valid = |name: &str| {
        rustls::pki_types::ServerName::try_from(name)
            .map(|_| name.to_owned())
            .map_err(|_| {
                format!("`{name}` is no name of a certificate: write `upstream_tls: {{ server_name: NAME }}` with a DNS name or IP address")
            })
    };
    let host = match address {
        UpstreamAddress::Host { host, .. } => host.as_str(),
        UpstreamAddress::Unix(_) => "",
    };
    let named = raw.and_then(|raw| raw.server_name.get());
    let server_name = match named {
        Some(leaf) => reader.parse(leaf, "server_name", valid)?,
        None => valid(host).map_err(|message| reader.wrong(upstream, "upstream", &message))?,
    };
    let Some(raw) = raw else {
        return Ok(UpstreamTls {
            server_name,
            ..UpstreamTls::default()
        });
    };
    let identity = match (raw.cert.get(), raw.key.get()) {
        (Some(cert), Some(key)) => Some(CertificateFiles {
            cert: reader.file(cert, "cert")?,
            key: reader.file(key, "key")?,
        }),
        (None, None) => None,
        (Some(leaf), None) => {
            return Err(reader.misplaced(
                leaf.place,
                "cert",
                "it needs its private key: add `key: FILE`",
            ));
        }
        (None, Some(leaf)) => {
            return Err(reader.misplaced(
                leaf.place,
                "key",
                "it needs its certificate: add `cert: FILE`",
            ));
        }
    };
    Ok(UpstreamTls {
        ca: reader.file_option(&raw.ca, "ca")?,
        server_name,
        identity,
    })
}

/// Reads `tls`, which is there exactly if the protocol is wss or tls.
pub(super) fn tls(
    reader: &Reader<'_>,
    protocol: Protocol,
    listen: &Leaf<Text>,
    raw: &Maybe<Block<RawTls>>,
) -> Result<Option<Tls>, ConfigError> {
    let raw = match (protocol.is_tls(), raw.get()) {
        (true, Some(block)) => &block.value,
        (false, None) => return Ok(None),
        (true, None) => {
            let plain = if protocol.is_websocket() { "ws" } else { "tcp" };
            let message = match listen.place {
                Place::Flag(_) => format!(
                    "{}:// needs a certificate: add --tls-cert FILE and --tls-key FILE, or write {plain}://",
                    protocol.as_str()
                ),
                Place::File { .. } => format!(
                    "{}:// needs a certificate: add `tls: {{ certificates: [ {{ cert: FILE, key: FILE }} ] }}`, or write {plain}://",
                    protocol.as_str()
                ),
            };
            return Err(reader.wrong(listen, "listen", &message));
        }
        (false, Some(block)) => {
            let secure = if protocol.is_websocket() {
                "wss"
            } else {
                "tls"
            };
            let message = format!(
                "{}:// has no TLS: remove it, or listen on {secure}://",
                protocol.as_str()
            );
            return Err(reader.misplaced(block.place, "tls", &message));
        }
    };
    if raw.certificates.value.is_empty() {
        return Err(reader.misplaced(
            raw.certificates.place,
            "certificates",
            "at least one is needed: write `- { cert: FILE, key: FILE }`",
        ));
    }
    if let (Some(leaf), None) = (raw.client_auth.get(), raw.client_ca.get()) {
        return Err(reader.misplaced(
            leaf.place,
            "client_auth",
            "clients are asked for certificates of an authority: add `client_ca: FILE`, or remove it",
        ));
    }
    let certificates = raw
        .certificates
        .value
        .iter()
        .map(|pair| certificate(reader, pair))
        .collect::<Result<_, _>>()?;
    Ok(Some(Tls {
        certificates,
        client_ca: reader.file_option(&raw.client_ca, "client_ca")?,
        client_auth: reader.or(&raw.client_auth, "client_auth", ClientAuth::Required)?,
        min_version: reader.or(&raw.min_version, "min_version", TlsVersion::V1_2)?,
    }))
}

fn certificate(reader: &Reader<'_>, raw: &RawCertificate) -> Result<CertificateFiles, ConfigError> {
    Ok(CertificateFiles {
        cert: reader.file(&raw.cert, "cert")?,
        key: reader.file(&raw.key, "key")?,
    })
}
