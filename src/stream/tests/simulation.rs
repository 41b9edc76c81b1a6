//! Whole worlds made of one number each: a listener, networks, clients and apps, operators, hours of virtual time.
//!
//! `SIDEBEAT_TEST_SEEDS=10000` runs so many; `SIDEBEAT_TEST_SEED=123` runs the one that failed.

mod ask;
mod books;
mod journal;
mod judge;
mod limits;
mod meddle;
mod messages;
mod passing;
mod peer;
mod pipe;
mod plan;
mod script;
mod side;
mod story;
mod trace;
mod wire;
mod world;

use super::bench::in_virtual_time;
use trace::{Ms, What};
use world::World;

/// How many worlds there are if nothing else is said: some seconds' worth of an unoptimised build.
const SEEDS: u64 = 100;

/// Says which world it was when a test ends badly.
struct Number(u64);

impl Drop for Number {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("this was SIDEBEAT_TEST_SEED={}", self.0);
        }
    }
}

fn told(name: &str) -> Option<u64> {
    let number = std::env::var(name).ok()?;
    Some(number.parse().unwrap())
}

/// Lives through one world and judges it; returns what happened to each stream.
fn live_through(seed: u64) -> Vec<Vec<(Ms, What)>> {
    let _number = Number(seed);
    let mut stories = Vec::new();
    in_virtual_time(async {
        let mut world = World::new(seed);
        world.run().await;
        world.judge();
        let streams = world.streams.iter();
        stories.extend(streams.map(|stream| stream.trace.entries()));
    });
    stories
}

#[test]
fn no_world_breaks_a_promise() {
    let seeds = match told("SIDEBEAT_TEST_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..told("SIDEBEAT_TEST_SEEDS").unwrap_or(SEEDS),
    };
    for seed in seeds {
        live_through(seed);
    }
}

#[test]
fn a_world_goes_the_same_way_again() {
    for seed in 0..5 {
        assert!(live_through(seed) == live_through(seed), "seed {seed}");
    }
}
