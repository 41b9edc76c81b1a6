//! The task of a hook: it sends what the queue allows and tells it how each try went.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{Delivery, Life};
use crate::hook::endpoint::{Endpoint, Outcome};
use crate::hook::message::Message;
use crate::hook::metrics::Settled;
use crate::hook::queue::{Step, Ticket};

enum Next {
    Send(Ticket, Arc<Message>, Arc<Endpoint>),
    Wait(Option<Duration>),
    End,
}

impl Delivery {
    /// Delivers until the hook is removed and its queue is empty.
    pub(in crate::hook) async fn run(&self) {
        let mut tries = JoinSet::new();
        let mut sent = HashMap::new();
        loop {
            let until = match self.next() {
                Next::Send(ticket, message, endpoint) => {
                    let to = endpoint.clone();
                    let seconds = self.series.duration.clone();
                    let handle = tries.spawn(async move {
                        let started = Instant::now();
                        let outcome = to.post(&message).await;
                        seconds.observe(started.elapsed().as_secs_f64());
                        outcome
                    });
                    sent.insert(handle.id(), (ticket, endpoint));
                    continue;
                }
                Next::Wait(until) => until,
                Next::End => return,
            };
            tokio::select! {
                Some(ended) = tries.join_next_with_id() => {
                    let (id, outcome) = ended.unwrap_or_else(|error| {
                        (error.id(), Outcome::Failed { why: error.to_string(), retry_after: None })
                    });
                    if let Some((ticket, endpoint)) = sent.remove(&id) {
                        self.report(ticket, &endpoint, outcome);
                    }
                }
                () = self.changed.notified() => {}
                () = self.clock.sleep_until(until) => {}
            }
        }
    }

    /// Takes out what has expired and says what to do then.
    fn next(&self) -> Next {
        let mut state = self.state();
        loop {
            match state.queue.poll(self.clock.now()) {
                Step::Expired(message) => {
                    self.leave(&mut state, &message, Settled::Expired);
                    self.show(&state);
                }
                Step::Send {
                    ticket,
                    attempt,
                    item,
                } => {
                    if attempt > 1 {
                        self.series.retries.inc();
                    }
                    return Next::Send(ticket, item, state.endpoint.clone());
                }
                Step::Wait(_) if state.life == Life::Removed && state.left() == 0 => {
                    state.life = Life::Ended;
                    return Next::End;
                }
                Step::Wait(until) => return Next::Wait(until),
            }
        }
    }

    /// Tells the queue how a try by `endpoint` went.
    fn report(&self, ticket: Ticket, endpoint: &Arc<Endpoint>, outcome: Outcome) {
        let now = self.clock.now();
        let mut guard = self.state();
        let state = &mut *guard;
        match outcome {
            Outcome::Delivered => {
                if let Some(message) = state.queue.settle(ticket) {
                    self.leave(state, &message, Settled::Delivered);
                }
                let notice = state.trouble.recovered();
                self.tell(state, notice);
            }
            Outcome::Rejected(status) => {
                state.trouble.rejected(format!("answer {status}"));
                if let Some(message) = state.queue.settle(ticket) {
                    self.leave(state, &message, Settled::Rejected);
                }
            }
            Outcome::Gone => {
                state.queue.release(ticket);
                // A reload since then has pointed the hook elsewhere or asked to try again.
                if Arc::ptr_eq(endpoint, &state.endpoint) && state.queue.is_enabled() {
                    state.queue.disable();
                    let notice = state.trouble.disabled();
                    self.tell(state, Some(notice));
                }
            }
            Outcome::Failed { why, retry_after } => {
                let jitter = rand::random_range(0.5..=1.0);
                let wait = state.queue.fail(ticket, now, retry_after, jitter);
                let notice = state.trouble.failed(why, wait, now);
                self.tell(state, notice);
            }
        }
        self.show(state);
    }
}
