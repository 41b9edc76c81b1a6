//! The table of calls.

use http::{HeaderMap, Method, Response};
use uuid::Uuid;

use super::answer::{content, json};
use super::fields::Parameters;
use super::problem::Problem;
use super::{Api, Body, bulk, events, page, process, streams};
use crate::registry::PARAMETERS;

/// One line of the table.
pub(super) struct Route {
    method: Method,
    /// `{id}` stands for the id of a stream.
    path: &'static str,
    /// Names that its query may have, beside those of a selector.
    parameters: &'static [&'static str],
    /// Whether its query may have a selector.
    selects: bool,
    /// The most bytes that its body may have.
    pub(super) body: usize,
    pub(super) call: Call,
}

/// What a route does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Call {
    ListStreams,
    GetStream,
    ChangeStream,
    CloseStream,
    SendToStream,
    PingStream,
    CloseStreams,
    SendToStreams,
    ListClosed,
    WatchEvents,
    Status,
    Drain,
    Reload,
    Config,
    Page,
    OpenApi,
}

/// A request that has been admitted and read.
pub(super) struct Asked<'a> {
    /// Of the path, if it has one.
    pub(super) id: Uuid,
    pub(super) parameters: Parameters,
    pub(super) headers: &'a HeaderMap,
    pub(super) body: bytes::Bytes,
}

/// Options are short.
const OPTIONS: usize = 64 * 1024;

/// What a message to streams may have.
pub(super) const MESSAGE: usize = 1024 * 1024;

pub(super) const ROUTES: &[Route] = &[
    route(Method::GET, "/v1/streams", Call::ListStreams)
        .with(&["limit", "cursor"])
        .selecting(),
    route(Method::DELETE, "/v1/streams", Call::CloseStreams)
        .with(&["all", "code", "reason", "abort", "spread"])
        .selecting(),
    route(Method::GET, "/v1/streams/{id}", Call::GetStream),
    route(Method::PATCH, "/v1/streams/{id}", Call::ChangeStream).reading(OPTIONS),
    route(Method::DELETE, "/v1/streams/{id}", Call::CloseStream).with(&["code", "reason", "abort"]),
    route(
        Method::POST,
        "/v1/streams/{id}/messages",
        Call::SendToStream,
    )
    .reading(MESSAGE),
    route(Method::POST, "/v1/streams/{id}/ping", Call::PingStream).reading(OPTIONS),
    route(Method::POST, "/v1/messages", Call::SendToStreams)
        .with(&["all"])
        .selecting()
        .reading(MESSAGE),
    route(Method::GET, "/v1/closed", Call::ListClosed),
    route(Method::GET, "/v1/events", Call::WatchEvents).with(&["nearest"]),
    route(Method::GET, "/v1/status", Call::Status),
    route(Method::POST, "/v1/drain", Call::Drain).reading(OPTIONS),
    route(Method::POST, "/v1/reload", Call::Reload).reading(OPTIONS),
    route(Method::GET, "/v1/config", Call::Config),
    route(Method::GET, "/", Call::Page),
    route(Method::GET, "/openapi.json", Call::OpenApi),
];

/// The route of a request and the id in its path, or 404 or 405; HEAD is GET without the body (RFC 9110 section 9.3.2).
pub(super) fn find(method: &Method, path: &str) -> Result<(&'static Route, Uuid), Problem> {
    let wanted = match *method {
        Method::HEAD => &Method::GET,
        _ => method,
    };
    let mut allowed = Vec::new();
    for route in ROUTES {
        let Some(id) = route.matches(path) else {
            continue;
        };
        if route.method == *wanted {
            return Ok((route, parse_id(id)?));
        }
        allowed.push(route.method.as_str());
        if route.method == Method::GET {
            allowed.push("HEAD");
        }
    }
    Err(if allowed.is_empty() {
        Problem::not_found("there is no such path")
    } else {
        Problem::method_not_allowed(&allowed.join(", "))
    })
}

/// Whether anybody may read it: the page holds no secret, and asks for the token by itself.
pub(super) fn is_public(method: &Method, path: &str) -> bool {
    path == "/" && (method == Method::GET || method == Method::HEAD)
}

fn parse_id(id: Option<&str>) -> Result<Uuid, Problem> {
    match id {
        None => Ok(Uuid::nil()),
        // The other forms that the crate reads (braces, urn:) are not how an id is written anywhere here.
        Some(text) if text.len() == uuid::fmt::Hyphenated::LENGTH => {
            Uuid::try_parse(text).map_err(|_| bad_id())
        }
        Some(_) => Err(bad_id()),
    }
}

fn bad_id() -> Problem {
    Problem::parameter("id", "write the id of a stream, a UUID")
}

const fn route(method: Method, path: &'static str, call: Call) -> Route {
    Route {
        method,
        path,
        parameters: &[],
        selects: false,
        body: 0,
        call,
    }
}

impl Route {
    const fn with(mut self, parameters: &'static [&'static str]) -> Self {
        self.parameters = parameters;
        self
    }

    const fn selecting(mut self) -> Self {
        self.selects = true;
        self
    }

    const fn reading(mut self, body: usize) -> Self {
        self.body = body;
        self
    }

    /// `Some` with what stands for `{id}`, if this is its path.
    fn matches<'p>(&self, path: &'p str) -> Option<Option<&'p str>> {
        let Some((before, behind)) = self.path.split_once("{id}") else {
            return (self.path == path).then_some(None);
        };
        let id = path.strip_prefix(before)?.strip_suffix(behind)?;
        (!id.is_empty() && !id.contains('/')).then_some(Some(id))
    }

    /// `METHOD path parameters body`, to be compared with the description.
    #[cfg(test)]
    pub(super) fn describe(&self) -> String {
        let selector: &[&str] = if self.selects { &PARAMETERS } else { &[] };
        let query: std::collections::BTreeSet<_> = self.parameters.iter().chain(selector).collect();
        format!("{} {} {query:?} {}", self.method, self.path, self.body > 0)
    }

    /// Reads a query by what this call takes.
    pub(super) fn read_parameters(&self, query: Option<&str>) -> Result<Parameters, Problem> {
        let selector: &[&str] = if self.selects { &PARAMETERS } else { &[] };
        Parameters::parse(query, &[self.parameters, selector].concat())
    }
}

impl Call {
    /// Does it.
    pub(super) async fn answer(
        self,
        api: &Api,
        asked: Asked<'_>,
    ) -> Result<Response<Body>, Problem> {
        match self {
            Self::ListStreams => streams::list(api, asked),
            Self::GetStream => streams::get(api, &asked),
            Self::ChangeStream => streams::change(api, &asked),
            Self::CloseStream => streams::close(api, asked).await,
            Self::SendToStream => streams::send(api, &asked).await,
            Self::PingStream => streams::ping(api, &asked).await,
            Self::CloseStreams => bulk::close(api, asked).await,
            Self::SendToStreams => bulk::send(api, asked).await,
            Self::ListClosed => json(&streams::closed(api)),
            Self::WatchEvents => events::watch(api, asked),
            Self::Status => json(&process::status(api).await?),
            Self::Drain => process::drain(api, &asked.body).await,
            Self::Reload => process::reload(api, &asked.body).await,
            Self::Config => json(&process::config(api).await?),
            Self::Page => Ok(api.page.answer()),
            Self::OpenApi => Ok(content("application/json", page::OPENAPI)),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;

    const ID: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

    #[test]
    fn a_route_is_found_by_method_and_path() {
        let stream = format!("/v1/streams/{ID}");
        let messages = format!("/v1/streams/{ID}/messages");
        for (method, path, call) in [
            (Method::GET, "/v1/status", Call::Status),
            (Method::HEAD, "/v1/status", Call::Status),
            (Method::POST, "/v1/drain", Call::Drain),
            (Method::GET, "/", Call::Page),
            (Method::GET, "/v1/streams", Call::ListStreams),
            (Method::DELETE, "/v1/streams", Call::CloseStreams),
            (Method::PATCH, &stream, Call::ChangeStream),
            (Method::POST, &messages, Call::SendToStream),
        ] {
            let (route, id) = find(&method, path).ok().unwrap();
            assert_eq!(route.call, call, "{path}");
            assert_eq!(id.is_nil(), !path.contains(ID), "{path}");
        }
        for (method, path, status) in [
            (Method::GET, "/v1/reload", 405),
            (Method::HEAD, "/v1/drain", 405),
            (Method::POST, "/v1/status", 405),
            (Method::OPTIONS, "/v1/drain", 405),
            (Method::PUT, &stream, 405),
            (Method::GET, &messages, 405),
            (Method::GET, "/v1/status/", 404),
            (Method::GET, "/v1/streams/", 404),
            (Method::GET, "/v1", 404),
            (Method::POST, "/V1/DRAIN", 404),
            (Method::GET, "/v1/streams/1/2", 404),
            (Method::GET, "/v1/streams/42", 400),
            (Method::POST, "/v1/streams/42/ping", 400),
        ] {
            let problem = find(&method, path).err().unwrap();
            assert_eq!(problem.status.as_u16(), status, "{method} {path}");
            assert_eq!(
                problem.parameter.is_some(),
                problem.status == StatusCode::BAD_REQUEST
            );
        }
        for odd in [
            &ID.replace('-', ""),
            &format!("{{{ID}}}"),
            &format!("urn:uuid:{ID}"),
        ] {
            assert!(
                find(&Method::GET, &format!("/v1/streams/{odd}")).is_err(),
                "{odd}"
            );
        }
    }

    #[test]
    fn nothing_is_changed_by_a_safe_method() {
        assert_eq!(ROUTES.len(), 16);
        for route in ROUTES {
            let changes = match route.call {
                Call::ChangeStream
                | Call::CloseStream
                | Call::SendToStream
                | Call::PingStream
                | Call::CloseStreams
                | Call::SendToStreams
                | Call::Reload
                | Call::Drain => true,
                Call::ListStreams
                | Call::GetStream
                | Call::ListClosed
                | Call::WatchEvents
                | Call::Status
                | Call::Config
                | Call::Page
                | Call::OpenApi => false,
            };
            assert_eq!(changes, !route.method.is_safe(), "{}", route.path);
        }
    }

    #[test]
    fn only_the_page_is_public() {
        for route in ROUTES {
            assert_eq!(
                is_public(&route.method, route.path),
                route.call == Call::Page
            );
        }
    }
}
