//! The world of one seed: a worker with a listener and streams, and the time in which everything happens.
//!
//! The world acts at even milliseconds and looks whether all is well at odd ones, when everybody has had a turn.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout_at};
use uuid::Uuid;

use super::ask::Ask;
use super::books::Books;
use super::peer::Peer;
use super::pipe::{NEVER, Pipe};
use super::plan::Plan;
use super::side::Side;
use super::trace::{Ms, Trace, What};
use crate::hook::tests::tapped;
use crate::proto::cause::{End, Reason};
use crate::stream::tests::ground::Ground;
use crate::worker::Home;

/// Turns of the world after which it is wound up: enough for any story, and few enough for many.
const TURNS: usize = 4000;

pub(super) struct World {
    pub(super) plan: Plan,
    began: Instant,
    news: Rc<Notify>,
    pub(super) ground: Ground,
    pub(super) books: Rc<RefCell<Books>>,
    pub(super) streams: Vec<Stream>,
    pub(super) next: Ms,
    pub(super) drains: Option<Ms>,
    pub(super) wound_up: bool,
}

pub(super) struct Stream {
    pub(super) id: Uuid,
    pub(super) home: Home,
    pub(super) trace: Rc<Trace>,
    pub(super) pipes: [Rc<RefCell<Pipe>>; 2],
    pub(super) peers: [Peer; 2],
    pub(super) asks: Vec<Ask>,
    pub(super) ended: Rc<Cell<Option<Ms>>>,
    /// What its scanner takes for an answer.
    pub(super) reply: Option<Vec<u8>>,
    task: JoinHandle<()>,
}

impl World {
    /// Makes everything that a seed lays down, with its first stream.
    pub(super) fn new(seed: u64) -> Self {
        let mut plan = Plan::new(seed);
        let config = plan.config();
        let mut tap = None;
        let ground = Ground::new(&config, |metrics, runtime| {
            let (hooks, end) = tapped(&config.hooks, metrics, runtime)?;
            tap = Some(end);
            Ok(hooks)
        });
        *ground.worker.random() = SmallRng::seed_from_u64(seed ^ 0x5eed);
        let mut books = Books::new(tap.unwrap(), seed);
        books.strangers = !ground.config.identity.is_empty();
        let mut world = Self {
            plan,
            began: Instant::now(),
            news: Rc::default(),
            ground,
            books: Rc::new(RefCell::new(books)),
            streams: Vec::new(),
            next: 2,
            drains: None,
            wound_up: false,
        };
        world.open();
        world
    }

    pub(super) fn now(&self) -> Ms {
        self.began.elapsed().as_millis() as Ms
    }

    fn instant(&self, at: Ms) -> Instant {
        self.began + Duration::from_millis(at)
    }

    /// Opens a stream.
    pub(super) fn open(&mut self) {
        let (id, home, live) = self.ground.enter();
        let registry = Arc::clone(&self.ground.worker.shared.registry);
        let trace = Trace::new(self.began, id, registry, Rc::clone(&self.news));
        self.books.borrow_mut().follow(id, &trace);
        let policy = self.ground.listener.terms.load().policy.clone();
        trace.note(What::Limits(Rc::new(policy)));
        let mut peers = End::BOTH.map(|end| {
            let (nature, random) = self.plan.nature();
            let author = self.plan.author(end, nature.room);
            let pipe = Pipe::new(end, nature, Rc::clone(&trace), random);
            let temper = self.plan.temper(end);
            Peer::new(author, temper, Rc::new(RefCell::new(pipe)), self.now())
        });
        let pipes = [Rc::clone(&peers[0].pipe), Rc::clone(&peers[1].pipe)];
        let [client, app] = [Side(Rc::clone(&pipes[0])), Side(Rc::clone(&pipes[1]))];
        let ahead = peers.each_mut().map(|peer| {
            if self.plan.random.random_bool(0.2) {
                peer.ahead()
            } else {
                Vec::new()
            }
        });
        let relay = self.ground.relay(client, app, live);
        let mut relay = Box::pin(relay.run(ahead.map(Bytes::from)));
        let ended = Rc::new(Cell::new(None));
        let (books, note) = (Rc::clone(&self.books), Rc::clone(&ended));
        let watched = Rc::clone(&trace);
        let task = tokio::task::spawn_local(async move {
            poll_fn(|cx| {
                let turn = relay.as_mut().poll(cx);
                books.borrow_mut().read();
                watched.look();
                turn
            })
            .await;
            drop(relay);
            note.set(Some(watched.now()));
            watched.news.notify_one();
        });
        let reply = self.ground.config.ping_reply.is_some();
        self.streams.push(Stream {
            id,
            home,
            trace,
            pipes,
            peers,
            asks: Vec::new(),
            ended,
            reply: self.plan.reply.clone().filter(|_| reply),
            task,
        });
    }

    /// Runs the world to its end.
    pub(super) async fn run(&mut self) {
        let mut turns = 0;
        loop {
            let now = self.now();
            turns += 1;
            if turns == TURNS || now >= self.plan.horizon {
                self.wind_up();
            }
            self.turn(now);
            self.meddle(now).await;
            sleep_until(self.instant(self.now() | 1)).await;
            self.check();
            if self.wound_up
                && self
                    .streams
                    .iter()
                    .all(|stream| stream.ended.get().is_some())
            {
                break;
            }
            if turns == 2 * TURNS {
                // A long story: its farewells need not be as long.
                let peers = self.streams.iter_mut().flat_map(|stream| &mut stream.peers);
                peers.for_each(Peer::give_up);
            }
            assert!(turns < 4 * TURNS, "the world does not end");
            let next = self.next();
            assert!(next < NEVER, "nobody does anything any more");
            let _ = timeout_at(self.instant(next), self.news.notified()).await;
            let even = self.now().next_multiple_of(2);
            sleep_until(self.instant(even)).await;
        }
        self.leave().await;
    }

    /// Everybody but the proxy does what is due.
    fn turn(&mut self, now: Ms) {
        for stream in &mut self.streams {
            for pipe in &stream.pipes {
                pipe.borrow_mut().deliver(now, false);
            }
            for peer in &mut stream.peers {
                peer.turn(now);
            }
            for ask in &mut stream.asks {
                ask.turn(now);
            }
        }
    }

    fn next(&self) -> Ms {
        let now = self.now();
        let mut next = if self.wound_up {
            // Whoever is left has a limit that ends it.
            now + 60_000
        } else {
            self.next.min(self.plan.horizon)
        };
        for stream in &self.streams {
            if stream.ended.get().is_some() {
                continue;
            }
            let pipes = stream.pipes.iter();
            next = pipes
                .filter_map(|pipe| pipe.borrow().next())
                .fold(next, Ms::min);
            let peers = stream.peers.iter().map(|peer| peer.next(now));
            next = peers.fold(next, Ms::min);
            next = stream
                .asks
                .iter()
                .map(|ask| ask.next(now))
                .fold(next, Ms::min);
        }
        next.max(now)
    }

    /// What must hold whenever everybody has had a turn.
    fn check(&self) {
        let ended = self
            .streams
            .iter()
            .filter(|stream| stream.ended.get().is_some());
        let mut books = self.books.borrow_mut();
        books.read();
        books.check(&self.ground.worker, &self.ground.listener, ended.count());
        for stream in &self.streams {
            stream.trace.look();
            if stream.trace.over().is_none() {
                let [client, app] = &stream.pipes;
                client.borrow().check(&app.borrow());
                app.borrow().check(&client.borrow());
            }
        }
    }

    /// Nothing is left: no task, no answer that is owed.
    async fn leave(&mut self) {
        for stream in &mut self.streams {
            (&mut stream.task).await.unwrap();
            let now = stream.trace.now();
            stream.asks.iter_mut().for_each(|ask| ask.settle(now));
        }
        // The tick of the worker ends with its last stream.
        tokio::time::sleep(Duration::from_secs(1)).await;
        self.check();
        self.books.borrow_mut().kill(&self.ground.worker);
        assert_eq!(
            self.ground.worker.pipes.lent(),
            0,
            "every pipe is given back"
        );
        let reasons = Reason::ALL.iter();
        let counted: u64 = reasons
            .map(|reason| self.ground.listener.metrics.closed(*reason).get())
            .sum();
        assert_eq!(
            counted,
            self.streams.len() as u64,
            "one cause for each stream"
        );
    }
}
