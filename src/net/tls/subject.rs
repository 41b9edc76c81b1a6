//! The subject of a client's certificate as a header value.

use std::fmt::Write;

use x509_parser::asn1_rs::{Tag, ToDer};
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

use crate::net::leg::Leg;

/// Short names of attributes: RFC 4514 3, then those of RFC 4519 and RFC 2985 that certificates are made with.
const SHORT_NAMES: [(&str, &str); 14] = [
    ("2.5.4.3", "CN"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.6", "C"),
    ("2.5.4.9", "STREET"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("0.9.2342.19200300.100.1.1", "UID"),
    ("2.5.4.4", "SN"),
    ("2.5.4.5", "serialNumber"),
    ("2.5.4.12", "title"),
    ("2.5.4.42", "givenName"),
    ("1.2.840.113549.1.9.1", "emailAddress"),
];

impl Leg {
    /// The subject of the certificate that the client showed and we verified, as an RFC 4514 string in which bytes
    /// that are not printable ASCII, and `%` itself, are percent-encoded; `None` without a certificate.
    pub fn client_subject(&self) -> Option<String> {
        let Self::Accepted(tls) = self else {
            return None;
        };
        let certificate = tls.peer_certificates()?.first()?;
        let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
        Some(percent_encode(&distinguished_name(parsed.subject())))
    }
}

/// RFC 4514 2: the last relative name first, `,` between them, `+` within one of several parts.
fn distinguished_name(name: &X509Name<'_>) -> String {
    let relative: Vec<_> = name.iter_rdn().collect();
    let parts = relative.iter().rev().map(|relative| {
        let attributes: Vec<_> = relative.iter().map(attribute).collect();
        attributes.join("+")
    });
    parts.collect::<Vec<_>>().join(",")
}

/// RFC 4514 2.3 and 2.4: a type without a short name, and a value that is no text, are shown as `#` and their DER.
fn attribute(attribute: &AttributeTypeAndValue<'_>) -> String {
    let oid = attribute.attr_type().to_id_string();
    let short = SHORT_NAMES.iter().find(|(known, _)| *known == oid);
    match (short, text(attribute)) {
        (Some((_, short)), Some(text)) => format!("{short}={}", escape(&text)),
        (Some((_, short)), None) => format!("{short}={}", hex(attribute)),
        (None, _) => format!("{oid}={}", hex(attribute)),
    }
}

/// The library's own conversion panics on BMPString and on odd lengths.
fn text(attribute: &AttributeTypeAndValue<'_>) -> Option<String> {
    let value = attribute.attr_value();
    match value.tag() {
        Tag::BmpString => {
            let (units, rest) = value.data.as_chunks::<2>();
            let units = units.iter().map(|unit| u16::from_be_bytes(*unit));
            let text = char::decode_utf16(units).collect::<Result<_, _>>().ok();
            text.filter(|_| rest.is_empty())
        }
        _ => attribute.as_str().ok().map(str::to_owned),
    }
}

fn hex(attribute: &AttributeTypeAndValue<'_>) -> String {
    let der = attribute.attr_value().to_der_vec().unwrap_or_default();
    der.iter().fold("#".to_owned(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// RFC 4514 2.4.
fn escape(text: &str) -> String {
    let last = text.chars().count().saturating_sub(1);
    let mut escaped = String::with_capacity(text.len());
    for (place, character) in text.chars().enumerate() {
        match character {
            '\0' => escaped.push_str("\\00"),
            '"' | '+' | ',' | ';' | '<' | '>' | '\\' => escaped.extend(['\\', character]),
            '#' if place == 0 => escaped.push_str("\\#"),
            ' ' if place == 0 || place == last => escaped.push_str("\\ "),
            _ => escaped.push(character),
        }
    }
    escaped
}

fn percent_encode(text: &str) -> String {
    text.bytes()
        .fold(String::with_capacity(text.len()), |mut encoded, byte| {
            match byte {
                b'%' | 0..0x20 | 0x7f.. => {
                    let _ = write!(encoded, "%{byte:02X}");
                }
                _ => encoded.push(char::from(byte)),
            }
            encoded
        })
}
