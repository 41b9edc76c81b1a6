//! What a hook proves itself and its receiver by: secret, token, userinfo, certificate authorities.

use std::path::Path;
use std::sync::Arc;

use http::{HeaderValue, Uri};
use rustls::{ClientConfig, RootCertStore};

use super::HookError;
use super::endpoint::shown;
use super::sign::Secret;
use crate::config;

/// Trusts `ca`, else the roots of the system, which are only looked for when the URL needs them.
pub(super) fn tls(name: &str, hook: &config::Hook) -> Result<ClientConfig, HookError> {
    let mut roots = RootCertStore::empty();
    if let Some(path) = &hook.ca {
        let pem = read(name, path)?;
        let unusable = |why: String| HookError::Ca {
            hook: name.to_owned(),
            path: path.clone(),
            why,
        };
        for certificate in rustls_pemfile::certs(&mut pem.as_slice()) {
            let certificate = certificate.map_err(|error| unusable(error.to_string()))?;
            let added = roots.add(certificate);
            added.map_err(|error| unusable(error.to_string()))?;
        }
        if roots.is_empty() {
            return Err(unusable("it holds no certificate".to_owned()));
        }
    } else if hook.url.scheme_str() == Some("https") {
        let found = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(found.certs);
        if roots.is_empty() {
            return Err(HookError::NoRoots {
                hook: name.to_owned(),
            });
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has suites for TLS 1.2 and 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth())
}

/// Reads a file of the hook called `name`.
fn read(name: &str, path: &Path) -> Result<Vec<u8>, HookError> {
    std::fs::read(path).map_err(|source| HookError::Read {
        hook: name.to_owned(),
        path: path.to_owned(),
        source,
    })
}

/// Reads the keys that sign the requests.
pub(super) fn secret(name: &str, path: &Path) -> Result<Secret, HookError> {
    let bytes = read(name, path)?;
    let unusable = |source| HookError::Secret {
        hook: name.to_owned(),
        path: path.to_owned(),
        source,
    };
    Secret::parse(&bytes).map_err(unusable)
}

/// Reads the bearer token.
pub(super) fn token(name: &str, path: &Path) -> Result<String, HookError> {
    let unusable = || HookError::Token {
        hook: name.to_owned(),
        path: path.to_owned(),
    };
    let text = String::from_utf8(read(name, path)?).map_err(|_| unusable())?;
    let token = text.trim();
    // RFC 6750 section 2.1: no blanks and no control characters in a token.
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(unusable());
    }
    Ok(token.to_owned())
}

/// A header value that is never shown in a log.
pub(super) fn sensitive(
    name: &str,
    value: &str,
    hook: &config::Hook,
) -> Result<HeaderValue, HookError> {
    let mut value = HeaderValue::from_str(value).map_err(|_| HookError::Url {
        hook: name.to_owned(),
        url: shown(&hook.url),
    })?;
    value.set_sensitive(true);
    Ok(value)
}

/// Takes the userinfo off a URL: hyper does not send it.
pub(super) fn split_userinfo(name: &str, url: &Uri) -> Result<(Uri, Option<Vec<u8>>), HookError> {
    let unusable = || HookError::Url {
        hook: name.to_owned(),
        url: shown(url),
    };
    let authority = url.authority().ok_or_else(unusable)?.as_str();
    if !matches!(url.scheme_str(), Some("http" | "https")) {
        return Err(unusable());
    }
    let Some((userinfo, host)) = authority.rsplit_once('@') else {
        return Ok((url.clone(), None));
    };
    let mut parts = url.clone().into_parts();
    parts.authority = Some(host.parse().map_err(|_| unusable())?);
    let uri = Uri::from_parts(parts).map_err(|_| unusable())?;
    Ok((uri, Some(decode(userinfo))))
}

/// Undoes percent-encoding; what is no valid escape stays as it is.
fn decode(text: &str) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let escaped = after
            .get(..2)
            .filter(|digits| byte == b'%' && digits.iter().all(u8::is_ascii_hexdigit))
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        decoded.push(escaped.unwrap_or(byte));
        rest = if escaped.is_some() {
            &after[2..]
        } else {
            after
        };
    }
    decoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn userinfo_becomes_basic_credentials() {
        let url = "http://us%65r:p%40s%zz@[::1]:81/x?q=1".parse().unwrap();
        let (uri, userinfo) = split_userinfo("app", &url).unwrap();
        assert_eq!(uri, "http://[::1]:81/x?q=1");
        assert_eq!(userinfo.unwrap(), b"user:p@s%zz");
    }
}
