//! `sidebeat healthcheck`, for container images without a shell.

use std::net::Ipv4Addr;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use http::{Method, StatusCode};

use super::ctl::{self, CtlError, Output, Target};
use crate::admin::client::{Address, Call, Content, Endpoint};
use crate::admin::control::State;
use crate::config::Config;

/// Shorter than the time after which container engines give a check up.
const LIMIT: Duration = Duration::from_secs(5);
/// Where the documentation puts telemetry.
const DEFAULT_PORT: u16 = 9601;

/// Flags of `sidebeat healthcheck`. Without any of it, 127.0.0.1:9601 is asked.
#[derive(Debug, Clone, Default, Args)]
pub(super) struct HealthcheckArgs {
    /// Where the admin API is, which is asked if no telemetry address is known.
    #[command(flatten)]
    pub target: Target,
    /// Telemetry address: http://HOST:PORT or HOST:PORT
    #[arg(long, value_name = "ADDR", env = "SIDEBEAT_TELEMETRY")]
    pub telemetry: Option<Address>,
}

/// Runs the command; `config` is the file of `-c`, loaded.
pub(super) fn main(args: HealthcheckArgs, config: Option<&Config>) -> ExitCode {
    ctl::finish(async |_: &mut Output| {
        let args = match config {
            Some(config) => args.with_config(config),
            None => args,
        };
        args.check().await
    })
}

impl HealthcheckArgs {
    /// Takes from `config` what no flag or environment variable gave.
    pub(super) fn with_config(mut self, config: &Config) -> Self {
        let is_unset = self.telemetry.is_none() && self.target.admin.is_none();
        if is_unset {
            self.telemetry = config.telemetry.map(Address::from);
        }
        self.target = self.target.with_config(Some(config));
        self
    }

    async fn check(&self) -> Result<(), CtlError> {
        let default = Address::from((Ipv4Addr::LOCALHOST, DEFAULT_PORT));
        match (&self.telemetry, &self.target.admin) {
            (Some(telemetry), _) => {
                for endpoint in telemetry.resolve().await? {
                    ready(&endpoint).await?;
                }
            }
            (None, Some(_)) => self.running().await?,
            (None, None) => {
                for endpoint in default.resolve().await? {
                    ready(&endpoint).await?;
                }
            }
        }
        Ok(())
    }

    /// Asks the admin API what `/readyz` would say, unless the address turns out to be that of telemetry.
    async fn running(&self) -> Result<(), CtlError> {
        let session = self.target.open().await?;
        for endpoint in &session.endpoints {
            match ready(endpoint).await {
                Err(CtlError::Refused { status, .. })
                    if status != StatusCode::SERVICE_UNAVAILABLE => {}
                known => {
                    known?;
                    continue;
                }
            }
            let state = session.status(endpoint).await?.state;
            if state != State::Running {
                return Err(CtlError::Refused {
                    endpoint: endpoint.clone(),
                    status: StatusCode::SERVICE_UNAVAILABLE,
                    detail: "draining".to_owned(),
                });
            }
        }
        Ok(())
    }
}

async fn ready(endpoint: &Endpoint) -> Result<(), CtlError> {
    let call = Call {
        method: Method::GET,
        path: "/readyz",
        token: None,
        content: Content::Nothing,
    };
    let answer = endpoint.call(call, LIMIT).await?;
    if answer.status == StatusCode::OK {
        return Ok(());
    }
    let report = String::from_utf8_lossy(&answer.body);
    Err(CtlError::Refused {
        endpoint: endpoint.clone(),
        status: answer.status,
        detail: report.trim_end().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use indexmap::IndexMap;

    use super::*;
    use crate::admin::Guards;
    use crate::admin::fixture::{Plane, Script, status, tcp};
    use crate::admin::telemetry::{Telemetry, bind, serve};
    use crate::config::{self, AdminAddress};
    use crate::health::Health;
    use crate::metrics::Metrics;

    fn admin(address: &str) -> HealthcheckArgs {
        let mut args = HealthcheckArgs::default();
        args.target.admin = Some(address.parse().unwrap());
        args
    }

    #[tokio::test]
    async fn readiness_is_asked_of_telemetry() {
        let health = Arc::new(Health::new(1));
        let listener = bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let address = listener.local_addr().unwrap();
        let telemetry = Telemetry::new(Arc::new(Metrics::new()), Arc::clone(&health));
        let server = tokio::spawn(serve(listener, Arc::new(telemetry)));
        // Under either flag: which plane an address belongs to is for us to find out.
        let by_telemetry = HealthcheckArgs {
            telemetry: Some(address.into()),
            ..HealthcheckArgs::default()
        };
        let ways = [by_telemetry, admin(&address.to_string())];
        for args in &ways {
            let error = args.check().await.unwrap_err().to_string();
            assert!(error.contains("not bound yet"), "{error}");
        }
        health.listeners_bound();
        for args in &ways {
            args.check().await.unwrap();
        }
        health.start_draining();
        for args in &ways {
            let error = args.check().await.unwrap_err().to_string();
            assert!(error.contains("draining"), "{error}");
        }
        server.abort();
    }

    #[tokio::test]
    async fn the_admin_api_answers_where_there_is_no_telemetry() {
        for (state, is_ready) in [
            (State::Running, true),
            (State::Draining, false),
            (State::Drained, false),
        ] {
            let script = Script {
                statuses: vec![status(state, 0, 0)],
                ..Script::default()
            };
            let plane = Plane::start(&tcp(), Guards::default(), script);
            let result = admin(&plane.url).check().await;
            assert_eq!(result.is_ok(), is_ready, "{state:?}");
        }
    }

    #[tokio::test]
    async fn nobody_there_is_not_ready() {
        let listener = bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let error = admin(&address.to_string()).check().await.unwrap_err();
        assert!(error.to_string().contains("cannot connect"), "{error}");
    }

    #[test]
    fn flags_and_environment_go_before_the_file() {
        let socket = |text: &str| text.parse::<std::net::SocketAddr>().unwrap();
        let admin = config::Admin {
            listen: AdminAddress::Tcp(socket("127.0.0.1:9600")),
            token_file: Some("/file/token".into()),
            hosts: Vec::new(),
        };
        let config = Config {
            listeners: IndexMap::new(),
            hooks: IndexMap::new(),
            state_dir: None,
            admin: Some(admin),
            telemetry: Some(socket("[::]:9601")),
            drain: config::Drain {
                delay: Duration::ZERO,
                spread: Duration::ZERO,
                close_code: 1012,
                hook_flush: Duration::ZERO,
            },
            workers: None,
            log: config::Log {
                format: config::LogFormat::Auto,
                level: tracing::Level::INFO,
            },
        };
        let from_file = HealthcheckArgs::default().with_config(&config);
        assert_eq!(from_file.telemetry, Some(socket("[::]:9601").into()));
        assert_eq!(
            from_file.target.admin,
            Some(socket("127.0.0.1:9600").into())
        );
        assert_eq!(from_file.target.token_file, Some("/file/token".into()));

        let mut args = self::admin("127.0.0.1:1");
        args.target.token_file = Some("/flag/token".into());
        let args = args.with_config(&config);
        assert_eq!(args.telemetry, None, "the one that was named is asked");
        assert_eq!(args.target.admin, Some(socket("127.0.0.1:1").into()));
        assert_eq!(args.target.token_file, Some("/flag/token".into()));

        let socket = AdminAddress::Unix("/run/admin.sock".into());
        let mut config = config;
        config.admin.as_mut().unwrap().listen = socket;
        let args = HealthcheckArgs::default().with_config(&config);
        assert_eq!(
            args.target.admin,
            Some(Address::Unix("/run/admin.sock".into()))
        );
    }
}
