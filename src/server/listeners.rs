//! What a reload makes of the listeners: all that can fail first, then the change.
//!
//! A listener that keeps its name and its protocol stays the same one, wherever it listens: its streams, its counts and
//! its session tickets go on. Sockets belong to addresses and not to listeners, so that an address that goes from one
//! listener to another is never closed in between.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;

use super::Shared;
use super::reload::{ApplyError, load_listener, publish_certificates};
use super::workers::{Beside, Door, Running, Workers};
use crate::config::{self, Config};
use crate::listener::{Listener, Loaded};
use crate::net::tls::Certificates;

/// A listener of the new configuration.
pub(super) struct Planned {
    change: Change,
    place: Place,
}

enum Change {
    /// New settings for one that runs.
    Adopt {
        listener: Arc<Listener>,
        loaded: Box<Loaded>,
        certificates: Option<Certificates>,
    },
    /// Another one, though there may be one of its name: what speaks another protocol cannot go on as the same.
    Begin(Arc<Listener>),
}

/// Where it will listen.
enum Place {
    /// On sockets that are there.
    Bound(SocketAddr),
    /// On new ones.
    New(Door),
}

/// Reads what every listener needs and binds what is not bound: nothing of it is in use if this fails.
pub(super) fn plan(
    config: &Config,
    workers: &Workers,
    shared: &Shared,
) -> Result<Vec<Planned>, ApplyError> {
    let mut claimed = HashSet::new();
    let mut plan = Vec::new();
    for (name, new) in &config.listeners {
        let running = workers.listeners.get(name);
        let change = change(running, new, config, shared)?;
        let own = running.filter(|running| running.door.is_at(new.listen));
        let given_up = || {
            let mut others = workers.listeners.iter();
            others.find(|(name, running)| {
                running.door.is_at(new.listen)
                    && !claimed.contains(&running.door.bound())
                    && !stays(name, running, config)
            })
        };
        let there = own.or_else(|| given_up().map(|(_, running)| running));
        let place = match there.map(|running| running.door.bound()) {
            Some(bound) => {
                claimed.insert(bound);
                Place::Bound(bound)
            }
            None => {
                let overlaps = workers.listeners.iter().any(|(name, running)| {
                    running.door.bound().port() == new.listen.port()
                        && !stays(name, running, config)
                });
                let beside = match overlaps {
                    true => Beside::OurOwn,
                    false => Beside::Nothing,
                };
                let door = workers.bind(name, new.listen, beside);
                Place::New(door.map_err(|error| ApplyError::Bind(error.to_string()))?)
            }
        };
        plan.push(Planned { change, place });
    }
    Ok(plan)
}

/// Whether the listener `name` will be where it is.
fn stays(name: &str, running: &Running, config: &Config) -> bool {
    let new = config.listeners.get(name);
    new.is_some_and(|new| running.door.is_at(new.listen))
}

fn change(
    running: Option<&Running>,
    new: &Arc<config::Listener>,
    config: &Config,
    shared: &Shared,
) -> Result<Change, ApplyError> {
    let same = running.map(|running| &running.listener);
    let same = same.filter(|listener| listener.config.load().protocol == new.protocol);
    let Some(listener) = same else {
        return load_listener(new, config.drain.spread, shared).map(Change::Begin);
    };
    let tls = |source| ApplyError::Tls {
        listener: new.name.to_string(),
        source,
    };
    Ok(Change::Adopt {
        listener: Arc::clone(listener),
        loaded: Box::new(Loaded::read(new).map_err(tls)?),
        certificates: listener.prepare_tls(new).map_err(tls)?,
    })
}

/// Puts the plan to use; returns the listeners that were taken out, whose streams are still open.
pub(super) fn carry_out(
    plan: Vec<Planned>,
    config: &Config,
    workers: &mut Workers,
    shared: &Shared,
) -> Vec<Arc<Listener>> {
    let mut doors = Vec::new();
    let mut before = Vec::new();
    for (name, Running { listener, door, .. }) in std::mem::take(&mut workers.listeners) {
        doors.push(door);
        before.push((name, listener));
    }
    for Planned { change, place } in plan {
        let door = match place {
            Place::New(door) => Some(door),
            Place::Bound(bound) => {
                let at = doors.iter().position(|door| door.bound() == bound);
                at.map(|at| doors.swap_remove(at))
            }
        };
        let listener = match change {
            Change::Adopt {
                listener,
                loaded,
                certificates,
            } => {
                listener.adopt(*loaded, certificates, config.drain.spread);
                listener
            }
            Change::Begin(listener) => listener,
        };
        publish_certificates(&listener, shared);
        if let Some(door) = door {
            workers.open(listener, door);
        }
    }
    for door in doors {
        door.close();
    }
    let mut removed = Vec::new();
    for (name, listener) in before {
        match workers.listeners.get(&name) {
            Some(running) if Arc::ptr_eq(&running.listener, &listener) => {}
            Some(_) => listener.close(),
            None => {
                listener.remove();
                removed.push(listener);
            }
        }
    }
    removed
}
