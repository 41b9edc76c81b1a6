//! Both ends of a relayed stream in the hands of a test.

use std::cell::Cell;
use std::future::Future;
use std::io::Write;
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::time::Instant;
use uuid::Uuid;

use crate::config::{self, ConfigSource, Flags};
use crate::health::Health;
use crate::hook::{HookMetrics, Hooks};
use crate::listener::{Capacity, Listener, Loaded, Local, Needs};
use crate::metrics::Metrics;
use crate::proto::cause::End;
use crate::proto::heart::Policy;
use crate::proto::upgrade::Agreed;
use crate::proto::websocket;
use crate::registry::record::ClosedRecord;
use crate::registry::{Entry, Identity, Opening};
use crate::server::Shared;
use crate::stream::live::Live;
use crate::stream::{Terms, identity, relay, scanners};
use crate::worker::{Command, Home, Worker};

pub(super) const NEEDS: Needs = Needs {
    workers: 1,
    listeners: 1,
    hooks: 0,
};

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

    fn config(&self) -> (Arc<config::Listener>, config::Config) {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let Self {
            protocol,
            heartbeat,
            keys,
            ..
        } = self;
        writeln!(
            file,
            "listeners: {{ main: {{ listen: '{protocol}://127.0.0.1:0', upstream: '{protocol}://127.0.0.1:1', \
             {keys} heartbeat: {heartbeat} }} }}"
        )
        .unwrap();
        let source = ConfigSource::new(Some(file.path().to_owned()), Flags::default());
        let config = source.load().unwrap_or_else(|error| panic!("{error}"));
        (Arc::clone(&config.listeners["main"]), config)
    }

    /// Opens the only stream of a worker.
    pub(super) fn open(self) -> Bench {
        self.stage().open()
    }

    /// Makes what streams need.
    pub(super) fn stage(self) -> Stage {
        let (listener, config) = self.config();
        let metrics = Arc::new(Metrics::new());
        let hook_metrics = HookMetrics::register(metrics.registry());
        let hooks = Hooks::start(
            &config.hooks,
            hook_metrics,
            &tokio::runtime::Handle::current(),
        )
        .unwrap();
        let shared = Shared::new(
            Arc::clone(&metrics),
            Arc::new(Health::new(1)),
            hooks,
            &config.drain,
            Capacity::new(1 << 20, NEEDS),
        );
        let loaded = Loaded::read(&listener).unwrap();
        let shared_listener = Listener::new(
            loaded,
            Duration::from_secs(10),
            metrics.listener("main"),
            Arc::clone(shared.capacity()),
        );
        let shared_listener = Arc::new(shared_listener.unwrap());
        let worker = Worker::new(0, shared);
        let local = worker.local(&shared_listener);
        Stage {
            setup: self,
            config: listener,
            worker,
            listener: shared_listener,
            local,
        }
    }
}

/// A worker with a listener, on which streams open.
pub(super) struct Stage {
    setup: Setup,
    config: Arc<config::Listener>,
    pub(super) worker: Rc<Worker>,
    listener: Arc<Listener>,
    local: Rc<Local>,
}

impl Stage {
    /// Opens a stream.
    pub(super) fn open(&self) -> Bench {
        let Self { setup, config, .. } = self;
        let (client, outer) = tokio::io::duplex(setup.pipe);
        let (app, inner) = tokio::io::duplex(setup.pipe);
        let id = Uuid::now_v7();
        let home = self.worker.settle(id);
        let entry = Entry::new(id, home, opening(config), Identity::default());
        let permit = self.listener.permit(Ipv4Addr::LOCALHOST.into()).unwrap();
        let (local, worker) = (Rc::clone(&self.local), Rc::clone(&self.worker));
        let live = Live::enter(entry, local, worker, permit);
        let (kind, scanners) = scanners(config, &Agreed::default());
        let ended = Rc::new(Cell::new(None));
        let mut relay = relay::Relay::new(outer, inner, scanners, kind, live);
        if identity::awaits_first_message(&config.identity, &Identity::default()) {
            relay = relay.awaiting_first_message();
        }
        let relay = relay.run(setup.ahead.map(Bytes::from_static));
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
            worker: Rc::clone(&self.worker),
            listener: Arc::clone(&self.listener),
            home,
            id,
            ended,
            began: Instant::now(),
            task,
        }
    }
}

pub(super) fn opening(listener: &config::Listener) -> Opening {
    Opening {
        listener: Arc::clone(&listener.name),
        protocol: listener.protocol.as_str(),
        client: ([192, 0, 2, 1], 1).into(),
        client_source: "socket",
        upstream: "127.0.0.1:1".into(),
        upstream_local: None,
        host: None,
        path: None,
        subprotocol: None,
        user_agent: None,
        at: SystemTime::now(),
        instant: Instant::now(),
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
        let spread = Duration::from_secs(10);
        self.listener
            .terms
            .store(Arc::new(Terms::of(policy, spread)));
        self.worker.policies_changed();
    }

    /// Seconds since the opening.
    pub(super) fn now(&self) -> f64 {
        self.began.elapsed().as_secs_f64()
    }
}

/// One end of the stream.
pub(super) struct Peer {
    pub(super) pipe: DuplexStream,
    end: End,
}

/// What a WebSocket peer read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Heard {
    Data(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>, String),
    Fin,
}

impl Peer {
    fn mask(&self) -> Option<[u8; 4]> {
        (self.end == End::Client).then_some([1, 2, 3, 4])
    }

    /// The bytes of one frame as this end sends it.
    pub(super) fn frame(&self, opcode: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        websocket::encode(opcode, payload, self.mask(), &mut frame);
        frame
    }

    /// A frame with FIN as given: the first or a middle fragment when not set.
    pub(super) fn fragment(&self, opcode: u8, payload: &[u8], fin: bool) -> Vec<u8> {
        let mut frame = self.frame(opcode, payload);
        if !fin {
            frame[0] &= 0x7f;
        }
        frame
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) {
        self.pipe.write_all(bytes).await.unwrap();
    }

    pub(super) async fn send_frame(&mut self, opcode: u8, payload: &[u8]) {
        let frame = self.frame(opcode, payload);
        self.send(&frame).await;
    }

    pub(super) async fn send_text(&mut self, text: &str) {
        self.send_frame(websocket::OPCODE_TEXT, text.as_bytes())
            .await;
    }

    pub(super) async fn send_close(&mut self, code: u16, text: &str) {
        let mut frame = Vec::new();
        websocket::encode_close(Some(code), text, self.mask(), &mut frame);
        self.send(&frame).await;
    }

    pub(super) async fn fin(&mut self) {
        self.pipe.shutdown().await.unwrap();
    }

    /// The next frame, unmasked, or the end. Frames are read exactly: nothing behind them is touched.
    pub(super) async fn hear(&mut self) -> Heard {
        let mut head = [0; 2];
        if self.pipe.read_exact(&mut head[..1]).await.is_err() {
            return Heard::Fin;
        }
        self.pipe.read_exact(&mut head[1..]).await.unwrap();
        let masked = head[1] & 0x80 != 0;
        assert_eq!(
            masked,
            self.end == End::Upstream,
            "frames to the app are masked, frames to a client are not"
        );
        let length = match head[1] & 0x7f {
            126 => u64::from(self.pipe.read_u16().await.unwrap()),
            127 => self.pipe.read_u64().await.unwrap(),
            short => u64::from(short),
        };
        let mut mask = [0; 4];
        if masked {
            self.pipe.read_exact(&mut mask).await.unwrap();
        }
        let mut payload = vec![0; length as usize];
        self.pipe.read_exact(&mut payload).await.unwrap();
        for (at, byte) in payload.iter_mut().enumerate() {
            *byte ^= mask[at % 4];
        }
        match head[0] & 0x0f {
            websocket::OPCODE_PING => Heard::Ping(payload),
            websocket::OPCODE_PONG => Heard::Pong(payload),
            websocket::OPCODE_CLOSE if payload.len() >= 2 => Heard::Close(
                Some(u16::from_be_bytes([payload[0], payload[1]])),
                String::from_utf8(payload[2..].to_vec()).unwrap(),
            ),
            websocket::OPCODE_CLOSE => Heard::Close(None, String::new()),
            _ => Heard::Data(payload),
        }
    }

    /// Everything up to FIN.
    pub(super) async fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        self.pipe.read_to_end(&mut rest).await.unwrap();
        rest
    }

    pub(super) async fn read(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.pipe.read_exact(&mut bytes).await.unwrap();
        bytes
    }
}
