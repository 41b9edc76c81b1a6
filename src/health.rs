//! What the probes of an orchestrator ask: has it started, is it alive, does it take work.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// A worker that has not turned for this long counts as hung.
pub const WORKER_LIMIT: Duration = Duration::from_secs(5);

/// One question of the probes with its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// One word, unique in its probe.
    pub name: String,
    /// `Err` says what is wrong.
    pub result: Result<(), String>,
}

/// State that the rooms report and the probes read; no call blocks.
pub struct Health {
    born: Instant,
    listeners_bound: AtomicBool,
    draining: AtomicBool,
    /// Of each worker: when it last turned, in milliseconds after `born`.
    turns: Box<[AtomicU64]>,
}

impl Health {
    /// Health of a process with `workers` workers; each has [`WORKER_LIMIT`] from now to turn for the first time.
    pub fn new(workers: usize) -> Self {
        Self {
            born: Instant::now(),
            listeners_bound: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            turns: (0..workers).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// Every listener has its sockets.
    pub fn listeners_bound(&self) {
        self.listeners_bound.store(true, Ordering::Release);
    }

    /// A drain begins; there is no way back.
    pub fn start_draining(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// Whether a drain has begun.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Worker number `worker` runs: to be called at each of its ticks, with or without streams. Numbers out of range do nothing.
    pub fn turned(&self, worker: usize) {
        if let Some(turn) = self.turns.get(worker) {
            turn.store(self.age_ms(), Ordering::Relaxed);
        }
    }

    /// `/startupz`: are the listeners bound. It never asks for the upstream: a native sidecar that waits for its app deadlocks the pod.
    pub fn startup(&self) -> Vec<Check> {
        let bound = self.listeners_bound.load(Ordering::Acquire);
        vec![check("listeners", bound, "not bound yet")]
    }

    /// `/livez`: has every worker turned within [`WORKER_LIMIT`].
    pub fn live(&self) -> Vec<Check> {
        let now = self.age_ms();
        self.turns
            .iter()
            .enumerate()
            .map(|(worker, turn)| {
                let silence =
                    Duration::from_millis(now.saturating_sub(turn.load(Ordering::Relaxed)));
                Check {
                    name: format!("worker-{worker}"),
                    result: if silence <= WORKER_LIMIT {
                        Ok(())
                    } else {
                        Err(format!("has not turned for {} s", silence.as_secs()))
                    },
                }
            })
            .collect()
    }

    /// `/readyz`: are the listeners bound and is no drain under way.
    pub fn ready(&self) -> Vec<Check> {
        let mut checks = self.startup();
        checks.push(check("drain", !self.is_draining(), "draining"));
        checks
    }

    fn age_ms(&self) -> u64 {
        u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

fn check(name: &str, fulfilled: bool, otherwise: &str) -> Check {
    Check {
        name: name.to_owned(),
        result: if fulfilled {
            Ok(())
        } else {
            Err(otherwise.to_owned())
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failures(checks: Vec<Check>) -> Vec<String> {
        checks
            .into_iter()
            .filter(|check| check.result.is_err())
            .map(|check| check.name)
            .collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_is_hung_once_it_has_not_turned_for_the_limit() {
        let health = Health::new(2);
        assert_eq!(health.live().len(), 2);
        tokio::time::advance(WORKER_LIMIT).await;
        assert!(failures(health.live()).is_empty(), "the limit is inclusive");
        health.turned(1);
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(failures(health.live()), ["worker-0"]);
        health.turned(0);
        assert!(failures(health.live()).is_empty());
        tokio::time::advance(WORKER_LIMIT + Duration::from_millis(1)).await;
        assert_eq!(failures(health.live()), ["worker-0", "worker-1"]);
        health.turned(2);
        assert_eq!(failures(health.live()).len(), 2, "there is no worker 2");
    }

    #[test]
    fn startup_waits_for_the_listeners_only() {
        let health = Health::new(1);
        assert_eq!(failures(health.startup()), ["listeners"]);
        assert_eq!(failures(health.ready()), ["listeners"]);
        health.listeners_bound();
        assert!(failures(health.startup()).is_empty());
        assert!(failures(health.ready()).is_empty());
    }

    #[test]
    fn a_drain_ends_readiness_but_neither_start_nor_life() {
        let health = Health::new(1);
        health.listeners_bound();
        assert!(!health.is_draining());
        health.start_draining();
        assert!(health.is_draining());
        assert_eq!(failures(health.ready()), ["drain"]);
        assert!(failures(health.startup()).is_empty());
        assert!(failures(health.live()).is_empty());
    }
}
