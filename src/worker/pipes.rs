//! The pipes of one worker: each stream has one only while bytes lie in it.

use std::cell::{Cell, RefCell};
use std::ops::{Deref, DerefMut};
use std::rc::Rc;
use std::sync::Arc;

use crate::listener::{Capacity, Pair};
use crate::net::splice::Pipe;

/// Pipes of one worker at most. Each may hold what a peer does not take; streams beyond are copied.
const MOST: usize = 32;

/// The share of the file descriptors that are for clients which all pipes of a worker may take.
const SHARE: usize = 64;

/// Pipes that wait for use, and a count of the others.
#[derive(Debug)]
pub struct Pipes {
    capacity: Arc<Capacity>,
    idle: RefCell<Vec<Counted>>,
    lent: Cell<usize>,
}

#[derive(Debug)]
struct Counted {
    pipe: Pipe,
    _descriptors: Pair,
}

/// A pipe in use. Dropped empty it can be used again; with bytes in it, it is closed.
#[derive(Debug)]
pub struct Lent {
    counted: Option<Counted>,
    pipes: Rc<Pipes>,
}

impl Pipes {
    /// No pipes yet; `capacity` has the descriptors for them.
    pub fn new(capacity: Arc<Capacity>) -> Rc<Self> {
        Rc::new(Self {
            capacity,
            idle: RefCell::default(),
            lent: Cell::default(),
        })
    }

    /// An empty pipe, unless all are in use.
    pub fn lend(self: &Rc<Self>) -> Option<Lent> {
        let idle = self.idle.borrow_mut().pop();
        let counted = idle.or_else(|| self.make())?;
        self.lent.set(self.lent.get() + 1);
        Some(Lent {
            counted: Some(counted),
            pipes: Rc::clone(self),
        })
    }

    /// Pipes in use.
    #[cfg(test)]
    pub(crate) fn lent(&self) -> usize {
        self.lent.get()
    }

    fn make(&self) -> Option<Counted> {
        if self.lent.get() >= MOST.min(self.capacity.pairs() / SHARE) {
            return None;
        }
        let descriptors = self.capacity.pair()?;
        Some(Counted {
            pipe: Pipe::new().ok()?,
            _descriptors: descriptors,
        })
    }
}

impl Deref for Lent {
    type Target = Pipe;

    fn deref(&self) -> &Pipe {
        &self.counted.as_ref().expect(LENT).pipe
    }
}

impl DerefMut for Lent {
    fn deref_mut(&mut self) -> &mut Pipe {
        &mut self.counted.as_mut().expect(LENT).pipe
    }
}

const LENT: &str = "only dropping takes the pipe away";

impl Drop for Lent {
    fn drop(&mut self) {
        self.pipes.lent.set(self.pipes.lent.get() - 1);
        self.pipes.idle.borrow_mut().extend(
            self.counted
                .take()
                .filter(|counted| counted.pipe.held() == 0),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listener::Needs;

    fn pipes(descriptors: usize) -> Rc<Pipes> {
        let needs = Needs {
            workers: 1,
            listeners: 1,
            hooks: 0,
        };
        Pipes::new(Arc::new(Capacity::new(descriptors, needs)))
    }

    #[test]
    fn an_empty_pipe_is_used_again() {
        let pipes = pipes(20_000);
        drop(pipes.lend().unwrap());
        drop(pipes.lend().unwrap());
        assert_eq!(pipes.idle.borrow().len(), 1);
    }

    #[test]
    fn there_are_as_many_as_allowed_and_none_where_descriptors_are_few() {
        let plenty = pipes(20_000);
        let all: Vec<_> = std::iter::from_fn(|| plenty.lend()).collect();
        assert_eq!(all.len(), MOST);
        drop(all);
        assert!(plenty.lend().is_some());
        assert!(pipes(128).lend().is_none());
    }
}
