//! Reload: read everything again, check all of it, then put all of it to use; or keep everything old and say why.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};

use super::planes::guards;
use super::{Server, Shared, drain, listeners, needs};
use crate::admin::TokenError;
use crate::admin::control::ReloadReport;
use crate::config::{self, Config, ConfigSource};
use crate::hook::HookError;
use crate::listener::{self, Listener, Loaded};
use crate::net::tls::TlsError;

/// Why a configuration that is valid in itself cannot be put to use.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// Certificates or keys.
    #[error("listener {listener}: {source}")]
    Tls {
        /// Its name.
        listener: String,
        /// What is wrong.
        source: TlsError,
    },
    /// Secrets, tokens or CAs of hooks.
    #[error(transparent)]
    Hook(#[from] HookError),
    /// The admin token.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The configuration itself.
    #[error(transparent)]
    Config(#[from] config::ConfigError),
    /// A new listener's address.
    #[error("{0}")]
    Bind(String),
}

/// The configuration in effect, where it came from and what became of the last reload.
pub(super) struct Reloads {
    pub(super) config: Config,
    source: ConfigSource,
    seen: Fingerprint,
    pub(super) generation: u64,
    pub(super) loaded_at: SystemTime,
    pub(super) last_error: Option<String>,
}

/// The content of each file that the configuration depends on; `None` while it cannot be read.
type Fingerprint = BTreeMap<PathBuf, Option<[u8; 32]>>;

impl Reloads {
    pub(super) fn new(config: Config, source: ConfigSource) -> Self {
        let seen = fingerprint(&source, &config);
        Self {
            config,
            source,
            seen,
            generation: 1,
            loaded_at: SystemTime::now(),
            last_error: None,
        }
    }

    /// Whether the content of any file is another than when this was last asked. Content and not time is compared, and
    /// links are followed: that sees the swap of Kubernetes' `..data` link, which a watch on the file misses.
    pub(super) fn files_changed(&mut self) -> bool {
        let now = fingerprint(&self.source, &self.config);
        std::mem::replace(&mut self.seen, now) != self.seen
    }
}

fn fingerprint(source: &ConfigSource, config: &Config) -> Fingerprint {
    let content = |path: &PathBuf| {
        std::fs::read(path)
            .ok()
            .map(|content| Sha256::digest(content).into())
    };
    source
        .files(config)
        .into_iter()
        .map(|path| (path.clone(), content(&path)))
        .collect()
}

/// A listener with everything it needs from files.
pub(super) fn load_listener(
    config: &Arc<config::Listener>,
    spread: Duration,
    shared: &Shared,
) -> Result<Arc<Listener>, ApplyError> {
    let metrics = shared.metrics.listener(&config.name);
    let listener = Loaded::read(config)
        .and_then(|loaded| Listener::new(loaded, spread, metrics, Arc::clone(shared.capacity())));
    let listener = listener.map_err(|source| ApplyError::Tls {
        listener: config.name.to_string(),
        source,
    })?;
    Ok(Arc::new(listener))
}

/// Reads the files of a listener and forgets them.
pub(super) fn check_listener(config: &config::Listener) -> Result<(), ApplyError> {
    listener::check(config).map_err(|source| ApplyError::Tls {
        listener: config.name.to_string(),
        source,
    })
}

/// Says when the certificates of a listener end; one without TLS has none, whatever it had before.
pub(super) fn publish_certificates(listener: &Listener, shared: &Shared) {
    let ends = listener.tls.as_ref().map_or_else(Vec::new, |tls| {
        let certificates = tls.certificates();
        certificates.iter().map(|one| one.not_after).collect()
    });
    shared
        .metrics
        .set_certificates(&listener.config.load().name, &ends);
}

impl Server {
    pub(super) fn reload(&mut self) {
        // The outcome is in log, metric and status; nobody waits for it.
        let _ = self.try_reload();
    }

    pub(super) fn try_reload(&mut self) -> Result<ReloadReport, String> {
        match self.apply() {
            Ok(report) => {
                self.shared.metrics.reload_succeeded(SystemTime::now());
                self.reloads.last_error = None;
                tracing::info!(generation = report.generation, restart_required = ?report.restart_required, "reloaded");
                Ok(report)
            }
            Err(error) => {
                self.shared.metrics.reload_failed();
                let text = error.to_string();
                tracing::error!(error = text, "reload refused, everything stays as it was");
                self.reloads.last_error = Some(text.clone());
                Err(text)
            }
        }
    }

    fn apply(&mut self) -> Result<ReloadReport, ApplyError> {
        let mut config = self.reloads.source.load()?;
        let restart_required = keep_what_needs_a_restart(&self.reloads.config, &mut config);
        let guards = guards(&config)?;
        let plan = listeners::plan(&config, &self.workers, &self.shared)?;
        self.shared.hooks.reload(&config.hooks)?;
        // From here on nothing can fail.
        self.shared
            .capacity()
            .share_out(needs(&config, self.workers.count()));
        let removed = listeners::carry_out(plan, &config, &mut self.workers, &self.shared);
        for listener in removed {
            let name = Arc::clone(&listener.config.load().name);
            // Nobody is to be woken for a certificate that is out of use.
            self.shared.metrics.set_certificates(&name, &[]);
            let mut entries = self.shared.registry.all();
            entries.retain(|entry| entry.opening.listener == name);
            tokio::spawn(drain::close_all(
                Arc::clone(&self.shared),
                self.workers.handle(),
                entries,
                config.drain.spread,
            ));
        }
        self.api.set_guards(guards);
        self.shared.set_drain_code(config.drain.close_code);
        self.workers.policies_changed();
        self.reloads.seen = fingerprint(&self.reloads.source, &config);
        self.reloads.config = config;
        self.reloads.generation += 1;
        self.reloads.loaded_at = SystemTime::now();
        self.warn_of_expiry();
        Ok(ReloadReport {
            generation: self.reloads.generation,
            restart_required,
        })
    }
}

/// Takes back what a running process cannot change; returns the keys.
fn keep_what_needs_a_restart(old: &Config, new: &mut Config) -> Vec<String> {
    let mut keys = Vec::new();
    let mut keep = |key: &str, changed: bool| {
        if changed {
            keys.push(key.to_owned());
        }
        changed
    };
    if keep("state_dir", old.state_dir != new.state_dir) {
        new.state_dir.clone_from(&old.state_dir);
    }
    if keep(
        "admin.listen",
        old.admin.as_ref().map(|admin| &admin.listen)
            != new.admin.as_ref().map(|admin| &admin.listen),
    ) {
        new.admin.clone_from(&old.admin);
    }
    if keep("telemetry.listen", old.telemetry != new.telemetry) {
        new.telemetry = old.telemetry;
    }
    if keep("workers", old.workers != new.workers) {
        new.workers = old.workers;
    }
    if keep("log", old.log != new.log) {
        new.log = old.log;
    }
    keys
}
