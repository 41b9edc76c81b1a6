//! The two HTTP planes: telemetry, which anybody may read, and the admin API, which changes things and asks who calls.

mod access;
pub mod client;
mod connections;
pub mod control;
mod fields;
mod listener;
mod problem;
mod routes;
pub mod telemetry;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, LengthLimitError, Limited};

use access::Rules;
pub use access::{Peer, Token, TokenError};
use connections::{Connections, WhenFull};
use control::Control;
pub use listener::{AdminListener, SocketFile};
pub use problem::Problem;

/// The body of every answer of the API.
pub type Body = UnsyncBoxBody<Bytes, Infallible>;

/// For the head of a request, and again for its body; also how long a connection may idle.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// The admin API of this process.
pub struct Api {
    control: Control,
    guards: ArcSwap<Guards>,
}

/// What a reload can change about who may call.
#[derive(Debug, Clone, Default)]
pub struct Guards {
    /// The content of `admin.token_file`.
    pub token: Option<Token>,
    /// `admin.hosts`.
    pub hosts: Vec<String>,
}

impl Api {
    /// An API that passes commands on to `control`.
    pub fn new(control: Control, guards: Guards) -> Self {
        Self {
            control,
            guards: ArcSwap::from_pointee(guards),
        }
    }

    /// Replaces token and hosts; requests that come after it are judged by the new ones.
    pub fn set_guards(&self, guards: Guards) {
        self.guards.store(Arc::new(guards));
    }

    /// Answers one request of `peer`. Every request that could change something leaves a log line, refused or not.
    pub async fn answer<B>(&self, peer: Peer, request: Request<B>) -> Response<Body>
    where
        B: hyper::body::Body<Data = Bytes>,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let mut audit = Audit::begin(peer, &request);
        let mut response = match self.call(peer, request).await {
            Ok(response) => response,
            Err(problem) => problem.into_response(),
        };
        audit.status = Some(response.status());
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        response
    }

    async fn call<B>(&self, peer: Peer, request: Request<B>) -> Result<Response<Body>, Problem>
    where
        B: hyper::body::Body<Data = Bytes>,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (head, body) = request.into_parts();
        let guards = self.guards.load_full();
        Rules {
            token: guards.token.as_ref(),
            hosts: &guards.hosts,
        }
        .admit(peer, &head)?;
        let route = routes::find(&head.method, head.uri.path())?;
        fields::parameters(head.uri.query(), route.parameters)?;
        let body = read(body, route.body).await?;
        route.call.answer(&self.control, &body).await
    }
}

/// Serves the API until it is dropped, which closes its connections.
pub async fn serve(listener: AdminListener, api: Arc<Api>) {
    let mut connections = Connections::new(connections::MOST, WhenFull::Wait);
    loop {
        let (io, peer) = listener.accept().await;
        let api = Arc::clone(&api);
        connections
            .admit(async move {
                let answer = |request| api.answer(peer, request);
                connections::speak(io, REQUEST_TIMEOUT, answer).await;
            })
            .await;
    }
}

/// Reads a body of at most `most` bytes; a declared length beyond it is refused before a byte is read.
async fn read<B>(body: B, most: usize) -> Result<Bytes, Problem>
where
    B: hyper::body::Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let too_large = || {
        Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("the body may have at most {most} bytes"),
        )
    };
    if body.size_hint().lower() > most as u64 {
        return Err(too_large());
    }
    match tokio::time::timeout(REQUEST_TIMEOUT, Limited::new(body, most).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(error)) => Err(Problem::new(
            StatusCode::BAD_REQUEST,
            format!("the body cannot be read: {error}"),
        )),
        Err(_) => Err(Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            format!(
                "the body did not come within {} s",
                REQUEST_TIMEOUT.as_secs()
            ),
        )),
    }
}

/// Writes its line when it is dropped, so that a caller who hangs up during a call does not escape it.
struct Audit {
    peer: Peer,
    /// Method and target; `None` for a request that only reads.
    call: Option<String>,
    status: Option<StatusCode>,
}

impl Audit {
    fn begin<B>(peer: Peer, request: &Request<B>) -> Self {
        let target = request.uri().path_and_query().map_or("", |t| t.as_str());
        Self {
            peer,
            call: (!request.method().is_safe()).then(|| format!("{} {target}", request.method())),
            status: None,
        }
    }
}

impl Drop for Audit {
    fn drop(&mut self) {
        if let Some(call) = &self.call {
            // 499 as in other proxies' logs: the caller left before there was an answer.
            let status = self.status.map_or(499, |status| status.as_u16());
            tracing::info!(peer = %self.peer, call, status, "admin call");
        }
    }
}
