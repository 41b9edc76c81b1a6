//! What streams stand on: a worker with one listener.

use std::io::Write;
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tempfile::NamedTempFile;
use tokio::runtime::Handle;
use tokio::time::Instant;
use uuid::Uuid;

use crate::config::{self, Config, ConfigSource, Flags};
use crate::health::Health;
use crate::hook::{HookError, HookMetrics, Hooks};
use crate::listener::{Capacity, Listener, Loaded, Local, Needs};
use crate::metrics::Metrics;
use crate::net::leg::Io;
use crate::net::upstream::Address;
use crate::proto::upgrade::Agreed;
use crate::registry::{ClientSource, Entry, Identity, Opening};
use crate::server::Shared;
use crate::stream::live::Live;
use crate::stream::relay::Relay;
use crate::stream::{identity, scanners};
use crate::worker::{Home, Worker};

/// How long `drain.spread` is here.
pub(super) const SPREAD: Duration = Duration::from_secs(10);

const NEEDS: Needs = Needs {
    workers: 1,
    listeners: 1,
    hooks: 0,
};

/// The configuration that a file with this text makes.
pub(super) fn configured(text: &str) -> Config {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    let source = ConfigSource::new(Some(file.path().to_owned()), Flags::default());
    let config = source.load();
    config.unwrap_or_else(|error| panic!("{error}\n{text}"))
}

pub(super) struct Ground {
    pub(super) config: Arc<config::Listener>,
    pub(super) worker: Rc<Worker>,
    pub(super) listener: Arc<Listener>,
    local: Rc<Local>,
}

impl Ground {
    /// Makes what streams of the listener `main` need; `hooks` starts the hooks.
    pub(super) fn new(
        config: &Config,
        hooks: impl FnOnce(HookMetrics, &Handle) -> Result<Hooks, HookError>,
    ) -> Self {
        let listener = Arc::clone(&config.listeners["main"]);
        let metrics = Arc::new(Metrics::new());
        let hook_metrics = HookMetrics::register(metrics.registry());
        let hooks = hooks(hook_metrics, &Handle::current()).unwrap();
        let shared = Shared::new(
            Arc::clone(&metrics),
            Arc::new(Health::new(1)),
            hooks,
            &config.drain,
            Capacity::new(1 << 20, NEEDS),
        );
        let loaded = Loaded::read(&listener).unwrap();
        let capacity = Arc::clone(shared.capacity());
        let running = Listener::new(loaded, SPREAD, metrics.listener("main"), capacity);
        let running = Arc::new(running.unwrap());
        let worker = Worker::new(0, shared);
        Self {
            config: listener,
            local: worker.local(&running),
            worker,
            listener: running,
        }
    }

    /// Enters a stream of nobody in particular.
    pub(super) fn enter(&self) -> (Uuid, Home, Live) {
        let id = Uuid::now_v7();
        let home = self.worker.settle(id);
        let entry = Entry::new(id, home, opening(&self.config), Identity::default());
        let permit = self.listener.permit(Ipv4Addr::LOCALHOST.into()).unwrap();
        let (local, worker) = (Rc::clone(&self.local), Rc::clone(&self.worker));
        (id, home, Live::enter(entry, local, worker, permit))
    }

    /// The relay of a stream that has entered, as `Attempt::relay` makes it.
    pub(super) fn relay<C: Io, U: Io>(&self, client: C, upstream: U, live: Live) -> Relay<C, U> {
        let (kind, scanners) = scanners(&self.config, &Agreed::default());
        let relay = Relay::new(client, upstream, scanners, kind, live);
        if identity::awaits_first_message(&self.config.identity, &Identity::default()) {
            return relay.awaiting_first_message();
        }
        relay
    }
}

fn opening(listener: &config::Listener) -> Opening {
    Opening {
        listener: Arc::clone(&listener.name),
        protocol: listener.protocol,
        client: ([192, 0, 2, 1], 1).into(),
        client_source: ClientSource::Socket,
        upstream: Address::Ip(([127, 0, 0, 1], 1).into()),
        upstream_local: None,
        host: None,
        path: None,
        subprotocol: None,
        user_agent: None,
        at: SystemTime::now(),
        instant: Instant::now(),
    }
}
