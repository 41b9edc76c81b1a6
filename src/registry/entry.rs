//! What the registry holds of one stream: fixed facts of the opening, figures that its worker stores and others read.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;
use uuid::Uuid;

use super::identity::{Identity, UidSource};
use super::record::{Both, ClientRecord, PingRecord, StreamRecord, UpstreamRecord};
use crate::config::Protocol;
use crate::net::upstream::Address;
use crate::proto::cause::{End, Reason};
use crate::worker::Home;

/// One open stream.
#[derive(Debug)]
pub struct Entry {
    /// UUIDv7.
    pub id: Uuid,
    /// Where its commands go.
    pub home: Home,
    /// What is fixed at the opening.
    pub opening: Opening,
    /// What changes.
    pub figures: Figures,
    identity: Mutex<Identity>,
}

/// The facts of an opening.
#[derive(Debug)]
pub struct Opening {
    /// Its listener's name.
    pub listener: Arc<str>,
    /// What its listener speaks with clients.
    pub protocol: Protocol,
    /// The client, as far as it is known.
    pub client: SocketAddr,
    /// Who says so.
    pub client_source: ClientSource,
    /// Where it was dialed.
    pub upstream: Address,
    /// What the app sees as its client.
    pub upstream_local: Option<SocketAddr>,
    /// Of the opening request.
    pub host: Option<Box<str>>,
    /// Of the opening request, without the query.
    pub path: Option<Box<str>>,
    /// The one that the app selected.
    pub subprotocol: Option<Box<str>>,
    /// Of the opening request.
    pub user_agent: Option<Box<str>>,
    /// When, for people.
    pub at: SystemTime,
    /// When, for durations.
    pub instant: Instant,
}

/// Who says where a client is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientSource {
    /// The other end of the socket.
    Socket,
    /// The header of a proxy before us.
    ProxyProtocol,
    /// A trusted proxy's `X-Forwarded-For`.
    Forwarded,
}

impl ClientSource {
    /// The word used in the API and in events.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Socket => "socket",
            Self::ProxyProtocol => "proxy_protocol",
            Self::Forwarded => "forwarded",
        }
    }
}

/// Figures of a stream, stored by its worker with relaxed stores: each is exact, together they may be one turn apart.
#[derive(Debug, Default)]
pub struct Figures {
    /// Nanoseconds after the opening, plus one; 0: nothing yet.
    last: [AtomicU64; 2],
    bytes: [AtomicU64; 2],
    messages: [AtomicU64; 2],
    pings_sent: AtomicU64,
    pings_answered: AtomicU64,
    /// Microseconds plus one; 0: none yet.
    rtt: AtomicU64,
    /// Nanoseconds after the opening, plus one; 0: no deadline.
    deadline: AtomicU64,
    deadline_reason: AtomicU8,
    /// 1: `deadline` counts from the client's last byte instead.
    deadline_moves: AtomicU8,
    state: AtomicU8,
}

/// The three states the API knows, as stored.
const STATES: [&str; 3] = ["open", "half_closed", "overdue"];

fn add(cell: &AtomicU64, more: u64) {
    // One writer, the worker: a plain load and store instead of a locked add.
    cell.store(cell.load(Ordering::Relaxed) + more, Ordering::Relaxed);
}

impl Figures {
    /// Counts what was read from `from` at `at` after the opening.
    pub fn heard(&self, from: End, at: Duration, bytes: u64, messages: u64) {
        self.last[from as usize].store(at.as_nanos() as u64 + 1, Ordering::Relaxed);
        add(&self.bytes[from as usize], bytes);
        if messages > 0 {
            add(&self.messages[from as usize], messages);
        }
    }

    /// Counts heartbeats sent to the client.
    pub fn pinged(&self, count: u64) {
        add(&self.pings_sent, count);
    }

    /// Counts a heartbeat that the client answered.
    pub fn answered(&self, rtt: Duration) {
        add(&self.pings_answered, 1);
        self.rtt
            .store(rtt.as_micros() as u64 + 1, Ordering::Relaxed);
    }

    /// Stores the deadline, in time since the opening. `simple`: an idle deadline goes on to move with the client's last
    /// byte.
    pub fn set_deadline(&self, deadline: Option<(Duration, Reason)>, simple: bool) {
        let moves = simple && deadline.is_some_and(|(_, reason)| reason == Reason::ClientIdle);
        let last = if moves {
            self.last[0].load(Ordering::Relaxed).saturating_sub(1)
        } else {
            0
        };
        let nanos = deadline.map_or(0, |(at, _)| (at.as_nanos() as u64).saturating_sub(last) + 1);
        self.deadline_moves
            .store(u8::from(moves), Ordering::Relaxed);
        self.deadline.store(nanos, Ordering::Relaxed);
        if let Some((_, reason)) = deadline {
            self.deadline_reason.store(reason as u8, Ordering::Relaxed);
        }
    }

    fn deadline(&self) -> Option<Duration> {
        let nanos = self.deadline.load(Ordering::Relaxed).checked_sub(1)?;
        let last = match self.deadline_moves.load(Ordering::Relaxed) {
            0 => 0,
            _ => self.last[0].load(Ordering::Relaxed).saturating_sub(1),
        };
        Some(Duration::from_nanos(nanos + last))
    }

    /// One side has sent FIN.
    pub fn set_half_closed(&self) {
        self.state.store(1, Ordering::Relaxed);
    }

    /// A limit ran out (or was moved again) under `mode: observe`.
    pub fn set_overdue(&self, overdue: bool) {
        self.state
            .store(if overdue { 2 } else { 0 }, Ordering::Relaxed);
    }

    fn both(cells: &[AtomicU64; 2]) -> Both {
        Both {
            client: Some(cells[0].load(Ordering::Relaxed)),
            upstream: Some(cells[1].load(Ordering::Relaxed)),
        }
    }

    /// How long ago, at `now` after the opening, something was read from `from`; the opening counts for the client.
    pub fn silence(&self, from: End, now: Duration) -> Duration {
        let last = self.last[from as usize].load(Ordering::Relaxed);
        now.saturating_sub(Duration::from_nanos(last.saturating_sub(1)))
    }
}

impl Entry {
    /// An entry as of the opening.
    pub fn new(id: Uuid, home: Home, opening: Opening, identity: Identity) -> Arc<Self> {
        Arc::new(Self {
            id,
            home,
            opening,
            figures: Figures::default(),
            identity: Mutex::new(identity),
        })
    }

    /// Who the client is, as bound now.
    pub fn identity(&self) -> Identity {
        self.identity
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Looks at who the client is without copying it.
    pub(super) fn with_identity<T>(&self, look: impl FnOnce(&Identity) -> T) -> T {
        look(&self.identity.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Replaces who the client is; only the registry does, together with its indexes.
    pub(super) fn set_identity(&self, identity: Identity) {
        *self.identity.lock().unwrap_or_else(PoisonError::into_inner) = identity;
    }

    /// Time since the opening.
    pub fn age(&self) -> Duration {
        self.opening.instant.elapsed()
    }

    /// How long the stream has left if nothing more is heard; `None` without a deadline.
    pub fn left(&self) -> Option<Duration> {
        Some(self.figures.deadline()?.saturating_sub(self.age()))
    }

    /// The stream as it is now.
    pub fn record(&self) -> StreamRecord {
        let (opening, figures, identity) = (&self.opening, &self.figures, self.identity());
        let time =
            |after: Duration| humantime::format_rfc3339_millis(opening.at + after).to_string();
        let stamp = |cell: &AtomicU64| match cell.load(Ordering::Relaxed) {
            0 => None,
            nanos => Some(Duration::from_nanos(nanos - 1)),
        };
        let owned = |text: &Option<Box<str>>| text.as_deref().map(str::to_owned);
        let deadline = figures.deadline();
        let rtt = figures.rtt.load(Ordering::Relaxed);
        StreamRecord {
            id: self.id,
            listener: Arc::clone(&opening.listener),
            protocol: opening.protocol.as_str(),
            state: STATES[usize::from(figures.state.load(Ordering::Relaxed))],
            uid: owned(&identity.uid),
            uid_source: identity.uid_source.map(UidSource::as_str),
            tags: identity.tags.iter().map(|tag| tag.to_string()).collect(),
            client: ClientRecord {
                address: opening.client,
                source: opening.client_source.as_str(),
            },
            upstream: UpstreamRecord {
                address: opening.upstream.to_string(),
                local_address: opening.upstream_local,
            },
            host: owned(&opening.host),
            path: owned(&opening.path),
            subprotocol: owned(&opening.subprotocol),
            user_agent: owned(&opening.user_agent),
            opened_at: time(Duration::ZERO),
            last_client_at: stamp(&figures.last[0]).map(time),
            last_upstream_at: stamp(&figures.last[1]).map(time),
            idle_ms: Some(figures.silence(End::Client, self.age()).as_millis() as u64),
            deadline_at: deadline.map(time),
            deadline_reason: deadline.map(|_| {
                let place = usize::from(figures.deadline_reason.load(Ordering::Relaxed));
                Reason::ALL[place].as_str()
            }),
            bytes: Figures::both(&figures.bytes),
            messages: Figures::both(&figures.messages),
            pings: PingRecord {
                sent: Some(figures.pings_sent.load(Ordering::Relaxed)),
                answered: Some(figures.pings_answered.load(Ordering::Relaxed)),
                rtt_ms: (rtt > 0).then(|| (rtt - 1) as f64 / 1000.0),
            },
        }
    }
}
