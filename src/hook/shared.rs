//! What the intake, the log and the tasks of the hooks have in common: who is configured, and who wants what.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use indexmap::IndexMap;
use tokio::runtime::Handle;
use tokio::sync::Notify;

use super::HookError;
use super::clock::Clock;
use super::deliver::{Delivery, Offer};
use super::dispatch::LogLine;
use super::endpoint::Endpoint;
use super::message::Message;
use super::metrics::HookMetrics;
use super::queue::Rules;
use crate::config::{self, EventKind};

/// What the hooks of a process share.
pub(super) struct Shared {
    pub(super) metrics: HookMetrics,
    pub(super) runtime: Handle,
    pub(super) clock: Clock,
    /// With a `state_dir`.
    pub(super) log: Option<LogLine>,
    /// The configured hooks and what each wants.
    pub(super) routes: ArcSwap<Vec<Route>>,
    /// Every hook that has a task: the configured ones, and removed ones that still have events. Held while events
    /// are handed on, so that a hook is not removed between the look at the routes and the push.
    pub(super) deliveries: Mutex<Vec<Arc<Delivery>>>,
    /// Events emitted and not yet in the queues.
    pub(super) pending: AtomicUsize,
    /// Notified when nothing is pending, a queue is empty or a hook is disabled.
    pub(super) progress: Arc<Notify>,
}

/// A hook and the events that it wants.
pub(super) struct Route {
    pub(super) delivery: Arc<Delivery>,
    events: Vec<EventKind>,
    listeners: Option<Vec<String>>,
}

impl Shared {
    /// Makes `hooks` the configured ones, all or nothing.
    pub(super) fn configure(
        self: &Arc<Self>,
        hooks: &IndexMap<String, config::Hook>,
    ) -> Result<(), HookError> {
        let mut opened = Vec::with_capacity(hooks.len());
        for (name, hook) in hooks {
            opened.push((name, hook, Arc::new(Endpoint::open(name, hook)?)));
        }
        let mut deliveries = self.deliveries();
        let mut former = std::mem::take(&mut *deliveries);
        let mut routes = Vec::with_capacity(opened.len());
        for (name, hook, endpoint) in opened {
            let place = former
                .iter()
                .position(|delivery| **delivery.name() == **name);
            let known = place.map(|place| former.remove(place));
            let delivery = self.delivery(name, hook, endpoint, known);
            deliveries.push(delivery.clone());
            routes.push(Route {
                delivery,
                events: hook.events.clone(),
                listeners: hook.listeners.clone(),
            });
        }
        self.routes.store(Arc::new(routes));
        former.iter().for_each(|delivery| delivery.retire());
        deliveries.append(&mut former);
        Ok(())
    }

    /// The hook of this name with its queue, or a new one.
    fn delivery(
        self: &Arc<Self>,
        name: &str,
        hook: &config::Hook,
        endpoint: Arc<Endpoint>,
        known: Option<Arc<Delivery>>,
    ) -> Arc<Delivery> {
        let rules = Rules {
            rate: hook.rate,
            give_up_after: hook.give_up_after,
        };
        let series = self.metrics.hook(name, &hook.events);
        if let Some(known) = known
            && known.configure(&endpoint, rules)
        {
            return known;
        }
        let delivery = Delivery::new(name, endpoint, rules, series, self);
        let delivery = Arc::new(delivery);
        self.runtime.spawn(self.clone().deliver(delivery.clone()));
        delivery
    }

    /// Runs a hook to its end and strikes it off.
    async fn deliver(self: Arc<Self>, delivery: Arc<Delivery>) {
        delivery.run().await;
        let mut deliveries = self.deliveries();
        deliveries.retain(|other| !Arc::ptr_eq(other, &delivery));
        // A reload may have brought the name back meanwhile.
        if deliveries
            .iter()
            .all(|other| other.name() != delivery.name())
        {
            delivery.forget();
        }
    }

    /// Puts an event into the queues of the hooks that want it.
    pub(super) fn hand_on(&self, message: &Arc<Message>) {
        let _held = self.deliveries();
        for route in self.routes.load().iter() {
            if route.wants(message.kind, message.listener.as_deref()) {
                route.delivery.push(message.clone());
            }
        }
    }

    /// The names of the hooks that want such an event.
    pub(super) fn wanting(&self, kind: EventKind, listener: Option<&str>) -> Vec<Arc<str>> {
        let routes = self.routes.load();
        let wanting = routes.iter().filter(|route| route.wants(kind, listener));
        wanting.map(|route| route.delivery.name().clone()).collect()
    }

    /// Offers an event that is in the log to a hook; `None` if there is no such hook any more.
    pub(super) fn offer(&self, hook: &str, message: &Arc<Message>) -> Option<Offer> {
        let deliveries = self.deliveries();
        let delivery = deliveries
            .iter()
            .find(|delivery| **delivery.name() == *hook);
        delivery.map(|delivery| delivery.offer(message))
    }

    /// The hook of this name, configured or on its way out.
    pub(super) fn delivery_of(&self, hook: &str) -> Option<Arc<Delivery>> {
        let deliveries = self.deliveries();
        let mut named = deliveries
            .iter()
            .filter(|delivery| **delivery.name() == *hook);
        named.next().cloned()
    }

    pub(super) fn unsettled(&self, of: impl Fn(&Delivery) -> usize) -> usize {
        let pending = self.pending.load(Ordering::Acquire);
        let deliveries = self.deliveries();
        pending
            + deliveries
                .iter()
                .map(|delivery| of(delivery))
                .sum::<usize>()
    }

    pub(super) fn deliveries(&self) -> MutexGuard<'_, Vec<Arc<Delivery>>> {
        self.deliveries
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Route {
    pub(super) fn wants(&self, kind: EventKind, listener: Option<&str>) -> bool {
        self.events.contains(&kind)
            && match (&self.listeners, listener) {
                (Some(listeners), Some(listener)) => listeners.iter().any(|name| name == listener),
                (None, _) | (_, None) => true,
            }
    }
}

/// Lets the tasks of all hooks end.
pub(super) fn retire_all(shared: &Shared) {
    let deliveries = shared.deliveries();
    deliveries.iter().for_each(|delivery| delivery.retire());
}
