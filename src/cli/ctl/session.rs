//! Calls of the admin API, to one process or to all behind an address.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use http::{Method, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{CtlError, collected};
use crate::admin::Token;
use crate::admin::client::{Address, Answer, Call, Content, Endpoint};
use crate::admin::control::Status;
use crate::config::{AdminAddress, Config};

/// Longer than the API itself waits for a reload.
const CALL_LIMIT: Duration = Duration::from_secs(35);
/// Where the documentation puts the admin API.
const DEFAULT_PORT: u16 = 9600;

/// How to find the admin API. Without any of it: 127.0.0.1:9600.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Target {
    /// Configuration file that says where the admin API is
    #[arg(
        short,
        long,
        value_name = "FILE",
        env = "SIDEBEAT_CONFIG",
        global = true
    )]
    pub(crate) config: Option<PathBuf>,
    /// Admin API: http://HOST:PORT, HOST:PORT or unix:/PATH; of a name, every address is asked
    #[arg(long, value_name = "URL", env = "SIDEBEAT_ADMIN", global = true)]
    pub(crate) admin: Option<Address>,
    /// File with the token of the admin API
    #[arg(long, value_name = "FILE", env = "SIDEBEAT_TOKEN_FILE", global = true)]
    pub(crate) token_file: Option<PathBuf>,
}

impl Target {
    /// Takes from `config` what no flag or environment variable gave.
    pub(crate) fn with_config(mut self, config: Option<&Config>) -> Self {
        let Some(admin) = config.and_then(|config| config.admin.as_ref()) else {
            return self;
        };
        if self.admin.is_none() {
            self.admin = Some(match &admin.listen {
                AdminAddress::Tcp(address) => (*address).into(),
                AdminAddress::Unix(path) => Address::Unix(path.clone()),
            });
        }
        if self.token_file.is_none() {
            self.token_file.clone_from(&admin.token_file);
        }
        self
    }

    /// Resolves the address and reads the token.
    pub(crate) async fn open(&self) -> Result<Session, CtlError> {
        let token = self.token_file.as_deref().map(Token::read).transpose()?;
        let default = Address::from((Ipv4Addr::LOCALHOST, DEFAULT_PORT));
        let endpoints = self.admin.as_ref().unwrap_or(&default).resolve().await?;
        Ok(Session { endpoints, token })
    }
}

/// What a process is asked.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    method: Method,
    path: String,
    content: Content,
    limit: Duration,
}

impl Request {
    fn new(method: Method, path: impl Into<String>, content: Content) -> Self {
        Self {
            method,
            path: path.into(),
            content,
            limit: CALL_LIMIT,
        }
    }

    /// GET of a path with its query.
    pub(crate) fn get(path: impl Into<String>) -> Self {
        Self::new(Method::GET, path, Content::Nothing)
    }

    /// DELETE of a path with its query.
    pub(crate) fn delete(path: impl Into<String>) -> Self {
        Self::new(Method::DELETE, path, Content::Nothing)
    }

    /// POST to a path with its query.
    pub(crate) fn post(path: impl Into<String>, content: Content) -> Self {
        Self::new(Method::POST, path, content)
    }

    /// Gives the process `time` more to answer.
    pub(crate) fn lasting(mut self, time: Duration) -> Self {
        self.limit += time;
        self
    }
}

/// What a process answered.
pub(crate) struct Reply<'s> {
    from: &'s Endpoint,
    answer: Answer,
}

impl Reply<'_> {
    /// The stream that was asked for has ended; this is its closing record.
    pub(crate) fn is_gone(&self) -> bool {
        self.answer.status == StatusCode::GONE
    }

    /// The body, which is JSON.
    pub(crate) fn read<T: DeserializeOwned>(&self) -> Result<T, CtlError> {
        serde_json::from_slice(&self.answer.body).map_err(|source| CtlError::Foreign {
            endpoint: self.from.clone(),
            source,
        })
    }

    fn refusal(&self) -> CtlError {
        CtlError::Refused {
            endpoint: self.from.clone(),
            status: self.answer.status,
            detail: detail(&self.answer.body),
        }
    }
}

/// The sentence of a problem, or the first line of what is none.
fn detail(body: &[u8]) -> String {
    let problem: Value = serde_json::from_slice(body).unwrap_or_default();
    if let Some(detail) = problem["detail"].as_str() {
        return detail.to_owned();
    }
    let text = String::from_utf8_lossy(body);
    text.lines().next().unwrap_or_default().to_owned()
}

/// The processes to ask and what to show them.
pub(crate) struct Session {
    pub(crate) endpoints: Vec<Endpoint>,
    pub(super) token: Option<Token>,
}

impl Session {
    /// One call to one process; every status but 2xx is an error.
    pub(crate) async fn call<T: DeserializeOwned>(
        &self,
        endpoint: &Endpoint,
        request: Request,
    ) -> Result<T, CtlError> {
        let reply = self.ask(endpoint, request).await?;
        if !reply.answer.status.is_success() {
            return Err(reply.refusal());
        }
        reply.read()
    }

    /// The same call to each process, one after the other.
    pub(crate) async fn call_each<T: DeserializeOwned>(
        &self,
        request: &Request,
    ) -> Vec<Result<T, CtlError>> {
        let mut results = Vec::new();
        for endpoint in &self.endpoints {
            results.push(self.call(endpoint, request.clone()).await);
        }
        results
    }

    /// One call to one process, whatever it answers.
    async fn ask<'s>(
        &self,
        endpoint: &'s Endpoint,
        request: Request,
    ) -> Result<Reply<'s>, CtlError> {
        let call = Call {
            method: request.method,
            path: &request.path,
            token: self.token.as_ref(),
            content: request.content,
        };
        let answer = endpoint.call(call, request.limit).await?;
        Ok(Reply {
            from: endpoint,
            answer,
        })
    }

    /// What the process says of itself.
    pub(crate) async fn status(&self, endpoint: &Endpoint) -> Result<Status, CtlError> {
        self.call(endpoint, Request::get("/v1/status")).await
    }

    /// Asks one process after the other for a stream until one knows it, open or ended.
    pub(super) async fn find(&self, request: &Request) -> Result<Reply<'_>, CtlError> {
        let mut errors = Vec::new();
        for endpoint in &self.endpoints {
            match self.ask(endpoint, request.clone()).await {
                Ok(reply) if reply.answer.status == StatusCode::NOT_FOUND => {}
                Ok(reply) if reply.answer.status.is_success() || reply.is_gone() => {
                    return Ok(reply);
                }
                Ok(reply) => return Err(reply.refusal()),
                Err(error) => errors.push(error),
            }
        }
        collected(errors, self.endpoints.len())?;
        Err(CtlError::Unknown)
    }

    /// The same for a call that changes the stream: one that has ended is an error.
    pub(super) async fn change(&self, request: &Request) -> Result<Reply<'_>, CtlError> {
        let reply = self.find(request).await?;
        if reply.is_gone() {
            return Err(CtlError::Ended(reply.read()?));
        }
        Ok(reply)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::Guards;
    use crate::admin::fixture::{Plane, Script, tcp};
    use crate::cli::ctl::tests::ctl;

    #[tokio::test]
    async fn the_token_comes_from_a_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        std::fs::write(&path, "s3cret\n").unwrap();
        let guards = Guards {
            token: Some(Token::read(&path).unwrap()),
            hosts: Vec::new(),
        };
        let plane = Plane::start(&tcp(), guards, Script::default());
        let (result, _) = ctl(&plane, "status").await;
        assert!(result.unwrap_err().to_string().contains("401"));
        let line = format!("status --token-file {}", path.display());
        ctl(&plane, &line).await.0.unwrap();
    }
}
