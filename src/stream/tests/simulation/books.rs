//! The books of a world, kept from the events of the hooks alone, and held against registry, gauges and counters.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use uuid::Uuid;

use super::journal::Journal;
use super::trace::{Trace, What};
use crate::hook::Event;
use crate::hook::tests::Tap;
use crate::listener::Listener;
use crate::proto::cause::{End, Reason};
use crate::registry::record::ClosedRecord;
use crate::worker::Worker;

pub(super) struct Books {
    tap: Tap,
    journal: Journal,
    traces: HashMap<Uuid, Rc<Trace>>,
    /// By stream, in the order of openings: its closing record, when it has one.
    pub(super) streams: Vec<(Uuid, Option<Arc<ClosedRecord>>)>,
    /// Who is who, as the API has bound them.
    uids: HashMap<Uuid, String>,
    /// Clients say themselves who they are.
    pub(super) strangers: bool,
    overdue: HashMap<Reason, u64>,
}

impl Books {
    pub(super) fn new(tap: Tap, seed: u64) -> Self {
        Self {
            tap,
            journal: Journal::new(seed),
            traces: HashMap::new(),
            streams: Vec::new(),
            uids: HashMap::new(),
            strangers: false,
            overdue: HashMap::new(),
        }
    }

    pub(super) fn follow(&mut self, id: Uuid, trace: &Rc<Trace>) {
        self.traces.insert(id, Rc::clone(trace));
    }

    pub(super) fn bind(&mut self, id: Uuid, uid: &str) {
        self.uids.insert(id, uid.to_owned());
    }

    /// Enters what the hooks were told meanwhile.
    pub(super) fn read(&mut self) {
        for event in self.tap.events() {
            match event {
                Event::Opened(stream) => {
                    let known = self.streams.iter().any(|(id, _)| *id == stream.id);
                    assert!(!known, "opened twice");
                    self.streams.push((stream.id, None));
                }
                Event::Closed(record) => self.enter_end(record),
                Event::Overdue(record) => {
                    *self.overdue.entry(record.reason).or_default() += 1;
                    if let Some(trace) = self.traces.get(&record.stream.id) {
                        trace.note(What::Overdue(record.reason));
                    }
                }
                Event::Started { .. } | Event::Draining { .. } => {
                    panic!("the process told of itself")
                }
            }
        }
    }

    fn enter_end(&mut self, record: Arc<ClosedRecord>) {
        let id = record.stream.id;
        let place = self.streams.iter().position(|(known, _)| *known == id);
        let place = place.expect("closed before opened");
        assert!(self.streams[place].1.is_none(), "closed twice");
        if !self.strangers {
            let uid = self.uids.remove(&id);
            let left = uid.as_ref().map(|uid| {
                let others = self.uids.values().filter(|other| *other == uid);
                others.count()
            });
            assert_eq!(record.stream.uid, uid, "who it was");
            assert_eq!(record.uid_streams_left, left, "who is left of {uid:?}");
        }
        self.streams[place].1 = Some(record);
    }

    pub(super) fn record(&self, id: Uuid) -> Option<&Arc<ClosedRecord>> {
        let (_, record) = self.streams.iter().find(|(known, _)| *known == id)?;
        record.as_ref()
    }

    /// Everybody tells the same story; `ended`: streams whose task is done.
    pub(super) fn check(&mut self, worker: &Worker, listener: &Listener, ended: usize) {
        let opened = self.streams.len();
        let over = self.streams.iter().filter(|(_, end)| end.is_some()).count();
        let registry = &worker.shared.registry;
        let open: Vec<Uuid> = registry.all().iter().map(|entry| entry.id).collect();
        let expected = self.streams.iter().filter(|(_, end)| end.is_none());
        let expected: Vec<Uuid> = expected.map(|(id, _)| *id).collect();
        assert_eq!(open, expected, "registry and events");
        let metrics = &listener.metrics;
        assert_eq!(metrics.opened.get(), opened as u64, "opened");
        assert_eq!(metrics.active.get(), (opened - over) as i64, "active");
        assert_eq!(metrics.closing.get(), (over - ended) as i64, "closing");
        assert_eq!(worker.streams(), opened - ended, "places in the slab");
        assert_eq!(listener.streams(), opened - ended, "permits");
        assert_eq!(worker.shared.streams(), opened - ended, "descriptors");
        assert_eq!(metrics.duration.get_sample_count(), over as u64);
        for reason in Reason::ALL {
            let ends = self.streams.iter().filter_map(|(_, end)| end.as_ref());
            let ends = ends.filter(|end| end.reason == reason.as_str()).count();
            assert_eq!(metrics.closed(*reason).get(), ends as u64, "{reason:?}");
            if let Some(counter) = metrics.overdue(*reason) {
                let told = self.overdue.get(reason).copied().unwrap_or(0);
                assert_eq!(counter.get(), told, "overdue for {reason:?}");
            }
        }
        let recent = registry.closed();
        assert_eq!(recent.len(), over, "closing records");
        for ended in recent {
            let told = self.record(ended.record.stream.id);
            assert!(told.is_some_and(|told| Arc::ptr_eq(told, &ended.record)));
        }
        self.journal.go_on(&mut self.tap.log, registry);
    }

    /// At the very end the process is killed.
    pub(super) fn kill(&mut self, worker: &Worker) {
        self.journal.kill(&self.tap.log, &worker.shared.registry);
    }

    /// At the very end: what all streams were counted with, by end.
    pub(super) fn sums(&self) -> [[u64; 2]; 2] {
        let mut sums = [[0; 2]; 2];
        for (_, end) in &self.streams {
            let stream = &end.as_ref().expect("closed").stream;
            for (end, [bytes, messages]) in End::BOTH.into_iter().zip(&mut sums) {
                let of = |both: crate::registry::record::Both| match end {
                    End::Client => both.client.unwrap(),
                    End::Upstream => both.upstream.unwrap(),
                };
                *bytes += of(stream.bytes);
                *messages += of(stream.messages);
            }
        }
        sums
    }
}
