//! One listening socket per worker: accept, permit, back off.

mod accept;
mod capacity;
mod deaths;
mod limits;
mod loaded;
mod lobby;
mod local;

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::time::Instant;

use crate::config;
use crate::metrics::ListenerMetrics;
use crate::net::tls::{Certificates, ServerTls, TlsError};
use crate::net::upstream::Dialer;
use crate::proto::cause::{Reason, Rejection};
use crate::stream::Terms;

pub use accept::{Owner, accept};
use capacity::Use;
pub use capacity::{Capacity, Needs, Pair, raise_descriptors};
use deaths::Deaths;
pub use limits::Client;
use limits::Limiter;
use loaded::alpn;
pub use loaded::{Loaded, check};
pub use lobby::{Phase, Seat, evict, guests};
pub use local::Local;

/// How often the same complaint is logged at most.
const COMPLAIN_EVERY: Duration = Duration::from_secs(10);

/// What all workers share of one listener.
pub struct Listener {
    /// Settings for new streams; a reload replaces them.
    pub config: ArcSwap<config::Listener>,
    /// Certificates, for wss and tls.
    pub tls: Option<ServerTls>,
    /// The way to the app; a reload replaces it.
    pub dialer: ArcSwap<Dialer>,
    /// This listener's children of every family.
    pub metrics: Arc<ListenerMetrics>,
    /// Limits of open streams; a reload replaces them.
    pub terms: ArcSwap<Terms>,
    /// Failed dials are many when the app is down, and one line says it.
    pub dial_complaints: Throttle,
    accept_complaints: Throttle,
    deaths: Deaths,
    streams: AtomicUsize,
    limiter: Limiter,
    capacity: Arc<Capacity>,
    /// Openings are refused: another listener has its place, or none has.
    closed: AtomicBool,
    /// Its streams are drained, too.
    removed: AtomicBool,
}

/// Lets one log line through every ten seconds; the metric beside it counts them all.
#[derive(Debug, Default)]
pub struct Throttle(Mutex<Option<Instant>>);

impl Throttle {
    /// Whether the line may be written now.
    pub fn due(&self) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let due = last.is_none_or(|last| last.elapsed() >= COMPLAIN_EVERY);
        if due {
            *last = Some(Instant::now());
        }
        due
    }
}

impl Listener {
    /// A listener as configured; its certificates are read here.
    pub fn new(
        loaded: Loaded,
        spread: Duration,
        metrics: Arc<ListenerMetrics>,
        capacity: Arc<Capacity>,
    ) -> Result<Self, TlsError> {
        let Loaded { config, dialer } = loaded;
        let tls = config
            .tls
            .as_ref()
            .map(|tls| ServerTls::load(tls, alpn(&config)))
            .transpose()?;
        tell_lowered(&config, &capacity);
        Ok(Self {
            terms: ArcSwap::from_pointee(Terms::new(&config, spread)),
            config: ArcSwap::new(config),
            tls,
            dialer: ArcSwap::from_pointee(dialer),
            metrics,
            dial_complaints: Throttle::default(),
            accept_complaints: Throttle::default(),
            deaths: Deaths::new(),
            streams: AtomicUsize::new(0),
            limiter: Limiter::new(),
            capacity,
            closed: AtomicBool::new(false),
            removed: AtomicBool::new(false),
        })
    }

    /// Reads the certificates of new settings without putting them to use.
    pub fn prepare_tls(&self, config: &config::Listener) -> Result<Option<Certificates>, TlsError> {
        self.tls
            .as_ref()
            .zip(config.tls.as_ref())
            .map(|(tls, config)| tls.prepare(config))
            .transpose()
    }

    /// Puts new settings to use: the limits for open streams too, the rest for new ones.
    pub fn adopt(&self, loaded: Loaded, certificates: Option<Certificates>, spread: Duration) {
        if let Some((tls, certificates)) = self.tls.as_ref().zip(certificates) {
            tls.adopt(certificates);
        }
        let Loaded { config, dialer } = loaded;
        tell_lowered(&config, &self.capacity);
        self.terms.store(Arc::new(Terms::new(&config, spread)));
        self.config.store(config);
        self.dialer.store(Arc::new(dialer));
    }

    /// Streams that hold a permit: open, opening or with sockets still alive.
    pub fn streams(&self) -> usize {
        self.streams.load(Ordering::Relaxed)
    }

    /// Counts the end of a stream, which is out of the gauges. When many die of silence within a second, the log is told
    /// what is likelier than that all of them are at fault; they die all the same.
    pub fn ended(&self, reason: Reason) {
        let left = self.metrics.active.get().max(0) as u64;
        if let Some(burst) = self.deaths.count(reason, left) {
            burst.log(&self.config.load().name);
        }
    }

    /// Marks the listener as one that takes no openings any more: they are refused like those of a drain. Its streams
    /// stay.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    /// Marks the listener as taken out of the configuration: its streams are drained.
    pub fn remove(&self) {
        self.close();
        self.removed.store(true, Ordering::Relaxed);
    }

    /// Whether openings are refused since a reload.
    pub fn closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// Whether a reload took this listener out.
    pub fn removed(&self) -> bool {
        self.removed.load(Ordering::Relaxed)
    }

    /// `limits.streams`, or what of it fits the file descriptors of the process.
    pub fn streams_limit(&self) -> usize {
        let configured = self.config.load().limits.streams;
        configured.min(self.capacity.pairs())
    }

    /// Counts an opening of `client` against the rates: a WebSocket opening request or an accepted tcp or tls
    /// connection, whatever becomes of it.
    pub fn admit(&self, client: IpAddr) -> Result<(), Rejection> {
        let limits = &self.config.load().limits;
        if limits.opens_per_second.is_none() && limits.opens_per_second_per_ip.is_none() {
            return Ok(());
        }
        self.limiter.admit(Client::from(client), limits)
    }

    /// A place among `limits.streams` and among the streams of `client`, or the reason why there is none.
    pub fn permit(self: &Arc<Self>, client: IpAddr) -> Result<Permit, Rejection> {
        let limits = self.config.load().limits;
        let client = Client::from(client);
        if !self.capacity.take(Use::Stream) {
            return Err(Rejection::TooManyStreams);
        }
        let more = |held| (held < limits.streams).then_some(held + 1);
        let counted = self
            .streams
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        if counted.is_err() {
            self.capacity.give_back(Use::Stream);
            return Err(Rejection::TooManyStreams);
        }
        if let Err(rejection) = self.limiter.hold(client, &limits) {
            self.streams.fetch_sub(1, Ordering::Relaxed);
            self.capacity.give_back(Use::Stream);
            return Err(rejection);
        }
        Ok(Permit {
            listener: Arc::clone(self),
            client,
        })
    }

    /// Descriptors for an ordinary request: they are those that streams could have.
    pub fn request(&self) -> Option<Pair> {
        Capacity::pair(&self.capacity)
    }
}

fn tell_lowered(config: &config::Listener, capacity: &Capacity) {
    let (configured, streams) = (config.limits.streams, capacity.pairs());
    if configured > streams {
        tracing::warn!(
            listener = &*config.name,
            configured,
            streams,
            "limits.streams is lowered to what the hard limit of open files (ulimit -Hn) has room for"
        );
    }
}

/// A place among `limits.streams` and `limits.streams_per_ip`; dropping it gives it back.
pub struct Permit {
    listener: Arc<Listener>,
    client: Client,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.listener.limiter.release(self.client);
        self.listener.capacity.give_back(Use::Stream);
        self.listener.streams.fetch_sub(1, Ordering::Relaxed);
    }
}
