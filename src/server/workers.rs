//! The worker threads, seen from the control thread.

use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use indexmap::IndexMap;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use uuid::Uuid;

use super::{Shared, StartError, announce, cannot_bind, reload};
use crate::config;
use crate::listener::{self, Listener, Local};
use crate::net::sockopt;
use crate::worker::{Command, Home, Post, Worker};

/// What a worker is told.
enum Message {
    /// Accept on this socket until `stop`.
    Listen {
        listener: Arc<Listener>,
        socket: TcpListener,
        stop: watch::Receiver<bool>,
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
    stop: watch::Sender<bool>,
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

    pub(super) fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// The same way for the admin API.
    pub(super) fn post(&self) -> Post {
        let handle = self.handle();
        Post::new(move |home, id, command| handle.command(home, id, command))
    }

    /// Binds a listener and lets every worker accept on it.
    pub(super) fn add(
        &mut self,
        config: &Arc<config::Listener>,
        spread: Duration,
        shared: &Shared,
    ) -> Result<(), StartError> {
        let listener = reload::load_listener(config, spread, shared)?;
        let sockets = sockopt::bind_group(config.listen, self.threads.len());
        let sockets = sockets.map_err(|source| cannot_bind(&config.name, config.listen, source))?;
        let address = sockets
            .first()
            .map(TcpListener::local_addr)
            .transpose()?
            .unwrap_or(config.listen);
        let address = format!("{}://{address}", config.protocol.as_str());
        let (stop, stopped) = watch::channel(false);
        for (sender, socket) in self.handle.senders.iter().zip(sockets) {
            let listener = Arc::clone(&listener);
            let _ = sender.send(Message::Listen {
                listener,
                socket,
                stop: stopped.clone(),
            });
        }
        announce(&config.name, &address);
        self.listeners.insert(
            config.name.to_string(),
            Running {
                listener,
                address,
                stop,
            },
        );
        Ok(())
    }

    /// Stops accepting; the streams stay until somebody closes them.
    pub(super) fn remove(&mut self, name: &str) -> Option<Arc<Listener>> {
        let Running { listener, stop, .. } = self.listeners.shift_remove(name)?;
        listener.remove();
        stop.send_replace(true);
        Some(listener)
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
                Message::Listen {
                    listener,
                    socket,
                    stop,
                } => listen(&worker, listener, socket, stop),
                Message::Stream { slot, id, command } => worker.command(slot, id, command),
                Message::PoliciesChanged => worker.policies_changed(),
                Message::Turn => worker.shared.health.turned(index),
                Message::Stop => break,
            }
        }
    });
}

fn listen(
    worker: &Rc<Worker>,
    listener: Arc<Listener>,
    socket: TcpListener,
    stop: watch::Receiver<bool>,
) {
    match tokio::net::TcpListener::from_std(socket) {
        Ok(socket) => {
            let local = Local::new(listener);
            worker.add_listener(Rc::clone(&local));
            tokio::task::spawn_local(listener::accept(socket, Rc::clone(worker), local, stop));
        }
        Err(error) => tracing::error!(%error, "a worker cannot listen"),
    }
}
