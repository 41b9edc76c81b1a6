//! Standard Webhooks 1.0: the signature over `id.timestamp.body`, made and checked.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::alphabet::STANDARD as ALPHABET;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// How far the time of a request may be from the receiver's clock, as the reference libraries have it.
pub const TOLERANCE: Duration = Duration::from_secs(5 * 60);

/// Keys are copied by hand: padding may be missing.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &ALPHABET,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The keys of a secret file; every one signs, any one verifies.
#[derive(Clone)]
pub struct Secret(Vec<Hmac<Sha256>>);

/// Why the text of a secret file cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// No line holds a key.
    #[error("it holds no key: write one a line, `whsec_` and base64 or the raw text")]
    Empty,
    /// A line starts with `whsec_` but is no key.
    #[error("line {line}: what follows `whsec_` must be base64 of at least one byte")]
    NotBase64 {
        /// Counted from 1.
        line: usize,
    },
}

/// Why a request is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unverified {
    /// The timestamp is no count of seconds.
    #[error("webhook-timestamp is not a number of seconds since 1970")]
    Timestamp,
    /// The timestamp is further than [`TOLERANCE`] from now.
    #[error("webhook-timestamp is more than 5 minutes from this clock")]
    Stale,
    /// No signature fits any key.
    #[error("no signature in webhook-signature fits a key")]
    Signature,
}

impl Secret {
    /// Reads the text of a secret file: one key a line, `whsec_` + base64 or else the line as it is; empty lines are
    /// skipped.
    pub fn parse(text: &[u8]) -> Result<Self, SecretError> {
        let lines = text.split(|&byte| byte == b'\n').enumerate();
        let keys = lines
            .map(|(index, line)| (index, line.strip_suffix(b"\r").unwrap_or(line)))
            .filter(|(_, line)| !line.trim_ascii().is_empty())
            .map(|(index, line)| key(line).ok_or(SecretError::NotBase64 { line: index + 1 }))
            .collect::<Result<Vec<_>, _>>()?;
        if keys.is_empty() {
            return Err(SecretError::Empty);
        }
        Ok(Self(keys))
    }

    /// The value of `webhook-signature`: one `v1,<base64>` per key, separated by blanks. `timestamp` is in seconds
    /// since 1970.
    pub fn sign(&self, id: &str, timestamp: u64, body: &[u8]) -> String {
        let timestamp = timestamp.to_string();
        let sign = |key: &Hmac<Sha256>| {
            let tag = over(key, id, &timestamp, body).finalize().into_bytes();
            format!("v1,{}", STANDARD.encode(tag))
        };
        self.0.iter().map(sign).collect::<Vec<_>>().join(" ")
    }

    /// Whether one of the signatures of a received request fits one of the keys, in constant time per comparison, and
    /// its timestamp is near `now`.
    pub fn verify(
        &self,
        id: &str,
        timestamp: &str,
        signatures: &str,
        body: &[u8],
        now: SystemTime,
    ) -> Result<(), Unverified> {
        let seconds: u64 = timestamp.parse().map_err(|_| Unverified::Timestamp)?;
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        if now.abs_diff(Duration::from_secs(seconds)) > TOLERANCE {
            return Err(Unverified::Stale);
        }
        let fits = |tag: &[u8]| {
            self.0.iter().any(|key| {
                let expected = over(key, id, timestamp, body);
                expected.verify_slice(tag).is_ok()
            })
        };
        // A receiver skips the versions it does not know (`v1a` is ed25519).
        signatures
            .split(' ')
            .filter_map(|signature| signature.strip_prefix("v1,"))
            .filter_map(|tag| STANDARD.decode(tag).ok())
            .any(|tag| fits(&tag))
            .then_some(())
            .ok_or(Unverified::Signature)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "Secret({} keys)", self.0.len())
    }
}

fn key(line: &[u8]) -> Option<Hmac<Sha256>> {
    let bytes = match line.strip_prefix(b"whsec_") {
        Some(encoded) => LENIENT.decode(encoded.trim_ascii_end()).ok()?,
        None => line.to_vec(),
    };
    if bytes.is_empty() {
        return None;
    }
    Hmac::new_from_slice(&bytes).ok()
}

fn over(key: &Hmac<Sha256>, id: &str, timestamp: &str, body: &[u8]) -> Hmac<Sha256> {
    let mut mac = key.clone();
    for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
        mac.update(part);
    }
    mac
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    /// Computed with another implementation of HMAC (Python's `hmac`).
    const VECTORS: &str = include_str!("../../tests/cases/webhook-vectors.json");

    #[derive(Deserialize)]
    struct Vector {
        name: String,
        secret_file: String,
        id: String,
        timestamp: u64,
        body: String,
        signature: String,
    }

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn signatures_are_those_of_another_implementation() {
        let vectors: Vec<Vector> = serde_json::from_str(VECTORS).unwrap();
        assert_eq!(vectors.len(), 7);
        for vector in vectors {
            let Vector { id, timestamp, .. } = &vector;
            let body = vector.body.as_bytes();
            let secret = Secret::parse(vector.secret_file.as_bytes()).unwrap();
            let signature = secret.sign(id, *timestamp, body);
            assert_eq!(signature, vector.signature, "{}", vector.name);
            let verified =
                |body| secret.verify(id, &timestamp.to_string(), &signature, body, at(*timestamp));
            assert_eq!(verified(body), Ok(()), "{}", vector.name);
            let other = [body, b" "].concat();
            assert_eq!(verified(&other), Err(Unverified::Signature));
        }
    }

    #[test]
    fn one_good_signature_among_unknown_ones_is_enough() {
        let old = Secret::parse(b"old").unwrap();
        let new = Secret::parse(b"new\nold").unwrap();
        let signature = format!("v1a,AAAA v1,? v2,x {}", old.sign("evt_1", 1000, b"{}"));
        let check = |secret: &Secret, now| secret.verify("evt_1", "1000", &signature, b"{}", now);
        assert_eq!(check(&new, at(1000)), Ok(()));
        let stranger = Secret::parse(b"stranger").unwrap();
        assert_eq!(check(&stranger, at(1000)), Err(Unverified::Signature));
        let moved = old.verify("evt_2", "1000", &signature, b"{}", at(1000));
        assert_eq!(moved, Err(Unverified::Signature));
    }

    #[test]
    fn a_request_is_believed_for_five_minutes() {
        let secret = Secret::parse(b"k").unwrap();
        let signature = secret.sign("evt_1", 10_000, b"");
        let check = |now| secret.verify("evt_1", "10000", &signature, b"", at(now));
        assert_eq!(check(10_300), Ok(()));
        assert_eq!(check(9_700), Ok(()));
        assert_eq!(check(10_301), Err(Unverified::Stale));
        assert_eq!(check(9_699), Err(Unverified::Stale));
        let soon = secret.verify("evt_1", "soon", &signature, b"", at(10_000));
        assert_eq!(soon, Err(Unverified::Timestamp));
    }

    #[test]
    fn a_secret_file_without_a_key_is_an_error() {
        let error = |text: &[u8]| Secret::parse(text).unwrap_err();
        assert_eq!(error(b""), SecretError::Empty);
        assert_eq!(error(b"\n \r\n"), SecretError::Empty);
        assert_eq!(error(b"a\nwhsec_!"), SecretError::NotBase64 { line: 2 });
        assert_eq!(error(b"whsec_"), SecretError::NotBase64 { line: 1 });
    }

    #[test]
    fn padding_may_be_missing_and_a_secret_is_never_shown() {
        let padded = Secret::parse(b"whsec_a2V5cw==").unwrap();
        let bare = Secret::parse(b"whsec_a2V5cw").unwrap();
        let raw = Secret::parse(b"keys").unwrap();
        let sign = |secret: &Secret| secret.sign("evt_1", 1, b"{}");
        assert_eq!(sign(&padded), sign(&raw));
        assert_eq!(sign(&bare), sign(&raw));
        assert_eq!(format!("{raw:?}"), "Secret(1 keys)");
    }
}
