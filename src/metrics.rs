//! Every metric family in one struct, built once; each stream works on children looked up when its listener started.
use std::sync::Arc;

/// All families.
pub struct Metrics {}

/// The children of one listener.
pub struct ListenerMetrics {}

impl Metrics {
    pub fn new() -> Self {
        Self {}
    }
    /// The children of `listener`, created on first use.
    pub fn listener(&self, _listener: &str) -> Arc<ListenerMetrics> {
        unimplemented!()
    }
}
