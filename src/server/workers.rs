//! The worker threads, seen from the control thread.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;

use indexmap::IndexMap;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use uuid::Uuid;

use super::{Shared, StartError, announce, cannot_bind};
use crate::listener::{self, Listener, Owner};
use crate::net::sockopt;
use crate::worker::{Command, Home, Post, Worker};

/// What a worker is told.
enum Message {
    /// Accept on this socket for its owner.
    Listen {
        socket: TcpListener,
        owner: watch::Receiver<Owner>,
    },
    /// A command for one of its streams.
    Stream {
        slot: usize,
        id: Uuid,
        command: Command,
    },
    /// Limits were replaced.
    PoliciesChanged,
    /// Give a sign of life.
    Turn,
    /// End, with every stream that is left.
    Stop,
}

/// A way to the streams, from any thread.
#[derive(Clone)]
pub(super) struct Handle {
    senders: Arc<[UnboundedSender<Message>]>,
}

impl Handle {
    /// Tells the stream `id` something; one that has ended does not hear it.
    pub(super) fn command(&self, home: Home, id: Uuid, command: Command) {
        let message = Message::Stream {
            slot: home.slot,
            id,
            command,
        };
        // A worker that is gone has no streams left.
        let _ = self.senders[home.worker].send(message);
    }
}

/// One listener while it accepts.
pub(super) struct Running {
    pub(super) listener: Arc<Listener>,
    /// URL of the bound address.
    pub(super) address: String,
    pub(super) door: Door,
}

/// The sockets of one address, one on each worker. They outlive a listener whose address another one gets: no
/// connection that waits in them is lost.
pub(super) struct Door {
    /// As configured: port 0 stands for one that the system chose.
    configured: SocketAddr,
    bound: SocketAddr,
    way_in: WayIn,
}

/// What a new address may overlap with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Beside {
    /// Whoever has it keeps it.
    Nothing,
    /// Sockets of ours that are about to go: `[::]:80` and `0.0.0.0:80`.
    OurOwn,
}

enum WayIn {
    /// Bound for a reload that may still fail.
    Shut(Vec<TcpListener>),
    Open(watch::Sender<Owner>),
}

/// All workers and what they listen on.
pub(super) struct Workers {
    handle: Handle,
    threads: Vec<JoinHandle<()>>,
    pub(super) listeners: IndexMap<String, Running>,
}

impl Workers {
    pub(super) fn start(count: usize, shared: &Arc<Shared>) -> Result<Self, StartError> {
        let mut senders = Vec::new();
        let mut threads = Vec::new();
        for index in 0..count {
            let (sender, receiver) = unbounded_channel();
            let shared = Arc::clone(shared);
            let thread = std::thread::Builder::new().name(format!("worker-{index}"));
            threads.push(thread.spawn(move || work(index, shared, receiver))?);
            senders.push(sender);
        }
        Ok(Self {
            handle: Handle {
                senders: senders.into(),
            },
            threads,
            listeners: IndexMap::new(),
        })
    }

    pub(super) fn count(&self) -> usize {
        self.threads.len()
    }

    pub(super) fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// The same way for the admin API.
    pub(super) fn post(&self) -> Post {
        let handle = self.handle();
        Post::new(move |home, id, command| handle.command(home, id, command))
    }

    /// Binds an address, on which nobody is served yet.
    pub(super) fn bind(
        &self,
        name: &str,
        configured: SocketAddr,
        beside: Beside,
    ) -> Result<Door, StartError> {
        let count = self.threads.len();
        let sockets = match sockopt::bind_group(configured, count) {
            Err(error) if beside == Beside::OurOwn && error.kind() == ErrorKind::AddrInUse => {
                sockopt::bind_group_beside(configured, count)
            }
            other => other,
        };
        let sockets = sockets.map_err(|source| cannot_bind(name, configured, source))?;
        let bound = sockets.first().map(TcpListener::local_addr).transpose()?;
        Ok(Door {
            configured,
            bound: bound.unwrap_or(configured),
            way_in: WayIn::Shut(sockets),
        })
    }

    /// Lets this listener serve whoever comes through `door`.
    pub(super) fn open(&mut self, listener: Arc<Listener>, door: Door) {
        let Door { bound, way_in, .. } = door;
        let config = listener.config.load_full();
        let address = format!("{}://{bound}", config.protocol.as_str());
        let mut announced = false;
        let owner = match way_in {
            WayIn::Open(owner) => {
                let before = owner.send_replace(Some(Arc::clone(&listener)));
                announced = before.is_some_and(|before| Arc::ptr_eq(&before, &listener));
                owner
            }
            WayIn::Shut(sockets) => {
                let (owner, told) = watch::channel(Some(Arc::clone(&listener)));
                for (sender, socket) in self.handle.senders.iter().zip(sockets) {
                    let owner = told.clone();
                    let _ = sender.send(Message::Listen { socket, owner });
                }
                owner
            }
        };
        if !announced {
            announce(&config.name, &address);
        }
        let door = Door {
            configured: config.listen,
            bound,
            way_in: WayIn::Open(owner),
        };
        let running = Running {
            listener,
            address,
            door,
        };
        self.listeners.insert(config.name.to_string(), running);
    }

    pub(super) fn policies_changed(&self) {
        self.tell_all(|| Message::PoliciesChanged);
    }

    pub(super) fn poke(&self) {
        self.tell_all(|| Message::Turn);
    }

    /// Ends the threads; what still lives on them ends with them.
    pub(super) fn stop(self) {
        // Others hold ways to the workers, too: that all of them are gone is nothing to wait for.
        self.tell_all(|| Message::Stop);
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("a worker panicked");
            }
        }
    }

    fn tell_all(&self, message: impl Fn() -> Message) {
        for sender in self.handle.senders.iter() {
            let _ = sender.send(message());
        }
    }
}

fn work(index: usize, shared: Arc<Shared>, mut messages: UnboundedReceiver<Message>) {
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(Default::default())
    {
        Ok(runtime) => runtime,
        Err(error) => return tracing::error!(worker = index, %error, "cannot start a worker"),
    };
    runtime.block_on(async move {
        let worker = Worker::new(index, shared);
        while let Some(message) = messages.recv().await {
            match message {
                Message::Listen { socket, owner } => listen(&worker, socket, owner),
                Message::Stream { slot, id, command } => worker.command(slot, id, command),
                Message::PoliciesChanged => worker.policies_changed(),
                Message::Turn => worker.shared.health.turned(index),
                Message::Stop => break,
            }
        }
    });
}

fn listen(worker: &Rc<Worker>, socket: TcpListener, owner: watch::Receiver<Owner>) {
    match tokio::net::TcpListener::from_std(socket) {
        Ok(socket) => {
            tokio::task::spawn_local(listener::accept(socket, Rc::clone(worker), owner));
        }
        Err(error) => tracing::error!(%error, "a worker cannot listen"),
    }
}

impl Door {
    /// What the sockets are bound to.
    pub(super) fn bound(&self) -> SocketAddr {
        self.bound
    }

    /// Whether a listener configured to listen on `address` listens here.
    pub(super) fn is_at(&self, address: SocketAddr) -> bool {
        self.configured == address || self.bound == address
    }

    /// Closes the sockets, behind those who wait in them already.
    pub(super) fn close(self) {
        match self.way_in {
            WayIn::Shut(_) => {}
            WayIn::Open(owner) => drop(owner.send_replace(None)),
        }
    }
}
