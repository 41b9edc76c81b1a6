//! One hook, from as written to ready.

use http::Uri;
use indexmap::IndexMap;

use super::address::is_loopback;
use super::error::ConfigError;
use super::listener::seconds;
use super::raw::RawHook;
use super::reader::Reader;
use super::ready::{EventKind, Hook, Upstream, UpstreamAddress};

/// Reads a hook; `listeners` are the names that exist.
pub(super) fn hook<V>(
    reader: &Reader<'_>,
    raw: &RawHook,
    listeners: &IndexMap<String, V>,
) -> Result<Hook, ConfigError> {
    let url = reader.parse(&raw.url, "url", parse_url)?;
    if let Some(leaf) = raw.ca.get().filter(|_| url.scheme_str() != Some("https")) {
        return Err(reader.misplaced(
            leaf.place,
            "ca",
            "this url has no TLS: remove it, or write `url` with https://",
        ));
    }
    Ok(Hook {
        url,
        events: events(reader, raw)?,
        listeners: names(reader, raw, listeners)?,
        secret_file: reader.file_option(&raw.secret_file, "secret_file")?,
        ca: reader.file_option(&raw.ca, "ca")?,
        bearer_token_file: reader.file_option(&raw.bearer_token_file, "bearer_token_file")?,
        timeout: reader.or(&raw.timeout, "timeout", seconds(10))?,
        rate: reader.or(&raw.rate, "rate", 500)?,
        give_up_after: reader.or(&raw.give_up_after, "give_up_after", seconds(15 * 60))?,
    })
}

/// The path of `url` if it leads to `upstream` itself: clients must not reach it.
pub(super) fn hidden_path(url: &Uri, upstream: &Upstream) -> Option<String> {
    let UpstreamAddress::Host { host, port } = &upstream.address else {
        return None;
    };
    let hook_port = url.port_u16().unwrap_or(match url.scheme_str() {
        Some("https") => 443,
        _ => 80,
    });
    let same = hook_port == *port && canonical(url.host()?) == canonical(host);
    same.then(|| url.path().to_owned())
}

/// Names of one host that differ in writing: case, brackets, a final dot, and all of loopback.
fn canonical(host: &str) -> String {
    let host = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .trim_end_matches('.')
        .to_ascii_lowercase();
    match host.parse::<std::net::IpAddr>() {
        Ok(ip) if is_loopback(ip) => "localhost".to_owned(),
        Ok(ip) => ip.to_canonical().to_string(),
        Err(_) => host,
    }
}

fn parse_url(text: &str) -> Result<Uri, String> {
    if text.contains('#') {
        return Err("a fragment is never sent: remove it from the `#` on".to_owned());
    }
    // The text is not repeated: it may hold a password.
    let url: Uri = text
        .parse()
        .map_err(|error| format!("this is no URL ({error}): write http://host:port/path"))?;
    match url.scheme_str() {
        Some("http" | "https") if url.host().is_some_and(|host| !host.is_empty()) => Ok(url),
        _ => Err("this is no http:// or https:// URL: write http://host:port/path".to_owned()),
    }
}

fn events(reader: &Reader<'_>, raw: &RawHook) -> Result<Vec<EventKind>, ConfigError> {
    let Some(block) = raw.events.get() else {
        return Ok(vec![EventKind::Closed]);
    };
    let mut events = Vec::new();
    for leaf in &block.value {
        let event = reader.get(leaf, "events")?;
        if events.contains(&event) {
            let message = format!("`{}` is named twice: remove one of the two", leaf.text);
            return Err(reader.wrong(leaf, "events", &message));
        }
        events.push(event);
    }
    if events.is_empty() {
        return Err(reader.misplaced(
            block.place,
            "events",
            "a hook without events is never called: name one, or remove the key for `[closed]`",
        ));
    }
    Ok(events)
}

fn names<V>(
    reader: &Reader<'_>,
    raw: &RawHook,
    listeners: &IndexMap<String, V>,
) -> Result<Option<Vec<String>>, ConfigError> {
    let Some(block) = raw.listeners.get() else {
        return Ok(None);
    };
    let mut names = Vec::new();
    for leaf in &block.value {
        let name = reader.get(leaf, "listeners")?;
        if !listeners.contains_key(&name) {
            let known: Vec<&str> = listeners.keys().map(String::as_str).collect();
            let message = format!(
                "there is no listener `{name}`: write one of {}",
                known.join(", ")
            );
            return Err(reader.wrong(leaf, "listeners", &message));
        }
        if names.contains(&name) {
            let message = format!("`{name}` is named twice: remove one of the two");
            return Err(reader.wrong(leaf, "listeners", &message));
        }
        names.push(name);
    }
    if names.is_empty() {
        return Err(reader.misplaced(
            block.place,
            "listeners",
            "a hook without listeners is never called: name one, or remove the key for all",
        ));
    }
    Ok(Some(names))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hook_at_the_upstream_itself_hides_its_path() {
        let upstream = |host: &str, port| Upstream {
            url: String::new(),
            address: UpstreamAddress::Host {
                host: host.to_owned(),
                port,
            },
            tls: None,
        };
        for (url, host, port, expected) in [
            (
                "http://127.0.0.1:8080/_s?x=1",
                "127.0.0.1",
                8080,
                Some("/_s"),
            ),
            ("http://localhost:8080/_s", "127.0.0.1", 8080, Some("/_s")),
            ("http://[::1]:8080/_s", "localhost", 8080, Some("/_s")),
            (
                "http://127.0.0.1:8080/_s",
                "::ffff:127.0.0.1",
                8080,
                Some("/_s"),
            ),
            ("http://App.:80", "app", 80, Some("/")),
            ("http://app/h", "app", 80, Some("/h")),
            ("https://app/h", "app", 443, Some("/h")),
            ("http://u:p@app:1/h", "app", 1, Some("/h")),
            ("http://app:1/h", "app", 2, None),
            ("http://other:1/h", "app", 1, None),
        ] {
            let url: Uri = url.parse().unwrap();
            assert_eq!(
                hidden_path(&url, &upstream(host, port)).as_deref(),
                expected,
                "{url} {host}"
            );
        }
        let unix = Upstream {
            url: String::new(),
            address: UpstreamAddress::Unix("/app".into()),
            tls: None,
        };
        assert_eq!(hidden_path(&Uri::from_static("http://app/"), &unix), None);
    }
}
