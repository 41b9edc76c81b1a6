//! Where a hook's events go: one HTTP request per try, and what its answer means.

use std::error::Error;
use std::fmt;
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
use rustls::ClientConfig;
use tokio::time::{Instant, timeout_at};

use super::HookError;
use super::credentials::{secret, sensitive, split_userinfo, tls, token};
use super::message::Message;
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
pub(super) fn shown(url: &Uri) -> String {
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
}
