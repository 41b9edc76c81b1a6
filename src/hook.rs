//! Close hooks: events in, signed and ordered HTTP requests out. Nothing here ever makes a stream wait.
//!
//! ```text
//! any thread        control runtime
//! emit ─ channel ─▶ dispatch ─ Message (JSON, built once) ─┬─▶ queue of hook a ─▶ task ─▶ endpoint
//!                                                          └─▶ queue of hook b ─▶ task ─▶ endpoint
//! ```

mod clock;
mod credentials;
mod deliver;
mod endpoint;
mod error;
mod event;
mod metrics;
mod pace;
mod queue;
mod schema;
pub mod sign;
mod trouble;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use indexmap::IndexMap;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::time::{Instant, timeout_at};
use uuid::Uuid;

pub use self::deliver::HookStatus;
pub use self::error::HookError;
pub use self::event::{Event, type_name};
pub use self::metrics::HookMetrics;
pub use self::schema::schema;

use self::deliver::Delivery;
use self::endpoint::Endpoint;
use self::event::Message;
use self::queue::{CAPACITY, Rules};
use crate::config::{self, EventKind};

/// Events on their way to the queues from which on new `opened` ones, and at twice as many all new ones, are dropped:
/// reached only when the control runtime stands still. Twice what a queue holds, so that the queue's own rule, which
/// drops the oldest, is the one that applies as long as anything moves.
const INTAKE: usize = 2 * CAPACITY;

/// The hooks of this process; cheap to clone, callable from every thread.
#[derive(Clone)]
pub struct Hooks {
    shared: Arc<Shared>,
    intake: UnboundedSender<(Event, SystemTime)>,
}

struct Shared {
    metrics: HookMetrics,
    runtime: Handle,
    /// The configured hooks and what each wants.
    routes: ArcSwap<Vec<Route>>,
    /// Every hook that has a task: the configured ones, and removed ones that still have events. Held while events
    /// are handed on, so that a hook is not removed between the look at the routes and the push.
    deliveries: Mutex<Vec<Arc<Delivery>>>,
    /// Events emitted and not yet in the queues.
    pending: AtomicUsize,
    /// Notified when nothing is pending, a queue is empty or a hook is disabled.
    progress: Arc<Notify>,
}

/// A hook and the events that it wants.
struct Route {
    delivery: Arc<Delivery>,
    events: Vec<EventKind>,
    listeners: Option<Vec<String>>,
}

impl Hooks {
    /// Starts delivery on `runtime`. Secrets, tokens and CAs are read here: a file that cannot be read is an error.
    pub fn start(
        hooks: &IndexMap<String, config::Hook>,
        metrics: HookMetrics,
        runtime: &Handle,
    ) -> Result<Self, HookError> {
        let (intake, events) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            metrics,
            runtime: runtime.clone(),
            routes: ArcSwap::default(),
            deliveries: Mutex::default(),
            pending: AtomicUsize::new(0),
            progress: Arc::default(),
        });
        shared.configure(hooks)?;
        let source = event::source(Uuid::now_v7());
        runtime.spawn(dispatch(shared.clone(), source, events));
        Ok(Self { shared, intake })
    }

    /// Replaces the hooks after a reload, all or nothing; queued events stay. A hook that answered 410 begins again,
    /// one that is gone from the configuration gets no new events and ends when its queue is empty.
    pub fn reload(&self, hooks: &IndexMap<String, config::Hook>) -> Result<(), HookError> {
        self.shared.configure(hooks)
    }

    /// Whether any hook wants events of this kind from this listener: a stream asks before it makes a record.
    pub fn wants(&self, kind: EventKind, listener: &str) -> bool {
        let routes = self.shared.routes.load();
        routes.iter().any(|route| route.wants(kind, Some(listener)))
    }

    /// Takes an event that happened at `at`; never blocks.
    pub fn emit(&self, event: Event, at: SystemTime) {
        let shared = &*self.shared;
        let (kind, listener) = (event.kind(), event.listener());
        let routes = shared.routes.load();
        let mut wanting = routes.iter().filter(|route| route.wants(kind, listener));
        let Some(first) = wanting.next() else { return };
        let pending = shared.pending.fetch_add(1, Ordering::AcqRel);
        let bound = match kind {
            EventKind::Opened => INTAKE,
            EventKind::Closed | EventKind::Overdue | EventKind::Started | EventKind::Draining => {
                2 * INTAKE
            }
        };
        if pending >= bound {
            shared.pending.fetch_sub(1, Ordering::AcqRel);
            for route in std::iter::once(first).chain(wanting) {
                route.delivery.refuse(kind);
            }
        } else if self.intake.send((event, at)).is_err() {
            // The control runtime is gone, and with it every hook.
            shared.pending.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// Waits until every event is settled, at most `limit`; returns how many are left. Waits between tries are kept.
    /// Events of a disabled hook are counted but not waited for: only a reload could settle them.
    pub async fn flush(&self, limit: Duration) -> usize {
        let deadline = Instant::now() + limit;
        loop {
            let mut progress = std::pin::pin!(self.shared.progress.notified());
            // Listens from here on, so that no progress between the look and the wait is missed.
            progress.as_mut().enable();
            if self.shared.unsettled(Delivery::hopeful) == 0
                || timeout_at(deadline, progress).await.is_err()
            {
                return self.shared.unsettled(Delivery::left);
            }
        }
    }

    /// Every hook as it is now, in the order of the configuration; removed ones that still have events come too.
    pub fn status(&self) -> Vec<HookStatus> {
        let deliveries = self.shared.deliveries();
        deliveries
            .iter()
            .map(|delivery| delivery.status())
            .collect()
    }
}

impl Shared {
    /// Makes `hooks` the configured ones, all or nothing.
    fn configure(
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
            let place = former.iter().position(|delivery| delivery.name() == name);
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
        let delivery = Delivery::new(name, endpoint, rules, series, self.progress.clone());
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

    /// Puts an event that is on record into the queues of the hooks that want it.
    fn hand_on(&self, message: &Arc<Message>, listener: Option<&str>) {
        let _held = self.deliveries();
        for route in self.routes.load().iter() {
            if route.wants(message.kind, listener) {
                route.delivery.push(message.clone());
            }
        }
    }

    fn unsettled(&self, of: impl Fn(&Delivery) -> usize) -> usize {
        let pending = self.pending.load(Ordering::Acquire);
        let deliveries = self.deliveries();
        pending
            + deliveries
                .iter()
                .map(|delivery| of(delivery))
                .sum::<usize>()
    }

    fn deliveries(&self) -> MutexGuard<'_, Vec<Arc<Delivery>>> {
        self.deliveries
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Route {
    fn wants(&self, kind: EventKind, listener: Option<&str>) -> bool {
        self.events.contains(&kind)
            && match (&self.listeners, listener) {
                (Some(listeners), Some(listener)) => listeners.iter().any(|name| name == listener),
                (None, _) | (_, None) => true,
            }
    }
}

/// Writes each event once and hands it to every hook that wants it, until every [`Hooks`] is gone.
async fn dispatch(
    shared: Arc<Shared>,
    source: String,
    mut events: UnboundedReceiver<(Event, SystemTime)>,
) {
    let mut sequence = 0;
    while let Some((event, at)) = events.recv().await {
        sequence += 1;
        let message = Arc::new(Message::new(&event, at, &source, sequence));
        shared.hand_on(&message, event.listener());
        shared.pending.fetch_sub(1, Ordering::AcqRel);
        shared.progress.notify_waiters();
    }
    let deliveries = shared.deliveries();
    deliveries.iter().for_each(|delivery| delivery.retire());
}

#[cfg(test)]
mod tests;
