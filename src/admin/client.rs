//! The other end of the two planes: short HTTP calls of the command line.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST};
use http::uri::Authority;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use super::access::Token;

/// The largest answer worth reading; a status with ten thousand listeners is smaller.
const MOST: usize = 16 * 1024 * 1024;

/// Where a plane listens, as written by the user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A name or IP address and a port; a name can stand for several processes.
    Host {
        /// Without brackets.
        host: String,
        /// TCP port.
        port: u16,
    },
    /// The path of a unix socket.
    Unix(PathBuf),
}

/// Where one process listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// TCP addresses of the same process, at least one, in the order in which to try them: `localhost` has two.
    Tcp(Vec<SocketAddr>),
    /// The path of a unix socket.
    Unix(PathBuf),
}

/// An answer, whatever its status.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The HTTP status.
    pub status: StatusCode,
    /// The body, at most 16 MiB.
    pub body: Bytes,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The address cannot be read.
    #[error("`{0}` is no address: write http://HOST:PORT, HOST:PORT or unix:/PATH")]
    Address(String),
    /// The name cannot be resolved.
    #[error("cannot resolve {host}: {source}")]
    Resolve {
        /// As written.
        host: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// Nobody listens there, or not for us.
    #[error("cannot connect to {endpoint}: {source}")]
    Connect {
        /// What was tried.
        endpoint: Endpoint,
        /// What the system said.
        source: std::io::Error,
    },
    /// The connection broke or its other end does not speak HTTP.
    #[error("{endpoint} gave no answer: {reason}")]
    Broken {
        /// Who was asked.
        endpoint: Endpoint,
        /// What went wrong.
        reason: String,
    },
    /// No answer in time.
    #[error("{endpoint} gave no answer within {} s", limit.as_secs())]
    Timeout {
        /// Who was asked.
        endpoint: Endpoint,
        /// How long.
        limit: Duration,
    },
}

impl FromStr for Address {
    type Err = ClientError;

    fn from_str(text: &str) -> Result<Self, ClientError> {
        let malformed = || ClientError::Address(text.to_owned());
        if let Some(path) = text.strip_prefix("unix:") {
            let path = path.strip_prefix("//").unwrap_or(path);
            return match path {
                "" => Err(malformed()),
                path => Ok(Self::Unix(path.into())),
            };
        }
        let rest = text.strip_prefix("http://").unwrap_or(text);
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let authority: Authority = rest.parse().map_err(|_| malformed())?;
        let port = authority.port_u16().ok_or_else(malformed)?;
        let host = authority.host();
        let host = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host);
        // Userinfo would be lost silently, and an empty host resolves to anything.
        if host.is_empty() || authority.as_str().contains('@') {
            return Err(malformed());
        }
        Ok(Self::Host {
            host: host.to_owned(),
            port,
        })
    }
}

impl<A: Into<SocketAddr>> From<A> for Address {
    fn from(address: A) -> Self {
        let address = address.into();
        Self::Host {
            host: address.ip().to_string(),
            port: address.port(),
        }
    }
}

impl Address {
    /// Everybody behind the address: a headless name has one endpoint for each replica.
    ///
    /// A wildcard, as a configuration has it, is this host.
    pub async fn resolve(&self) -> Result<Vec<Endpoint>, ClientError> {
        let (host, port) = match self {
            Self::Unix(path) => return Ok(vec![Endpoint::Unix(path.clone())]),
            Self::Host { host, port } => (host.as_str(), *port),
        };
        let failed = |source| ClientError::Resolve {
            host: host.to_owned(),
            source,
        };
        let found = tokio::net::lookup_host((host, port))
            .await
            .map_err(failed)?;
        let (loopback, others): (Vec<_>, Vec<_>) = found
            .map(|address| match address.ip() {
                ip if ip.is_unspecified() => SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port),
                ip => SocketAddr::new(ip, port),
            })
            .partition(|address| address.ip().is_loopback());
        let mut endpoints: Vec<_> = others
            .into_iter()
            .map(|address| Endpoint::Tcp(vec![address]))
            .collect();
        if !loopback.is_empty() {
            endpoints.push(Endpoint::Tcp(loopback));
        }
        endpoints.dedup();
        Ok(endpoints)
    }
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(addresses) => match addresses.first() {
                Some(address) => write!(f, "{address}"),
                None => f.write_str("no address"),
            },
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Endpoint {
    /// Makes one call on a connection of its own; `limit` is for all of it.
    pub async fn call(&self, call: Call<'_>, limit: Duration) -> Result<Answer, ClientError> {
        let connected = |source| ClientError::Connect {
            endpoint: self.clone(),
            source,
        };
        let exchange = async {
            match self {
                Self::Tcp(addresses) => {
                    let io = TcpStream::connect(&addresses[..])
                        .await
                        .map_err(connected)?;
                    self.exchange(io, call).await
                }
                Self::Unix(path) => {
                    let io = UnixStream::connect(path).await.map_err(connected)?;
                    self.exchange(io, call).await
                }
            }
        };
        tokio::time::timeout(limit, exchange)
            .await
            .map_err(|_| ClientError::Timeout {
                endpoint: self.clone(),
                limit,
            })?
    }

    async fn exchange<I>(&self, io: I, call: Call<'_>) -> Result<Answer, ClientError>
    where
        I: AsyncRead + AsyncWrite + Unpin + Send,
    {
        let broken = |reason: &dyn std::fmt::Display| ClientError::Broken {
            endpoint: self.clone(),
            reason: reason.to_string(),
        };
        let request = self.request(call).map_err(|error| broken(&error))?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(io))
            .await
            .map_err(|error| broken(&error))?;
        let answer = async {
            let response = sender.send_request(request).await;
            let (head, body) = response.map_err(|error| broken(&error))?.into_parts();
            let body = Limited::new(body, MOST).collect().await;
            Ok(Answer {
                status: head.status,
                body: body.map_err(|error| broken(&error))?.to_bytes(),
            })
        };
        let mut answer = std::pin::pin!(answer);
        tokio::select! {
            biased;
            answer = &mut answer => answer,
            // What ended the connection is told to the waiting request.
            _ = connection => answer.await,
        }
    }

    fn request(&self, call: Call<'_>) -> Result<Request<Full<Bytes>>, http::Error> {
        // The address and not the name: the API knows addresses without being told (`admin.hosts`).
        let host = match self {
            Self::Tcp(_) => self.to_string(),
            Self::Unix(_) => "localhost".to_owned(),
        };
        let mut request = Request::builder()
            .method(call.method)
            .uri(call.path)
            .header(HOST, host)
            .header(ACCEPT, "application/json, text/plain;q=0.9, */*;q=0.1");
        if let Some(token) = call.token {
            request = request.header(AUTHORIZATION, token.bearer());
        }
        let (kind, body) = match call.content {
            Content::Nothing => (None, Bytes::new()),
            Content::Json(value) => (Some("application/json"), value.to_string().into()),
            Content::Text(text) => (Some("text/plain; charset=utf-8"), text.into()),
            Content::Binary(bytes) => (Some("application/octet-stream"), bytes),
        };
        if let Some(kind) = kind {
            request = request.header(CONTENT_TYPE, kind);
        }
        request.body(Full::new(body))
    }
}

/// What to ask.
#[derive(Debug, Clone)]
pub struct Call<'a> {
    /// GET, POST, …
    pub method: Method,
    /// Path and query.
    pub path: &'a str,
    /// What to show for it.
    pub token: Option<&'a Token>,
    /// The body.
    pub content: Content,
}

/// What a call carries.
#[derive(Debug, Clone)]
pub enum Content {
    /// No body.
    Nothing,
    /// JSON.
    Json(serde_json::Value),
    /// Text in UTF-8.
    Text(String),
    /// Bytes of any kind.
    Binary(Bytes),
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    fn address(text: &str) -> Address {
        text.parse().unwrap()
    }

    async fn ask(endpoint: &Endpoint, limit: Duration) -> Result<Answer, ClientError> {
        let call = Call {
            method: Method::GET,
            path: "/readyz",
            token: None,
            content: Content::Nothing,
        };
        endpoint.call(call, limit).await
    }

    #[test]
    fn addresses_are_read_with_and_without_scheme() {
        let host = |host: &str, port| Address::Host {
            host: host.to_owned(),
            port,
        };
        for text in [
            "127.0.0.1:9600",
            "http://127.0.0.1:9600",
            "http://127.0.0.1:9600/",
        ] {
            assert_eq!(address(text), host("127.0.0.1", 9600), "{text}");
        }
        assert_eq!(address("[::1]:1"), host("::1", 1));
        assert_eq!(address("pods.ns.svc:9600"), host("pods.ns.svc", 9600));
        for text in ["unix:/run/a.sock", "unix:///run/a.sock"] {
            assert_eq!(address(text), Address::Unix("/run/a.sock".into()), "{text}");
        }
        for bad in [
            "",
            "127.0.0.1",
            "http://",
            "https://127.0.0.1:9600",
            "http://u:p@127.0.0.1:9600",
            "http://127.0.0.1:9600/v1",
            ":9600",
            "a:99999",
            "unix:",
        ] {
            assert!(bad.parse::<Address>().is_err(), "{bad}");
        }
    }

    #[tokio::test]
    async fn wildcards_and_localhost_are_one_process_on_this_host() {
        let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 9601));
        for text in ["0.0.0.0:9601", "[::]:9601", "127.0.0.1:9601"] {
            let found = address(text).resolve().await.unwrap();
            assert_eq!(found, [Endpoint::Tcp(vec![loopback])], "{text}");
        }
        let found = address("localhost:9601").resolve().await.unwrap();
        assert_eq!(found.len(), 1, "{found:?}");
        let other = SocketAddr::from(([192, 0, 2, 1], 9601));
        let found = address("192.0.2.1:9601").resolve().await.unwrap();
        assert_eq!(found, [Endpoint::Tcp(vec![other])]);
    }

    #[tokio::test]
    async fn every_way_to_get_no_answer_is_told_apart() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let endpoint = Endpoint::Tcp(vec![listener.local_addr().unwrap()]);
        let long = Duration::from_secs(60);

        let limit = Duration::from_millis(50);
        let error = ask(&endpoint, limit).await.unwrap_err();
        assert!(matches!(error, ClientError::Timeout { .. }), "{error}");
        drop(listener.accept().await.unwrap());

        let speak = async |answer: &str| {
            let (mut io, _) = listener.accept().await.unwrap();
            assert!(io.read(&mut [0; 1024]).await.unwrap() > 0);
            io.write_all(answer.as_bytes()).await.unwrap();
        };
        for answer in [
            "SSH-2.0-OpenSSH\r\n",
            "",
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok",
        ] {
            let (result, ()) = tokio::join!(ask(&endpoint, long), speak(answer));
            let error = result.unwrap_err();
            assert!(matches!(error, ClientError::Broken { .. }), "{error}");
        }
        let whole = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\n\r\nno";
        let (result, ()) = tokio::join!(ask(&endpoint, long), speak(whole));
        let answer = result.unwrap();
        assert_eq!(
            (answer.status.as_u16(), &answer.body[..]),
            (503, &b"no"[..])
        );

        drop(listener);
        let error = ask(&endpoint, long).await.unwrap_err();
        assert!(matches!(error, ClientError::Connect { .. }), "{error}");
    }

    #[tokio::test]
    async fn another_address_of_the_same_process_is_tried() {
        let closed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let dead = closed.local_addr().unwrap();
        drop(closed);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let endpoint = Endpoint::Tcp(vec![dead, listener.local_addr().unwrap()]);
        let serve = async {
            let (mut io, _) = listener.accept().await.unwrap();
            assert!(io.read(&mut [0; 1024]).await.unwrap() > 0);
            let answer = "HTTP/1.1 204 No Content\r\n\r\n";
            io.write_all(answer.as_bytes()).await.unwrap();
        };
        let (answer, ()) = tokio::join!(ask(&endpoint, Duration::from_secs(60)), serve);
        assert_eq!(answer.unwrap().status, StatusCode::NO_CONTENT);
    }
}
