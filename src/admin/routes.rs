//! The table of calls and what each does.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use serde::Serialize;
use tokio::sync::oneshot;
use tokio::time::{Duration, timeout};

use super::Body;
use super::control::{Command, Control};
use super::fields::Fields;
use super::problem::Problem;

/// A reload reads every file of the configuration, on a slow disk too; nothing else comes near.
const PATIENCE: Duration = Duration::from_secs(30);

/// One line of the table.
pub(super) struct Route {
    method: Method,
    path: &'static str,
    /// Names that its query may have.
    pub(super) parameters: &'static [&'static str],
    /// The most bytes that its body may have.
    pub(super) body: usize,
    pub(super) call: Call,
}

/// What a route does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Call {
    Reload,
    Drain,
    Status,
}

/// Options are short; messages to streams have a bound of their own.
const BODY: usize = 64 * 1024;

const ROUTES: &[Route] = &[
    Route {
        method: Method::GET,
        path: "/v1/status",
        parameters: &[],
        body: 0,
        call: Call::Status,
    },
    Route {
        method: Method::POST,
        path: "/v1/drain",
        parameters: &[],
        body: BODY,
        call: Call::Drain,
    },
    Route {
        method: Method::POST,
        path: "/v1/reload",
        parameters: &[],
        body: BODY,
        call: Call::Reload,
    },
];

/// The route of a request, or 404 or 405; HEAD is GET without the body (RFC 9110 section 9.3.2).
pub(super) fn find(method: &Method, path: &str) -> Result<&'static Route, Problem> {
    let wanted = match *method {
        Method::HEAD => &Method::GET,
        _ => method,
    };
    let mut allowed = Vec::new();
    for route in ROUTES.iter().filter(|route| route.path == path) {
        if route.method == *wanted {
            return Ok(route);
        }
        allowed.push(route.method.as_str());
        if route.method == Method::GET {
            allowed.push("HEAD");
        }
    }
    Err(if allowed.is_empty() {
        Problem::new(StatusCode::NOT_FOUND, "there is no such path")
    } else {
        Problem::method_not_allowed(&allowed.join(", "))
    })
}

impl Call {
    /// Does it.
    pub(super) async fn answer(
        self,
        control: &Control,
        body: &[u8],
    ) -> Result<Response<Body>, Problem> {
        match self {
            Self::Reload => reload(control, body).await,
            Self::Drain => drain(control, body).await,
            Self::Status => {
                let status = ask(control, Command::Status).await?;
                json(StatusCode::OK, &status)
            }
        }
    }
}

async fn reload(control: &Control, body: &[u8]) -> Result<Response<Body>, Problem> {
    Fields::parse(body)?.finish()?;
    match ask(control, Command::Reload).await? {
        Ok(report) => json(StatusCode::OK, &report),
        Err(refusal) => Err(Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            format!("nothing has changed: {refusal}"),
        )),
    }
}

async fn drain(control: &Control, body: &[u8]) -> Result<Response<Body>, Problem> {
    let mut fields = Fields::parse(body)?;
    let spread = fields.duration_or_off("spread")?;
    let delay = fields.duration_or_off("delay")?;
    fields.finish()?;
    let report = ask(control, |reply| Command::Drain {
        spread,
        delay,
        reply,
    })
    .await?;
    json(StatusCode::ACCEPTED, &report)
}

/// Sends a command to the server and waits for its answer.
async fn ask<T>(
    control: &Control,
    command: impl FnOnce(oneshot::Sender<T>) -> Command,
) -> Result<T, Problem> {
    let gone = || Problem::new(StatusCode::SERVICE_UNAVAILABLE, "sidebeat is about to exit");
    let (reply, answer) = oneshot::channel();
    let asked = async {
        control.send(command(reply)).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())
    };
    timeout(PATIENCE, asked).await.map_err(|_| {
        Problem::new(
            StatusCode::GATEWAY_TIMEOUT,
            format!("no answer from the server within {} s", PATIENCE.as_secs()),
        )
    })?
}

fn json(status: StatusCode, value: &impl Serialize) -> Result<Response<Body>, Problem> {
    let text = serde_json::to_vec(value).map_err(|error| {
        Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("cannot write the answer as JSON: {error}"),
        )
    })?;
    let mut response = Response::new(Full::new(Bytes::from(text)).boxed_unsync());
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_is_found_by_method_and_path() {
        for (method, path, call) in [
            (Method::GET, "/v1/status", Call::Status),
            (Method::HEAD, "/v1/status", Call::Status),
            (Method::POST, "/v1/drain", Call::Drain),
            (Method::POST, "/v1/reload", Call::Reload),
        ] {
            assert_eq!(find(&method, path).ok().unwrap().call, call, "{path}");
        }
        for (method, path, status) in [
            (Method::GET, "/v1/reload", 405),
            (Method::HEAD, "/v1/drain", 405),
            (Method::POST, "/v1/status", 405),
            (Method::OPTIONS, "/v1/drain", 405),
            (Method::GET, "/v1/status/", 404),
            (Method::GET, "/v1", 404),
            (Method::POST, "/V1/DRAIN", 404),
        ] {
            let problem = find(&method, path).err().unwrap();
            assert_eq!(problem.status.as_u16(), status, "{method} {path}");
        }
    }

    #[test]
    fn nothing_is_changed_by_a_safe_method() {
        assert_eq!(ROUTES.len(), 3);
        for route in ROUTES {
            let changes = match route.call {
                Call::Reload | Call::Drain => true,
                Call::Status => false,
            };
            assert_eq!(changes, !route.method.is_safe(), "{}", route.path);
        }
    }
}
