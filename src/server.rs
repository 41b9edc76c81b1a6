//! Starts the rooms, waits for the end: workers, control runtime, signals, reload, drain.

mod drain;
mod listeners;
mod planes;
mod reload;
mod shared;
mod signals;
mod status;
mod workers;

use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::signal::unix::SignalKind;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::admin::control::Command as Asked;
use crate::admin::{Api, TokenError};
use crate::config::{Config, ConfigSource};
use crate::health::Health;
use crate::hook::{HookMetrics, Hooks};
use crate::listener::{Capacity, Needs, raise_descriptors};
use crate::metrics::Metrics;
use crate::priority;
use drain::{Drain, drained};
use planes::guards;
use reload::Reloads;
pub use shared::Shared;
use signals::Signals;
use workers::{Beside, Workers};

/// Exit code of EX_OSERR in sysexits.h: an address cannot be bound, or another error of the system.
pub const EXIT_OS: u8 = 71;

/// How often files are compared with what was loaded: a mounted Secret is swapped without any signal.
const WATCH: Duration = Duration::from_secs(5);

/// How often idle workers are asked for a sign of life; `/livez` gives them five seconds.
const POKE: Duration = Duration::from_secs(2);

/// How often certificates that end soon are named in the log, besides start and reload.
const EXPIRY: Duration = Duration::from_secs(24 * 3600);

/// Why the server could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address is taken or not ours.
    #[error("cannot bind {what} {address}: {source}; is another process there?")]
    Bind {
        /// Listener name, `admin` or `telemetry`.
        what: String,
        /// As configured.
        address: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// Files that the configuration names do not hold what they should.
    #[error(transparent)]
    Config(#[from] reload::ApplyError),
    /// The system refused a runtime, a thread or a signal handler.
    #[error("cannot start: {0}")]
    Os(#[from] std::io::Error),
    /// The file of the admin token.
    #[error(transparent)]
    Token(#[from] TokenError),
}

/// Runs until a signal ends it. SIGINT on a terminal ends it without delay and spread.
pub fn run(config: Config, source: ConfigSource) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error.into()),
    };
    let code = runtime.block_on(async {
        match Server::start(config, source).await {
            Ok(server) => server.serve().await,
            Err(error) => failed(&error),
        }
    });
    runtime.shutdown_background();
    code
}

/// Reads everything that the configuration names, as a start would, and uses none of it.
pub fn preflight(config: &Config) -> Result<(), StartError> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let metrics = Metrics::new();
    let hook_metrics = HookMetrics::register(metrics.registry());
    Hooks::start(&config.hooks, hook_metrics, runtime.handle())
        .map_err(reload::ApplyError::from)?;
    guards(config)?;
    for listener in config.listeners.values() {
        reload::check_listener(listener)?;
    }
    Ok(())
}

fn failed(error: &StartError) -> ExitCode {
    tracing::error!("{error}");
    match error {
        StartError::Config(reload::ApplyError::Hook(error)) if error.is_system() => {
            ExitCode::from(EXIT_OS)
        }
        StartError::Config(_) | StartError::Token(_) => ExitCode::from(crate::cli::EXIT_CONFIG),
        StartError::Bind { .. } | StartError::Os(_) => ExitCode::from(EXIT_OS),
    }
}

/// A running process, seen from its control thread.
struct Server {
    shared: Arc<Shared>,
    workers: Workers,
    reloads: Reloads,
    api: Arc<Api>,
    commands: mpsc::Receiver<Asked>,
    started: Instant,
    drain: Option<Drain>,
}

impl Server {
    async fn start(config: Config, source: ConfigSource) -> Result<Self, StartError> {
        let descriptors = raise_descriptors();
        let metrics = Arc::new(Metrics::new());
        let count = config
            .workers
            .map_or_else(std::thread::available_parallelism, |n| {
                n.try_into().map_err(std::io::Error::other)
            });
        let count = count.map_or(1, |count| count.get());
        let health = Arc::new(Health::new(count));
        let hook_metrics = HookMetrics::register(metrics.registry());
        if !config.hooks.is_empty() && config.state_dir.is_none() {
            tracing::warn!(
                "hooks without state_dir: events that are not delivered are lost if this process ends"
            );
        }
        let hooks = Hooks::start_with(
            &config.hooks,
            config.state_dir.as_deref(),
            hook_metrics,
            &tokio::runtime::Handle::current(),
        )
        .map_err(reload::ApplyError::from)?;
        let capacity = Capacity::new(descriptors, needs(&config, count));
        let shared = Shared::new(metrics, health, hooks, &config.drain, capacity);
        shared.hooks.begin();
        let mut workers = Workers::start(count, &shared)?;
        // This thread, and none of the workers that it has started.
        priority::yield_to_workers();
        for (name, listener) in &config.listeners {
            let loaded = reload::load_listener(listener, config.drain.spread, &shared)?;
            let door = workers.bind(name, listener.listen, Beside::Nothing)?;
            reload::publish_certificates(&loaded, &shared);
            workers.open(loaded, door);
        }
        let (control, commands) = mpsc::channel(64);
        let registry = Arc::clone(&shared.registry);
        let api = Api::new(control, registry, workers.post(), guards(&config)?);
        let api = Arc::new(api);
        planes::serve(&config, &shared, &api)?;
        shared.metrics.config_loaded(SystemTime::now());
        let scraped = Arc::downgrade(&shared);
        shared.metrics.on_scrape(Box::new(move |_| {
            if let Some(shared) = scraped.upgrade() {
                status::count_silent(&shared);
            }
        }));
        shared.health.listeners_bound();
        let reloads = Reloads::new(config, source);
        Ok(Self {
            shared,
            workers,
            reloads,
            api,
            commands,
            started: Instant::now(),
            drain: None,
        })
    }

    /// Serves signals and the admin API until the process may end.
    async fn serve(mut self) -> ExitCode {
        let mut signals = match Signals::new() {
            Ok(signals) => signals,
            Err(error) => return failed(&error.into()),
        };
        let mut watch = interval(WATCH);
        let mut poke = interval(POKE);
        let mut expiry = interval(EXPIRY);
        for ticker in [&mut watch, &mut poke, &mut expiry] {
            ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
        }
        loop {
            tokio::select! {
                Some(signal) = signals.next() => {
                    if signal == SignalKind::hangup() {
                        self.reload();
                        continue;
                    }
                    if self.drain.as_ref().is_some_and(|drain| drain.exits) {
                        tracing::warn!("second signal: ending at once");
                        return ExitCode::FAILURE;
                    }
                    let at_once = signal == SignalKind::interrupt() && std::io::stdin().is_terminal();
                    let zero = at_once.then_some(Duration::ZERO);
                    self.begin_drain(zero, zero);
                    if let Some(drain) = &mut self.drain {
                        drain.exits = true;
                    }
                }
                Some(asked) = self.commands.recv() => self.answer(asked).await,
                _ = watch.tick() => {
                    if self.reloads.files_changed() {
                        tracing::info!("files changed, reloading");
                        self.reload();
                    }
                }
                _ = poke.tick() => self.workers.poke(),
                _ = expiry.tick() => self.warn_of_expiry(),
                events_left = drained(&mut self.drain) => {
                    if let Some(drain) = &mut self.drain {
                        drain.events_left = Some(events_left);
                    }
                    tracing::info!(events_left, "drain is over");
                }
            }
            if let Some(Drain {
                exits: true,
                events_left: Some(events_left),
                ..
            }) = self.drain
            {
                self.workers.stop();
                return if events_left == 0 || self.shared.hooks.survive() {
                    ExitCode::SUCCESS
                } else {
                    ExitCode::FAILURE
                };
            }
        }
    }

    async fn answer(&mut self, asked: Asked) {
        // A caller that went away does not need its answer.
        match asked {
            Asked::Reload(reply) => drop(reply.send(self.try_reload())),
            Asked::Drain {
                spread,
                delay,
                reply,
            } => drop(reply.send(self.begin_drain(delay, spread))),
            Asked::Status(reply) => drop(reply.send(self.status())),
            Asked::Config(reply) => drop(reply.send(self.reloads.config.redacted())),
        }
    }
}

fn needs(config: &Config, workers: usize) -> Needs {
    Needs {
        workers,
        listeners: config.listeners.len(),
        hooks: config.hooks.len(),
    }
}

fn cannot_bind(what: &str, address: impl std::fmt::Display, source: std::io::Error) -> StartError {
    StartError::Bind {
        what: what.to_owned(),
        address: address.to_string(),
        source,
    }
}

/// The line that tells a person, or a test that asked for port 0, where to connect.
fn announce(listener: &str, address: &str) {
    tracing::info!(listener, address, "listening");
}
