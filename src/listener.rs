//! One listening socket per worker: accept, permit, back off.

mod capacity;
mod limits;
mod lobby;

use std::cell::Cell;
use std::fs::File;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::config::{self, Protocol};
use crate::metrics::ListenerMetrics;
use crate::net::tls::{Alpn, Certificates, ServerTls, TlsError};
use crate::net::upstream::Dialer;
use crate::proto::cause::{End, Rejection};
use crate::stream::{self, Terms};
use crate::worker::Worker;

pub use capacity::{Capacity, Needs, Pair, raise_descriptors};
use limits::{Client, Limiter};
pub use lobby::{Phase, Seat, evict, guests};

/// The pause after an accept that failed for want of a resource (EMFILE, ENFILE, ENOMEM): long enough not to spin, short
/// enough to go on as soon as a stream ends.
const BACK_OFF: Duration = Duration::from_millis(50);

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
    streams: AtomicUsize,
    limiter: Limiter,
    capacity: Arc<Capacity>,
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

/// What a listener needs of files and of its configuration, read and checked: a reload makes all of it before it puts
/// any of it to use.
pub struct Loaded {
    config: Arc<config::Listener>,
    dialer: Dialer,
}

impl Loaded {
    /// Reads the files for the way to the app.
    pub fn read(config: &Arc<config::Listener>) -> Result<Self, TlsError> {
        let user_timeout = stream::user_timeout(&config.heartbeat);
        let dialer = Dialer::new(
            &config.upstream,
            alpn(config),
            config.connect_timeout,
            user_timeout,
        )?;
        Ok(Self {
            config: Arc::clone(config),
            dialer,
        })
    }
}

/// Reads every file of a listener and forgets it.
pub fn check(config: &config::Listener) -> Result<(), TlsError> {
    let tls = config
        .tls
        .as_ref()
        .map(|tls| ServerTls::load(tls, alpn(config)));
    tls.transpose()?;
    Dialer::new(&config.upstream, alpn(config), config.connect_timeout, None).map(drop)
}

fn alpn(config: &config::Listener) -> Alpn {
    match config.protocol {
        Protocol::Ws | Protocol::Wss => Alpn::Http11,
        Protocol::Tcp | Protocol::Tls => Alpn::None,
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
            streams: AtomicUsize::new(0),
            limiter: Limiter::new(),
            capacity,
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

    /// Marks the listener as taken out of the configuration: its openings are refused like those of a drain.
    pub fn remove(&self) {
        self.removed.store(true, Ordering::Relaxed);
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
        let pair = self.capacity.stream().ok_or(Rejection::TooManyStreams)?;
        self.streams
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| {
                (held < limits.streams).then_some(held + 1)
            })
            .map_err(|_| Rejection::TooManyStreams)?;
        let client = Client::from(client);
        if let Err(rejection) = self.limiter.hold(client, &limits) {
            self.streams.fetch_sub(1, Ordering::Relaxed);
            return Err(rejection);
        }
        Ok(Permit {
            listener: Arc::clone(self),
            client,
            _pair: pair,
        })
    }

    /// Descriptors for an ordinary request: they are those that streams could have.
    pub fn request(&self) -> Option<Pair> {
        self.capacity.request()
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
    _pair: Pair,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.listener.limiter.release(self.client);
        self.listener.streams.fetch_sub(1, Ordering::Relaxed);
    }
}

/// One worker's side of a listener: counts of the data path in plain cells, moved into the metrics by the worker's tick.
pub struct Local {
    /// The part that all workers share.
    pub shared: Arc<Listener>,
    bytes: [Cell<u64>; 2],
    messages: [Cell<u64>; 2],
    lobby: lobby::Lobby,
}

impl Local {
    /// Empty tallies for `shared`.
    pub fn new(shared: Arc<Listener>) -> Rc<Self> {
        Rc::new(Self {
            shared,
            bytes: Default::default(),
            messages: Default::default(),
            lobby: lobby::Lobby::default(),
        })
    }

    /// Counts what one turn of a stream read from `from`.
    pub fn count(&self, from: End, bytes: u64, messages: u64) {
        let (byte_cell, message_cell) = (&self.bytes[from as usize], &self.messages[from as usize]);
        byte_cell.set(byte_cell.get() + bytes);
        message_cell.set(message_cell.get() + messages);
    }

    /// Moves the counts into the metrics.
    pub fn publish(&self) {
        for from in End::BOTH {
            self.shared
                .metrics
                .bytes(from)
                .inc_by(self.bytes[from as usize].take());
            self.shared
                .metrics
                .messages(from)
                .inc_by(self.messages[from as usize].take());
        }
    }
}

/// Accepts until `stop` changes; then takes what is queued already, so that closing the socket resets nobody.
pub async fn accept(
    socket: TcpListener,
    worker: Rc<Worker>,
    local: Rc<Local>,
    mut stop: watch::Receiver<bool>,
) {
    let mut spare = Spare::new();
    loop {
        let accepted = tokio::select! {
            accepted = socket.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        match accepted {
            Ok((tcp, address)) => begin(&worker, &local, tcp, address),
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                if local.shared.accept_complaints.due() {
                    let listener = &*local.shared.config.load().name;
                    tracing::error!(listener, %error, "cannot accept; raise the limit of open files or lower limits.streams");
                }
                if !worker.evict_guest() {
                    spare.refuse(&socket, &local);
                }
                tokio::time::sleep(BACK_OFF).await;
            }
        }
    }
    while let Some((tcp, address)) = accept_now(&socket) {
        begin(&worker, &local, tcp, address);
    }
}

fn accept_now(socket: &TcpListener) -> Option<(TcpStream, SocketAddr)> {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match socket.poll_accept(&mut context) {
        std::task::Poll::Ready(accepted) => accepted.ok(),
        std::task::Poll::Pending => None,
    }
}

fn begin(worker: &Rc<Worker>, local: &Rc<Local>, tcp: TcpStream, address: SocketAddr) {
    local.shared.metrics.accepted.inc();
    worker.make_room();
    let seat = Seat::new(Rc::clone(local));
    let number = seat.number();
    let serving = stream::serve(Rc::clone(worker), Rc::clone(local), seat, tcp, address);
    let task = tokio::task::spawn_local(serving);
    lobby::bind(local, number, task.abort_handle());
}

/// A descriptor kept for the moment when none is left: given up, it lets us take connections off the queue and close
/// them, so that clients learn at once what they would else wait for in vain.
struct Spare(Option<File>);

impl Spare {
    /// The most connections refused in one go.
    const BATCH: usize = 64;

    fn new() -> Self {
        Self(File::open("/dev/null").ok())
    }

    fn refuse(&mut self, socket: &TcpListener, local: &Local) {
        if self.0.take().is_some() {
            for _ in 0..Self::BATCH {
                let Some(_closed_at_once) = accept_now(socket) else {
                    break;
                };
                local.shared.metrics.accepted.inc();
                let rejected = local.shared.metrics.rejected(Rejection::TooManyStreams);
                rejected.inc();
            }
        }
        *self = Self::new();
    }
}

/// accept(2) passes on errors of the connection it would have returned; they say nothing about the listener.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
    )
}
