//! Starts the rooms, waits for the end: workers, control runtime, signals, reload, drain.

mod drain;
mod listeners;
mod reload;
mod status;
mod workers;

use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::time::{Duration, SystemTime};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::admin::control::{Command as Asked, DrainReport};
use crate::admin::telemetry::{self, Telemetry};
use crate::admin::{self, AdminListener, Api, Guards, Token};
use crate::config::{self, Config, ConfigSource};
use crate::health::Health;
use crate::hook::{Event, HookMetrics, Hooks};
use crate::listener::{Capacity, Needs, raise_descriptors};
use crate::metrics::Metrics;
use crate::priority;
use crate::proto::cause::{Cause, Reason};
use crate::registry::Registry;
use reload::Reloads;
use workers::{Beside, Workers};

/// Exit code of EX_OSERR in sysexits.h: an address cannot be bound, or another error of the system.
pub const EXIT_OS: u8 = 71;

/// How often files are compared with what was loaded: a mounted Secret is swapped without any signal.
const WATCH: Duration = Duration::from_secs(5);

/// How often idle workers are asked for a sign of life; `/livez` gives them five seconds.
const POKE: Duration = Duration::from_secs(2);

/// How often certificates that end soon are named in the log, besides start and reload.
const EXPIRY: Duration = Duration::from_secs(24 * 3600);

/// What all threads share.
pub struct Shared {
    /// All metric families.
    pub metrics: Arc<Metrics>,
    /// What the probes say.
    pub health: Arc<Health>,
    /// The open streams.
    pub registry: Arc<Registry>,
    /// The close hooks.
    pub hooks: Hooks,
    refuses: AtomicBool,
    drain_code: AtomicU16,
    capacity: Arc<Capacity>,
}

impl Shared {
    /// A process that takes openings.
    pub fn new(
        metrics: Arc<Metrics>,
        health: Arc<Health>,
        hooks: Hooks,
        drain: &config::Drain,
        capacity: Capacity,
    ) -> Arc<Self> {
        Arc::new(Self {
            metrics,
            health,
            registry: Arc::new(Registry::new(hooks.clone())),
            hooks,
            refuses: AtomicBool::new(false),
            drain_code: AtomicU16::new(drain.close_code),
            capacity: Arc::new(capacity),
        })
    }

    /// Whether openings are refused: a drain is past its delay.
    pub fn refuses(&self) -> bool {
        self.refuses.load(Ordering::Relaxed)
    }

    /// Streams of all listeners, those included that are opening or whose sockets still live.
    pub fn streams(&self) -> usize {
        self.capacity.streams()
    }

    /// The file descriptors that clients share.
    pub fn capacity(&self) -> &Arc<Capacity> {
        &self.capacity
    }

    /// The cause of a stream that a drain ends.
    pub fn drain_cause(&self) -> Cause {
        Cause::new(Reason::Drain).with_code(Some(self.drain_code.load(Ordering::Relaxed)))
    }
}

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
    Token(#[from] admin::TokenError),
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

/// A drain under way.
struct Drain {
    report: DrainReport,
    /// How many events were left when it was over.
    task: JoinHandle<usize>,
    /// `None` while it runs.
    events_left: Option<usize>,
    /// A signal asked for the end of the process.
    exits: bool,
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
        shared.hooks.begin(SystemTime::now());
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
        serve_planes(&config, &shared, &api)?;
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

    fn begin_drain(&mut self, delay: Option<Duration>, spread: Option<Duration>) -> DrainReport {
        if let Some(drain) = &self.drain {
            return drain.report.clone();
        }
        let mut settings = self.reloads.config.drain;
        settings.delay = delay.unwrap_or(settings.delay);
        settings.spread = spread.unwrap_or(settings.spread);
        let streams = self.shared.registry.len() as u64;
        let report = DrainReport {
            streams,
            delay_ms: settings.delay.as_millis() as u64,
            spread_ms: settings.spread.as_millis() as u64,
        };
        tracing::info!(streams, delay = ?settings.delay, spread = ?settings.spread, "draining");
        self.shared.health.start_draining();
        self.shared.metrics.set_draining(true);
        let event = Event::Draining {
            streams,
            delay: settings.delay,
            spread: settings.spread,
        };
        self.shared.hooks.emit(event, SystemTime::now());
        let listeners = self.reloads.config.listeners.values();
        let close_timeout = listeners
            .map(|listener| listener.heartbeat.close_timeout)
            .max()
            .unwrap_or_default();
        let task = tokio::spawn(drain::run(
            Arc::clone(&self.shared),
            self.workers.handle(),
            settings,
            close_timeout,
        ));
        self.drain = Some(Drain {
            report: report.clone(),
            task,
            events_left: None,
            exits: false,
        });
        report
    }
}

async fn drained(drain: &mut Option<Drain>) -> usize {
    match drain {
        Some(Drain {
            task,
            events_left: None,
            ..
        }) => task.await.unwrap_or(usize::MAX),
        Some(_) | None => std::future::pending().await,
    }
}

fn needs(config: &Config, workers: usize) -> Needs {
    Needs {
        workers,
        listeners: config.listeners.len(),
        hooks: config.hooks.len(),
    }
}

fn guards(config: &Config) -> Result<Guards, admin::TokenError> {
    let Some(admin) = &config.admin else {
        return Ok(Guards::default());
    };
    let token = admin.token_file.as_deref().map(Token::read).transpose()?;
    Ok(Guards {
        token,
        hosts: admin.hosts.clone(),
    })
}

fn serve_planes(config: &Config, shared: &Arc<Shared>, api: &Arc<Api>) -> Result<(), StartError> {
    if let Some(address) = config.telemetry {
        let socket =
            telemetry::bind(address).map_err(|source| cannot_bind("telemetry", address, source))?;
        announce("telemetry", &format!("http://{}", socket.local_addr()?));
        let told = Telemetry::new(Arc::clone(&shared.metrics), Arc::clone(&shared.health));
        tokio::spawn(telemetry::serve(socket, Arc::new(told)));
    }
    if let Some(admin) = &config.admin {
        let socket = AdminListener::bind(&admin.listen)
            .map_err(|source| cannot_bind("admin", admin_address(&admin.listen), source))?;
        announce("admin", &socket.url());
        tokio::spawn(admin::serve(socket, Arc::clone(api)));
    }
    Ok(())
}

fn admin_address(address: &config::AdminAddress) -> String {
    match address {
        config::AdminAddress::Tcp(address) => address.to_string(),
        config::AdminAddress::Unix(path) => format!("unix:{}", path.display()),
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

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Option<SignalKind> {
        tokio::select! {
            got = self.terminate.recv() => got.map(|()| SignalKind::terminate()),
            got = self.interrupt.recv() => got.map(|()| SignalKind::interrupt()),
            got = self.hangup.recv() => got.map(|()| SignalKind::hangup()),
        }
    }
}
