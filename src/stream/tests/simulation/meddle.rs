//! What happens to a world from outside: the API, an operator, the machine.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;

use super::trace::{Ms, What};
use super::world::{Stream, World};
use crate::stream::Terms;
use crate::stream::tests::ground::SPREAD;
use crate::worker::Command;

impl World {
    /// Something happens from outside: the API, an operator, the machine.
    pub(super) async fn meddle(&mut self, now: Ms) {
        if self.wound_up || now < self.next {
            return;
        }
        let pause = match self.plan.random.random_range(0..3) {
            0 => self.plan.random.random_range(0..3000),
            _ => self.plan.random.random_range(0..self.plan.horizon / 4),
        };
        self.next = (now + 2 + pause).next_multiple_of(2);
        if self.streams.len() < self.plan.streams && self.drains.is_none() {
            self.open();
        }
        let meddles = self.plan.meddles;
        if !self.plan.random.random_bool(meddles) {
            return;
        }
        let place = self.plan.random.random_range(0..self.streams.len());
        match self.plan.random.random_range(0..40) {
            0..10 => self.send(place, now),
            10..18 => self.ping(place, now),
            18..22 => self.bind(place),
            22..27 => self.reload(),
            27..31 => self.pause().await,
            31..36 => {
                let end = self.plan.random.random_range(0..2);
                let lasts = self.plan.random.random_range(0..200_000);
                let until = Ms::next_multiple_of(now + lasts, 2);
                self.streams[place].pipes[end].borrow_mut().go_dark(until);
            }
            36..38 => self.cut(place, now),
            38 => self.drain(place),
            _ => {}
        }
    }

    /// The limits are replaced.
    fn reload(&mut self) {
        self.ground.config = Arc::clone(&self.plan.config().listeners["main"]);
        let terms = Terms::new(&self.ground.config, SPREAD);
        let policy = Rc::new(terms.policy.clone());
        self.ground.listener.terms.store(Arc::new(terms));
        for stream in &self.streams {
            stream.trace.note(What::Limits(Rc::clone(&policy)));
        }
        self.ground.worker.policies_changed();
    }

    /// The process stands still, and the others with it; what is under way arrives all the same.
    async fn pause(&mut self) {
        let by = self.plan.random.random_range(1001..100_000);
        let by = Ms::next_multiple_of(by, 2);
        let silently = self.plan.random.random_bool(0.5);
        for stream in &self.streams {
            if silently {
                for pipe in &stream.pipes {
                    pipe.borrow_mut().deliver(self.now() + by, true);
                }
            }
            stream.trace.note(What::Paused { by });
        }
        tokio::time::advance(Duration::from_millis(by)).await;
        for pipe in self.streams.iter().flat_map(|stream| &stream.pipes) {
            pipe.borrow_mut().report();
        }
    }

    fn drain(&mut self, place: usize) {
        let now = self.now();
        self.drains.get_or_insert(now);
        self.ground.worker.shared.health.start_draining();
        let Stream { home, id, .. } = self.streams[place];
        let cause = self.ground.worker.shared.drain_cause();
        self.ground
            .worker
            .command(home.slot, id, Command::Close(cause));
    }

    /// Whatever is open is closed, one way or the other.
    pub(super) fn wind_up(&mut self) {
        if self.wound_up {
            return;
        }
        self.wound_up = true;
        let now = self.now();
        for place in 0..self.streams.len() {
            if self.streams[place].trace.over().is_none() {
                self.cut(place, now);
            }
        }
    }
}
