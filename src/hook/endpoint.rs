//! Where a hook's events go: one HTTP request per try, and what its answer means.

use std::error::Error;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, LOCATION, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::{ClientConfig, RootCertStore};
use tokio::time::{Instant, timeout_at};

use super::HookError;
use super::event::Message;
use super::queue::IN_FLIGHT;
use super::sign::Secret;
use crate::config;

/// What is read of an answer at most, in bytes; only its status counts.
const ANSWER_LIMIT: usize = 64 * 1024;
/// Idle connections are given up before common receivers do: Node closes after 5 s, and a request that meets that
/// close costs a retry.
const KEEP_IDLE: Duration = Duration::from_secs(4);

/// What became of one try.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// 2xx.
    Delivered,
    /// 413 or 415: this event will never be taken.
    Rejected(StatusCode),
    /// 410: the receiver wants no more events.
    Gone,
    /// Everything else: to be tried again.
    Failed {
        why: String,
        retry_after: Option<Duration>,
    },
}

/// A hook's receiver with everything read that a request needs.
pub(super) struct Endpoint {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    /// Without userinfo.
    uri: Uri,
    /// Sent with every request.
    headers: HeaderMap,
    secret: Option<Secret>,
    timeout: Duration,
}

impl Endpoint {
    /// Reads the files of the hook called `name`.
    pub(super) fn open(name: &str, hook: &config::Hook) -> Result<Self, HookError> {
        let mut headers = HeaderMap::new();
        let content = HeaderValue::from_static("application/cloudevents+json");
        let agent = HeaderValue::from_static(concat!("sidebeat/", env!("CARGO_PKG_VERSION")));
        headers.insert(CONTENT_TYPE, content);
        headers.insert(USER_AGENT, agent);
        let (uri, userinfo) = split_userinfo(name, &hook.url)?;
        let credentials = match &hook.bearer_token_file {
            Some(path) => Some(format!("Bearer {}", token(name, path)?)),
            None => userinfo.map(|userinfo| format!("Basic {}", STANDARD.encode(userinfo))),
        };
        if let Some(credentials) = credentials {
            headers.insert(AUTHORIZATION, sensitive(name, &credentials, hook)?);
        }
        let secret = hook
            .secret_file
            .as_deref()
            .map(|path| secret(name, path))
            .transpose()?;
        Ok(Self {
            client: client(tls(name, hook)?),
            uri,
            headers,
            secret,
            timeout: hook.timeout,
        })
    }

    /// The URL as it may be shown.
    pub(super) fn shown(&self) -> String {
        shown(&self.uri)
    }

    /// Sends the event once. Redirects are not followed and no proxy of the environment is used.
    pub(super) async fn post(&self, message: &Message) -> Outcome {
        let deadline = Instant::now() + self.timeout;
        let request = self.client.request(self.request(message));
        match timeout_at(deadline, request).await {
            Ok(Ok(answer)) => {
                let outcome = judge(&answer);
                // The status has decided; the rest is read so that the connection can be used again.
                let _ = timeout_at(deadline, discard(answer)).await;
                outcome
            }
            Ok(Err(error)) => failed(chain(&error)),
            Err(_) => failed(format!(
                "no answer within {}",
                humantime::format_duration(self.timeout)
            )),
        }
    }

    fn request(&self, message: &Message) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(message.body.clone()));
        *request.method_mut() = http::Method::POST;
        *request.uri_mut() = self.uri.clone();
        let headers = request.headers_mut();
        headers.clone_from(&self.headers);
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let timestamp = now.unwrap_or_default().as_secs();
        let mut insert = |name: &'static str, value: &str| {
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(name, value);
            }
        };
        insert("webhook-id", &message.id);
        insert("webhook-timestamp", &timestamp.to_string());
        if let Some(secret) = &self.secret {
            let signature = secret.sign(&message.id, timestamp, &message.body);
            insert("webhook-signature", &signature);
        }
        request
    }
}

/// A URL as it may be shown: without userinfo and query, which can hold secrets.
fn shown(url: &Uri) -> String {
    let authority = url.authority().map_or("", |authority| authority.as_str());
    let host = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    let scheme = url.scheme_str().unwrap_or("http");
    format!("{scheme}://{host}{}", url.path())
}

fn client(tls: ClientConfig) -> Client<HttpsConnector<HttpConnector>, Full<Bytes>> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    let connector = HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http()
        .enable_http1()
        .wrap_connector(tcp);
    Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(KEEP_IDLE)
        .pool_max_idle_per_host(IN_FLIGHT)
        .build(connector)
}

/// Trusts `ca`, else the roots of the system, which are only looked for when the URL needs them.
fn tls(name: &str, hook: &config::Hook) -> Result<ClientConfig, HookError> {
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

fn read(name: &str, path: &Path) -> Result<Vec<u8>, HookError> {
    std::fs::read(path).map_err(|source| HookError::Read {
        hook: name.to_owned(),
        path: path.to_owned(),
        source,
    })
}

fn secret(name: &str, path: &Path) -> Result<Secret, HookError> {
    let bytes = read(name, path)?;
    let unusable = |source| HookError::Secret {
        hook: name.to_owned(),
        path: path.to_owned(),
        source,
    };
    Secret::parse(&bytes).map_err(unusable)
}

fn token(name: &str, path: &Path) -> Result<String, HookError> {
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

fn sensitive(name: &str, value: &str, hook: &config::Hook) -> Result<HeaderValue, HookError> {
    let mut value = HeaderValue::from_str(value).map_err(|_| HookError::Url {
        hook: name.to_owned(),
        url: shown(&hook.url),
    })?;
    value.set_sensitive(true);
    Ok(value)
}

/// Takes the userinfo off a URL: hyper does not send it.
fn split_userinfo(name: &str, url: &Uri) -> Result<(Uri, Option<Vec<u8>>), HookError> {
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

fn judge(answer: &Response<Incoming>) -> Outcome {
    let status = answer.status();
    match status {
        status if status.is_success() => Outcome::Delivered,
        StatusCode::GONE => Outcome::Gone,
        StatusCode::PAYLOAD_TOO_LARGE | StatusCode::UNSUPPORTED_MEDIA_TYPE => {
            Outcome::Rejected(status)
        }
        status => Outcome::Failed {
            why: if status.is_redirection() && answer.headers().contains_key(LOCATION) {
                format!("answer {status}: redirects are not followed, write the final URL")
            } else {
                format!("answer {status}")
            },
            retry_after: retry_after(answer.headers(), SystemTime::now()),
        },
    }
}

/// `Retry-After` in seconds or as a date (RFC 9110 section 10.2.3).
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if value.bytes().all(|byte| byte.is_ascii_digit()) && !value.is_empty() {
        return Some(Duration::from_secs(value.parse().unwrap_or(u64::MAX)));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

async fn discard(answer: Response<Incoming>) {
    let mut body = answer.into_body();
    let mut seen = 0;
    while seen < ANSWER_LIMIT
        && let Some(Ok(frame)) = body.frame().await
    {
        seen += frame.data_ref().map_or(0, Bytes::len);
    }
}

fn failed(why: String) -> Outcome {
    Outcome::Failed {
        why,
        retry_after: None,
    }
}

/// An error with its sources: hyper's own text does not say what went wrong.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let part = error.to_string();
        // Wrappers repeat the text of what they wrap.
        if !text.ends_with(&part) {
            text.push_str(": ");
            text.push_str(&part);
        }
        source = error.source();
    }
    text
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "Endpoint({})", shown(&self.uri))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, value.parse().unwrap());
        headers
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = UNIX_EPOCH + Duration::from_secs(784_111_777);
        let seconds = |value| retry_after(&header(value), now).map(|wait| wait.as_secs());
        assert_eq!(seconds("7"), Some(7));
        assert_eq!(seconds("0"), Some(0));
        assert_eq!(seconds("99999999999999999999999"), Some(u64::MAX));
        assert_eq!(seconds("Sun, 06 Nov 1994 08:49:40 GMT"), Some(3));
        assert_eq!(seconds("Sun, 06 Nov 1994 08:49:30 GMT"), Some(0));
        assert_eq!(seconds("-1"), None);
        assert_eq!(seconds("soon"), None);
        assert_eq!(seconds(""), None);
    }

    #[test]
    fn a_url_is_shown_without_its_secrets() {
        let url = "https://u:p%40@example.com:8443/a?token=1".parse().unwrap();
        assert_eq!(shown(&url), "https://example.com:8443/a");
        assert_eq!(
            shown(&"http://[::1]:80".parse().unwrap()),
            "http://[::1]:80/"
        );
    }

    #[test]
    fn userinfo_becomes_basic_credentials() {
        let url = "http://us%65r:p%40s%zz@[::1]:81/x?q=1".parse().unwrap();
        let (uri, userinfo) = split_userinfo("app", &url).unwrap();
        assert_eq!(uri, "http://[::1]:81/x?q=1");
        assert_eq!(userinfo.unwrap(), b"user:p@s%zz");
    }
}
