//! The flags of one listener, so that a first run needs no file.

use super::error::{ConfigError, Page, Place};
use super::kinds::Text;
use super::leaf::{Block, Leaf, Maybe, OrMap};
use super::raw::{
    RawAdmin, RawCertificate, RawConfig, RawHeartbeat, RawHook, RawListener, RawLog, RawPing,
    RawTelemetry, RawTls,
};

/// The name of the listener and of the hook that flags make.
const NAME: &str = "main";

/// One listener by flags; each has an environment variable, which it overrides.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args)]
#[command(next_help_heading = "One listener without a file")]
pub struct Flags {
    /// Where clients connect: ws://, wss://, tcp:// or tls:// with IP address and port.
    #[arg(long, env = "SIDEBEAT_LISTEN", value_name = "URL")]
    pub listen: Option<String>,
    /// The app: ws://, wss://, tcp:// or tls:// with host and port, or unix:/path.
    #[arg(long, env = "SIDEBEAT_UPSTREAM", value_name = "URL")]
    pub upstream: Option<String>,
    /// PEM file of the certificate chain for wss:// and tls://.
    #[arg(long, env = "SIDEBEAT_TLS_CERT", value_name = "FILE")]
    pub tls_cert: Option<String>,
    /// PEM file of the private key.
    #[arg(long, env = "SIDEBEAT_TLS_KEY", value_name = "FILE")]
    pub tls_key: Option<String>,
    /// The longest silence of a client, such as 55s, or off.
    #[arg(long, env = "SIDEBEAT_IDLE_LIMIT", value_name = "DURATION")]
    pub idle_limit: Option<String>,
    /// How often a silent client is asked, such as 25s, or off.
    #[arg(long, env = "SIDEBEAT_PING_INTERVAL", value_name = "DURATION")]
    pub ping_interval: Option<String>,
    /// Where the end of each stream is reported: http:// or https://.
    #[arg(long, env = "SIDEBEAT_CLOSE_HOOK", value_name = "URL")]
    pub close_hook: Option<String>,
    /// File with the keys that sign reports.
    #[arg(long, env = "SIDEBEAT_HOOK_SECRET_FILE", value_name = "FILE")]
    pub hook_secret_file: Option<String>,
    /// Address of the stream API, unix:/path, or off.
    #[arg(long, env = "SIDEBEAT_ADMIN", value_name = "ADDR")]
    pub admin: Option<String>,
    /// Address of metrics and probes, or off.
    #[arg(long, env = "SIDEBEAT_TELEMETRY", value_name = "ADDR")]
    pub telemetry: Option<String>,
    /// Log lines as text or JSON.
    #[arg(long, env = "SIDEBEAT_LOG_FORMAT", value_name = "FORMAT")]
    pub log_format: Option<String>,
    /// The least severe level written.
    #[arg(long, env = "SIDEBEAT_LOG_LEVEL", value_name = "LEVEL")]
    pub log_level: Option<String>,
}

/// How messages call each flag.
mod name {
    pub(super) const LISTEN: &str = "--listen (SIDEBEAT_LISTEN)";
    pub(super) const UPSTREAM: &str = "--upstream (SIDEBEAT_UPSTREAM)";
    pub(super) const TLS_CERT: &str = "--tls-cert (SIDEBEAT_TLS_CERT)";
    pub(super) const TLS_KEY: &str = "--tls-key (SIDEBEAT_TLS_KEY)";
    pub(super) const IDLE_LIMIT: &str = "--idle-limit (SIDEBEAT_IDLE_LIMIT)";
    pub(super) const PING_INTERVAL: &str = "--ping-interval (SIDEBEAT_PING_INTERVAL)";
    pub(super) const CLOSE_HOOK: &str = "--close-hook (SIDEBEAT_CLOSE_HOOK)";
    pub(super) const HOOK_SECRET_FILE: &str = "--hook-secret-file (SIDEBEAT_HOOK_SECRET_FILE)";
    pub(super) const ADMIN: &str = "--admin (SIDEBEAT_ADMIN)";
    pub(super) const TELEMETRY: &str = "--telemetry (SIDEBEAT_TELEMETRY)";
    pub(super) const LOG_FORMAT: &str = "--log-format (SIDEBEAT_LOG_FORMAT)";
    pub(super) const LOG_LEVEL: &str = "--log-level (SIDEBEAT_LOG_LEVEL)";
}

impl Flags {
    /// Whether they describe a listener.
    pub(super) fn has_listener(&self) -> bool {
        self.listener_flag().is_some()
    }

    /// Writes the flags over what the file says.
    pub(super) fn apply(&self, raw: &mut RawConfig, page: &Page<'_>) -> Result<(), ConfigError> {
        if let Some(flag) = self.listener_flag() {
            if raw.listeners.get().is_some_and(|l| !l.is_empty()) {
                let message = format!(
                    "{} has listeners of its own: remove the flag, or the listeners from the file",
                    page.name
                );
                return Err(page.at_value(Place::Flag(flag), message));
            }
            self.add_listener(raw, page)?;
            self.add_hook(raw, page)?;
        }
        self.override_planes(raw);
        if let Some(leaf) = leaf(&self.log_format, name::LOG_FORMAT) {
            raw.log.0.get_or_insert_with(RawLog::default).format = Maybe(Some(leaf));
        }
        if let Some(leaf) = leaf(&self.log_level, name::LOG_LEVEL) {
            raw.log.0.get_or_insert_with(RawLog::default).level = Maybe(Some(leaf));
        }
        Ok(())
    }

    /// The first flag given that is about the listener or its hook.
    fn listener_flag(&self) -> Option<&'static str> {
        [
            (&self.listen, name::LISTEN),
            (&self.upstream, name::UPSTREAM),
            (&self.tls_cert, name::TLS_CERT),
            (&self.tls_key, name::TLS_KEY),
            (&self.idle_limit, name::IDLE_LIMIT),
            (&self.ping_interval, name::PING_INTERVAL),
            (&self.close_hook, name::CLOSE_HOOK),
            (&self.hook_secret_file, name::HOOK_SECRET_FILE),
        ]
        .into_iter()
        .find(|(value, _)| given(value).is_some())
        .map(|(_, flag)| flag)
    }

    fn add_listener(&self, raw: &mut RawConfig, page: &Page<'_>) -> Result<(), ConfigError> {
        let flag = self.listener_flag().unwrap_or(name::LISTEN);
        let missing = |message: &str| Err(page.at_value(Place::Flag(flag), message));
        let Some(listen) = leaf(&self.listen, name::LISTEN) else {
            return missing("this needs a listener: add --listen, such as ws://0.0.0.0:8080");
        };
        let Some(upstream) = leaf(&self.upstream, name::UPSTREAM) else {
            return missing("this needs an app: add --upstream, such as ws://127.0.0.1:8000");
        };
        let tls = match (
            leaf(&self.tls_cert, name::TLS_CERT),
            leaf(&self.tls_key, name::TLS_KEY),
        ) {
            (Some(cert), Some(key)) => Some(block(
                RawTls {
                    certificates: block(vec![RawCertificate { cert, key }], name::TLS_CERT),
                    client_ca: Maybe::default(),
                    client_auth: Maybe::default(),
                    min_version: Maybe::default(),
                },
                name::TLS_CERT,
            )),
            (None, None) => None,
            (Some(cert), None) => {
                return Err(page.at_value(cert.place, "this needs its private key: add --tls-key"));
            }
            (None, Some(key)) => {
                return Err(page.at_value(key.place, "this needs its certificate: add --tls-cert"));
            }
        };
        let listener = RawListener {
            listen,
            upstream,
            upstream_tls: Maybe::default(),
            tls: Maybe(tls),
            connect_timeout: Maybe::default(),
            answer_timeout: Maybe::default(),
            http: Maybe::default(),
            http_timeout: Maybe::default(),
            framing: Maybe::default(),
            heartbeat: Maybe(Some(self.heartbeat())),
            identity: Maybe::default(),
            limits: Maybe::default(),
            proxy_protocol: Maybe::default(),
            trusted_proxies: Maybe::default(),
        };
        raw.listeners
            .0
            .get_or_insert_default()
            .insert(NAME.to_owned(), block(listener, name::LISTEN));
        Ok(())
    }

    fn heartbeat(&self) -> RawHeartbeat {
        let ping = leaf(&self.ping_interval, name::PING_INTERVAL).map(|interval| {
            // `--ping-interval off` is the file's `ping: off`.
            if matches!(interval.text.as_str(), "off" | "false") {
                OrMap::Scalar(Leaf::from_flag(interval.text, name::PING_INTERVAL))
            } else {
                let ping = RawPing {
                    interval: Maybe(Some(interval)),
                    ..RawPing::default()
                };
                OrMap::Map(ping, Place::Flag(name::PING_INTERVAL))
            }
        });
        RawHeartbeat {
            idle_limit: Maybe(leaf(&self.idle_limit, name::IDLE_LIMIT)),
            ping: Maybe(ping),
            ..RawHeartbeat::default()
        }
    }

    fn add_hook(&self, raw: &mut RawConfig, page: &Page<'_>) -> Result<(), ConfigError> {
        let secret_file = leaf(&self.hook_secret_file, name::HOOK_SECRET_FILE);
        let Some(url) = leaf(&self.close_hook, name::CLOSE_HOOK) else {
            return match secret_file {
                Some(secret) => {
                    Err(page.at_value(secret.place, "this signs for a hook: add --close-hook URL"))
                }
                None => Ok(()),
            };
        };
        let hooks = raw.hooks.0.get_or_insert_default();
        if hooks.contains_key(NAME) {
            let message = format!(
                "{} has a hook `{NAME}` of its own: remove the flag, or rename the hook",
                page.name
            );
            return Err(page.at_value(url.place, message));
        }
        let hook = RawHook {
            url,
            events: Maybe::default(),
            listeners: Maybe::default(),
            secret_file: Maybe(secret_file),
            ca: Maybe::default(),
            bearer_token_file: Maybe::default(),
            timeout: Maybe::default(),
            rate: Maybe::default(),
            give_up_after: Maybe::default(),
        };
        hooks.insert(NAME.to_owned(), block(hook, name::CLOSE_HOOK));
        Ok(())
    }

    fn override_planes(&self, raw: &mut RawConfig) {
        if let Some(mut listen) = leaf::<Text>(&self.admin, name::ADMIN) {
            // The same variable tells `ctl` the URL to call.
            if let Some(address) = listen.text.strip_prefix("http://") {
                listen.text = address.trim_end_matches('/').to_owned();
            }
            if matches!(listen.text.as_str(), "off" | "false") {
                raw.admin = Maybe(Some(OrMap::Scalar(Leaf::from_flag(
                    listen.text,
                    name::ADMIN,
                ))));
            } else if let Some(OrMap::Map(admin, _)) = &mut raw.admin.0 {
                admin.listen = Maybe(Some(listen));
            } else {
                let admin = RawAdmin {
                    listen: Maybe(Some(listen)),
                    ..RawAdmin::default()
                };
                raw.admin = Maybe(Some(OrMap::Map(admin, Place::Flag(name::ADMIN))));
            }
        }
        if let Some(listen) = leaf::<Text>(&self.telemetry, name::TELEMETRY) {
            raw.telemetry = Maybe(Some(if matches!(listen.text.as_str(), "off" | "false") {
                OrMap::Scalar(Leaf::from_flag(listen.text, name::TELEMETRY))
            } else {
                let telemetry = RawTelemetry {
                    listen: Maybe(Some(listen)),
                };
                OrMap::Map(telemetry, Place::Flag(name::TELEMETRY))
            }));
        }
    }
}

/// An empty value, as a template leaves it in an environment variable, is none.
fn given(value: &Option<String>) -> Option<&String> {
    value.as_ref().filter(|value| !value.is_empty())
}

fn leaf<K>(value: &Option<String>, flag: &'static str) -> Option<Leaf<K>> {
    given(value).map(|value| Leaf::from_flag(value.clone(), flag))
}

fn block<T>(value: T, flag: &'static str) -> Block<T> {
    Block {
        value,
        place: Place::Flag(flag),
    }
}
