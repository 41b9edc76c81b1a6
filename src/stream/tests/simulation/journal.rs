//! The hook log of a world: what of it reaches an app, and what the next process would tell if this one were killed now.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use uuid::Uuid;

use crate::config::EventKind;
use crate::hook::tests::{ByHand, Told};
use crate::proto::cause::Reason;
use crate::registry::Registry;

/// An app, and the fortunes of the log between it and the world.
pub(super) struct Journal {
    random: SmallRng,
    /// Handed on to the hook.
    waiting: VecDeque<Told>,
    /// What the app was told, in that order.
    arrived: Vec<Told>,
}

impl Journal {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            // Not of the world's dice: they fall as if there were no log.
            random: SmallRng::seed_from_u64(!seed),
            waiting: VecDeque::new(),
            arrived: Vec::new(),
        }
    }

    /// Goes on for a while; now and then the process is killed as well, and its log is read in another world.
    pub(super) fn go_on(&mut self, log: &mut ByHand, registry: &Registry) {
        assert_eq!(log.open(), open(registry), "registry and log");
        match self.random.random_range(0..8) {
            0..2 => log.write(),
            2..4 => self.waiting.extend(log.sync()),
            4 if self.random.random_bool(0.1) => log.rewrite(),
            _ => {}
        }
        while self.random.random_bool(0.5)
            && let Some(told) = self.waiting.pop_front()
        {
            // The app may have it before that is on record.
            if self.random.random_bool(0.8) {
                log.settle(&told);
            }
            self.arrived.push(told);
        }
        if self.random.random_bool(0.02) {
            self.kill(log, registry);
        }
    }

    /// Of every stream that anybody heard of one `opened` and one `closed`, whatever became of the process.
    pub(super) fn kill(&mut self, log: &ByHand, registry: &Registry) {
        let machine = self.random.random();
        let next = log.next_life(|bytes| match machine {
            true => self.random.random_range(bytes),
            false => *bytes.end(),
        });
        let again: HashSet<&str> = next.iter().map(|told| &*told.id).collect();
        for told in &self.waiting {
            assert!(again.contains(&*told.id), "lost: {told:?}");
        }
        let (mut ids, mut opened, mut closed) = (HashMap::new(), BTreeSet::new(), BTreeSet::new());
        let mut crashed = BTreeMap::new();
        for told in self.arrived.iter().chain(&next) {
            if let Some(first) = ids.insert(&told.id, told) {
                assert_eq!(first, told, "two events of one id");
                continue;
            }
            match told.kind {
                EventKind::Opened => assert!(opened.insert(told.stream), "opened twice: {told:?}"),
                EventKind::Closed => {
                    assert!(opened.contains(&told.stream), "not opened: {told:?}");
                    assert!(closed.insert(told.stream), "closed twice: {told:?}");
                    if told.reason.as_deref() == Some(Reason::SidecarCrash.as_str()) {
                        crashed.insert(told.stream, told.uid.clone());
                    }
                }
                EventKind::Overdue => assert!(opened.contains(&told.stream)),
                EventKind::Started | EventKind::Draining => panic!("not of a stream: {told:?}"),
            }
        }
        assert_eq!(opened, closed, "what is left without an end");
        if !machine && log.is_written() {
            assert_eq!(crashed, open(registry), "who is reported after a crash");
        }
    }
}

fn open(registry: &Registry) -> BTreeMap<Uuid, Option<String>> {
    let open = registry.all();
    let open = open.iter().map(|entry| {
        let uid = entry.identity().uid.as_deref().map(str::to_owned);
        (entry.id, uid)
    });
    open.collect()
}
