//! The loop that takes clients in, and what it does when it cannot.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::{Client, Listener, Local, Seat, lobby};
use crate::net::sockopt;
use crate::proto::cause::Rejection;
use crate::stream;
use crate::worker::Worker;

/// The pause after an accept that failed for want of a resource (EMFILE, ENFILE, ENOMEM): long enough not to spin, short
/// enough to go on as soon as a stream ends.
const BACK_OFF: Duration = Duration::from_millis(50);

/// Whose the connections of a group of sockets are; a reload hands them from one listener to another. `None`: nobody's any more,
/// and the sockets are closed.
pub type Owner = Option<Arc<Listener>>;

/// Accepts for the owner until there is none; then takes what is queued already, so that closing the socket resets
/// nobody.
pub async fn accept(socket: TcpListener, worker: Rc<Worker>, mut owner: watch::Receiver<Owner>) {
    let mut spare = Spare::new();
    let first = owner.borrow_and_update().clone();
    let Some(mut local) = first.map(|listener| worker.local(&listener)) else {
        return;
    };
    loop {
        let accepted = tokio::select! {
            accepted = socket.accept() => Some(accepted),
            changed = owner.changed() => match changed {
                Ok(()) => None,
                Err(_) => return,
            },
        };
        // Also in front of what was accepted: who connects after a reload was answered is served by its listener.
        let now = owner.borrow_and_update().clone();
        if let Some(listener) = &now
            && !Arc::ptr_eq(listener, &local.shared)
        {
            local = worker.local(listener);
        }
        match accepted {
            None => {}
            Some(Ok((tcp, address))) => begin(&worker, &local, tcp, address).await,
            Some(Err(error)) if is_of_one_connection(&error) => {}
            Some(Err(error)) => {
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
        if now.is_none() {
            break;
        }
    }
    while let Some((tcp, address)) = accept_now(&socket) {
        begin(&worker, &local, tcp, address).await;
    }
}

fn accept_now(socket: &TcpListener) -> Option<(TcpStream, SocketAddr)> {
    let mut context = Context::from_waker(Waker::noop());
    match socket.poll_accept(&mut context) {
        Poll::Ready(accepted) => accepted.ok(),
        Poll::Pending => None,
    }
}

async fn begin(worker: &Rc<Worker>, local: &Rc<Local>, tcp: TcpStream, address: SocketAddr) {
    local.shared.metrics.accepted.inc();
    let client = itself(local, address);
    if worker.make_room(client) {
        // A burst would else take all descriptors before those of the ended are given back.
        tokio::task::yield_now().await;
    }
    let seat = Seat::new(Rc::clone(local), client);
    let number = seat.number();
    let serving = stream::serve(Rc::clone(worker), Rc::clone(local), seat, tcp, address);
    let task = tokio::task::spawn_local(serving);
    lobby::bind(local, number, task.abort_handle());
}

/// The client that a connection comes from, if it comes from no proxy, behind which anybody may be.
fn itself(local: &Local, address: SocketAddr) -> Option<Client> {
    let ip = sockopt::canonical(address).ip();
    let config = local.shared.config.load();
    let mut proxies = config.accept_proxy.iter().chain(&config.trusted_proxies);
    (!proxies.any(|network| network.contains(&ip))).then(|| Client::from(ip))
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
