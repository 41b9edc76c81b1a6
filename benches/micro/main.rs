//! What the parts cost that run for each frame, each turn, each request of the API and each event:
//! `cargo bench --bench micro` (`-- --quick` for a first look, `-- scanner` for one room).

mod heart;
mod log;
mod registry;
mod scanner;

use criterion::{criterion_group, criterion_main};

criterion_group!(
    benches,
    scanner::benches,
    heart::benches,
    registry::benches,
    log::benches
);
criterion_main!(benches);
