//! One worker: a thread with its own runtime, its streams, its clock and its scratch buffer. Nothing here is shared
//! with another thread but the channel that brings messages in.

mod command;
mod pipes;

use std::cell::{Cell, RefCell, RefMut};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::SmallRng;
use slab::Slab;
use tokio::time::Instant;
use uuid::Uuid;

use crate::listener::{self, Client, Listener, Local};
use crate::net::tls;
use crate::proto::heart::Time;
use crate::server::Shared;
pub use command::{Command, Manner, Message, Post, Refusal};
pub use pipes::{Lent, Pipes};

/// How often a worker with streams turns at least (rule 12).
const TICK: Duration = Duration::from_millis(500);

/// A gap between two readings of the clock that counts as our own absence (rule 12): two missed ticks.
const PAUSE: Duration = Duration::from_secs(1);

/// One read's worth of bytes: a message of 64 KiB, the size that many programs write at once, with its frame's head.
pub const SCRATCH: usize = 80 * 1024;

/// Where a stream lives: worker, place in its slab. The id guards against a place that was given to another stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Home {
    /// Index of the worker.
    pub worker: usize,
    /// Place in the worker's slab.
    pub slot: usize,
}

#[derive(Debug)]
struct Slot {
    id: Uuid,
    commands: Vec<Command>,
    waker: Option<Waker>,
}

/// The state that all streams of one thread share.
pub struct Worker {
    /// Index among the workers.
    pub index: usize,
    /// The clock of all hearts here.
    pub clock: Clock,
    /// What all threads share.
    pub shared: Arc<Shared>,
    /// What large runs of bytes pass through unseen.
    pub pipes: Rc<Pipes>,
    /// What sessions of TLS are read and written through.
    pub tls: Rc<tls::Scratch>,
    scratch: RefCell<Box<[u8]>>,
    random: RefCell<SmallRng>,
    slots: RefCell<Slab<Slot>>,
    listeners: RefCell<Vec<Rc<Local>>>,
    ticking: Cell<bool>,
}

impl Worker {
    /// A worker without streams; call it on the worker's own thread.
    pub fn new(index: usize, shared: Arc<Shared>) -> Rc<Self> {
        Rc::new(Self {
            index,
            clock: Clock::new(),
            pipes: Pipes::new(Arc::clone(shared.capacity())),
            shared,
            tls: Rc::default(),
            scratch: RefCell::new(vec![0; SCRATCH].into_boxed_slice()),
            random: RefCell::new(SmallRng::from_rng(&mut rand::rng())),
            slots: RefCell::new(Slab::new()),
            listeners: RefCell::new(Vec::new()),
            ticking: Cell::new(false),
        })
    }

    /// The read buffer, for the time of one call.
    pub fn scratch(&self) -> RefMut<'_, Box<[u8]>> {
        self.scratch.borrow_mut()
    }

    /// Fresh random bytes for ping tokens, masks and draws; not for secrets.
    pub fn random(&self) -> RefMut<'_, SmallRng> {
        self.random.borrow_mut()
    }

    /// Gives a new stream its place and starts the tick if it is the first.
    pub fn settle(self: &Rc<Self>, id: Uuid) -> Home {
        let slot = self.slots.borrow_mut().insert(Slot {
            id,
            commands: Vec::new(),
            waker: None,
        });
        if !self.ticking.replace(true) {
            self.clock.skip();
            tokio::task::spawn_local(tick(Rc::clone(self)));
        }
        Home {
            worker: self.index,
            slot,
        }
    }

    /// Remembers whom to wake for commands.
    pub fn listen(&self, home: Home, waker: &Waker) {
        self.slots.borrow_mut()[home.slot].waker = Some(waker.clone());
    }

    /// The commands that came in since the last call.
    pub fn commands(&self, home: Home) -> Vec<Command> {
        let mut slots = self.slots.borrow_mut();
        let commands = &mut slots[home.slot].commands;
        if commands.is_empty() {
            Vec::new()
        } else {
            std::mem::take(commands)
        }
    }

    /// Hands a command to the stream `id` if it still lives here.
    pub fn command(&self, slot: usize, id: Uuid, command: Command) {
        if let Some(slot) = self
            .slots
            .borrow_mut()
            .get_mut(slot)
            .filter(|slot| slot.id == id)
        {
            slot.commands.push(command);
            if let Some(waker) = &slot.waker {
                waker.wake_by_ref();
            }
        }
    }

    /// Tells every stream of this worker that its limits may have changed.
    pub fn policies_changed(&self) {
        for (_, slot) in self.slots.borrow_mut().iter_mut() {
            slot.commands.push(Command::PolicyChanged);
            if let Some(waker) = &slot.waker {
                waker.wake_by_ref();
            }
        }
    }

    /// Takes the place back.
    pub fn vacate(&self, home: Home) {
        self.slots.borrow_mut().remove(home.slot);
    }

    /// How many streams live here, those that are closing included.
    pub fn streams(&self) -> usize {
        self.slots.borrow().len()
    }

    /// This worker's side of a listener; a new one is among those whose tallies the tick moves into the metrics.
    pub fn local(&self, listener: &Arc<Listener>) -> Rc<Local> {
        let mut locals = self.listeners.borrow_mut();
        let known = locals
            .iter()
            .find(|local| Arc::ptr_eq(&local.shared, listener));
        if let Some(local) = known {
            return Rc::clone(local);
        }
        let local = Local::new(Arc::clone(listener));
        locals.push(Rc::clone(&local));
        local
    }

    /// Ends guests until there is room for one more connection of `client` that is no stream; says whether it ended any.
    /// Their descriptors are free when their tasks have had a turn.
    pub fn make_room(&self, client: Option<Client>) -> bool {
        let listeners = self.listeners.borrow();
        let room = self.shared.capacity().guests_of_worker();
        let mut ended = false;
        while listener::guests(&listeners) >= room && listener::evict(&listeners, client) {
            ended = true;
        }
        ended
    }

    /// Ends the connection without a stream that has waited longest, if there is one.
    pub fn evict_guest(&self) -> bool {
        listener::evict(&self.listeners.borrow(), None)
    }

    fn turn(&self) {
        self.clock.now();
        self.shared.metrics.paused(self.clock.take_paused());
        self.shared.health.turned(self.index);
        let mut listeners = self.listeners.borrow_mut();
        for local in listeners.iter() {
            local.publish();
        }
        listeners.retain(|local| Rc::strong_count(local) > 1 || !local.shared.closed());
    }
}

async fn tick(worker: Rc<Worker>) {
    while worker.streams() > 0 {
        tokio::time::sleep(TICK).await;
        worker.turn();
    }
    worker.ticking.set(false);
}

/// The monotonic clock of a worker with its own pauses left out (rule 12): after a SIGSTOP, a VM pause or a used-up CPU
/// quota every deadline of its streams has moved by the gap, and nobody is closed for our absence.
#[derive(Debug)]
pub struct Clock {
    epoch: Instant,
    last: Cell<Duration>,
    skew: Cell<Duration>,
    paused: Cell<Duration>,
}

impl Clock {
    fn new() -> Self {
        Self {
            epoch: Instant::now(),
            last: Cell::default(),
            skew: Cell::default(),
            paused: Cell::default(),
        }
    }

    /// The instant in worker time and in real time.
    pub fn now(&self) -> (Time, Instant) {
        let instant = Instant::now();
        let real = instant.duration_since(self.epoch);
        // The whole gap, not the oversleep beyond a tick: a stop that began right after a reading would else be
        // underestimated by up to one tick, and streams would be closed early by as much.
        let gap = real - self.last.replace(real);
        if gap > PAUSE {
            self.skew.set(self.skew.get() + gap);
            self.paused.set(self.paused.get() + gap);
        }
        (self.time(instant), instant)
    }

    /// When, in real time, a worker time is reached if we do not pause until then.
    pub fn instant(&self, time: Time) -> Instant {
        self.epoch + self.skew.get() + Duration::from_nanos(time.0)
    }

    fn time(&self, instant: Instant) -> Time {
        Time((instant.duration_since(self.epoch) - self.skew.get()).as_nanos() as u64)
    }

    /// Forgets the time without streams: nobody ticked, and nobody was absent.
    fn skip(&self) {
        self.last.set(self.epoch.elapsed());
    }

    fn take_paused(&self) -> Duration {
        self.paused.take()
    }
}
