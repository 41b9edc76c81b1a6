//! Both ends of a relayed stream in the hands of a test.

mod peer;

use std::cell::Cell;
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use uuid::Uuid;

use super::ground::{Ground, SPREAD, configured};
use crate::config::Config;
use crate::hook::Hooks;
use crate::listener::Listener;
use crate::proto::cause::End;
use crate::proto::heart::Policy;
use crate::registry::record::ClosedRecord;
use crate::stream::Terms;
use crate::worker::{Command, Home, Worker};
pub(super) use peer::{Heard, Peer};

/// Runs a test in a worker's runtime with paused time: hours pass at once, and to the millisecond.
pub(super) fn in_virtual_time<F: Future<Output = ()>>(test: F) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build_local(Default::default());
    runtime.unwrap().block_on(test);
}

/// A relayed stream.
pub(super) struct Bench {
    pub(super) client: Peer,
    pub(super) app: Peer,
    pub(super) worker: Rc<Worker>,
    listener: Arc<Listener>,
    home: Home,
    pub(super) id: Uuid,
    ended: Rc<Cell<Option<Instant>>>,
    began: Instant,
    task: tokio::task::JoinHandle<()>,
}

/// What a test lays down about a stream.
pub(super) struct Setup {
    pub(super) protocol: &'static str,
    /// YAML of `heartbeat`, in flow style.
    pub(super) heartbeat: &'static str,
    /// Further keys of the listener.
    pub(super) keys: &'static str,
    /// Bytes that fit into each pipe.
    pub(super) pipe: usize,
    pub(super) ahead: [&'static [u8]; 2],
}

impl Setup {
    pub(super) fn websocket(heartbeat: &'static str) -> Self {
        Self {
            protocol: "ws",
            heartbeat,
            keys: "",
            pipe: 1024,
            ahead: [b"", b""],
        }
    }

    pub(super) fn tcp(heartbeat: &'static str) -> Self {
        Self {
            protocol: "tcp",
            ..Self::websocket(heartbeat)
        }
    }

    fn config(&self) -> Config {
        let Self {
            protocol,
            heartbeat,
            keys,
            ..
        } = self;
        configured(&format!(
            "listeners: {{ main: {{ listen: '{protocol}://127.0.0.1:0', upstream: '{protocol}://127.0.0.1:1', \
             {keys} heartbeat: {heartbeat} }} }}"
        ))
    }

    /// Opens the only stream of a worker.
    pub(super) fn open(self) -> Bench {
        self.stage().open()
    }

    /// Makes what streams need.
    pub(super) fn stage(self) -> Stage {
        let config = self.config();
        let ground = Ground::new(&config, |metrics, runtime| {
            Hooks::start(&config.hooks, metrics, runtime)
        });
        Stage {
            setup: self,
            ground,
        }
    }
}

/// A worker with a listener, on which streams open.
pub(super) struct Stage {
    setup: Setup,
    pub(super) ground: Ground,
}

impl Stage {
    /// Opens a stream.
    pub(super) fn open(&self) -> Bench {
        let Self { setup, ground } = self;
        let (client, outer) = tokio::io::duplex(setup.pipe);
        let (app, inner) = tokio::io::duplex(setup.pipe);
        let (id, home, live) = ground.enter();
        let relay = ground.relay(outer, inner, live);
        let relay = relay.run(setup.ahead.map(Bytes::from_static));
        let ended = Rc::new(Cell::new(None));
        let note = Rc::clone(&ended);
        let task = tokio::task::spawn_local(async move {
            relay.await;
            note.set(Some(Instant::now()));
        });
        Bench {
            client: Peer {
                pipe: client,
                end: End::Client,
            },
            app: Peer {
                pipe: app,
                end: End::Upstream,
            },
            worker: Rc::clone(&ground.worker),
            listener: Arc::clone(&ground.listener),
            home,
            id,
            ended,
            began: Instant::now(),
            task,
        }
    }
}

impl Bench {
    /// The closing record, as soon as there is one, and when that was, in seconds after the opening.
    pub(super) async fn closed(&self) -> (Arc<ClosedRecord>, f64) {
        loop {
            if let Some(ended) = self.worker.shared.registry.closed().pop() {
                let record = Arc::clone(&ended.record);
                let after = record.duration_ms as f64 / 1000.0;
                return (record, after);
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// The reason of the end, for tests that look at nothing else.
    pub(super) async fn reason(&self) -> &'static str {
        self.closed().await.0.reason
    }

    /// Waits until the relay has ended and given everything back; returns the seconds since the opening.
    pub(super) async fn ended(&self) -> f64 {
        while self.ended.get().is_none() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(self.worker.streams(), 0, "the slot is free again");
        assert_eq!(self.listener.streams(), 0, "the permit is back");
        let metrics = &self.listener.metrics;
        assert_eq!(
            (metrics.active.get(), metrics.closing.get()),
            (0, 0),
            "no gauge is left behind"
        );
        self.ended
            .get()
            .unwrap()
            .duration_since(self.began)
            .as_secs_f64()
    }

    /// Who the client is, and how that is known.
    pub(super) fn uid(&self) -> Option<(String, &'static str)> {
        let entry = self.worker.shared.registry.get(self.id)?;
        let identity = entry.identity();
        Some((identity.uid?.into(), identity.uid_source?.as_str()))
    }

    pub(super) fn is_open(&self) -> bool {
        !self.worker.shared.registry.is_empty()
    }

    pub(super) fn command(&self, command: Command) {
        self.worker.command(self.home.slot, self.id, command);
    }

    pub(super) fn listener(&self) -> &Listener {
        &self.listener
    }

    /// Drops the relay in the middle of everything, as a panic in it would.
    pub(super) fn abort(&self) {
        self.task.abort();
    }

    /// What a reload does.
    pub(super) fn replace_policy(&self, policy: Policy) {
        let terms = Terms::of(policy, SPREAD);
        self.listener.terms.store(Arc::new(terms));
        self.worker.policies_changed();
    }

    /// Seconds since the opening.
    pub(super) fn now(&self) -> f64 {
        self.began.elapsed().as_secs_f64()
    }
}
