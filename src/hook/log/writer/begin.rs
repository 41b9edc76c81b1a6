//! What a process tells first: its start, and the end of the streams that a killed one left open.

use tracing::warn;
use uuid::Uuid;

use super::{BATCH, Writer};
use crate::config::EventKind;
use crate::hook::clock::Moment;
use crate::hook::event::Event;
use crate::hook::log::crash::closing_record;
use crate::hook::message::{Message, Subject};

impl Writer {
    /// Tells of the start of this process and of the streams that the former one left open.
    pub(super) fn begin(&mut self, at: Moment) {
        let open = std::mem::take(&mut self.past.open);
        let started = Event::Started {
            former_boot_id: self.past.boot.map(|boot| boot.to_string()),
            recovered: open.len() as u64,
        };
        self.event(&started, at);
        for stream in open {
            self.report_crash(stream, at);
            if self.batch.events.len() >= BATCH {
                // Without a sync: what is in memory at once is bounded.
                self.commit();
                let batch = std::mem::take(&mut self.batch);
                self.finish(batch);
            }
        }
    }

    fn report_crash(&mut self, stream: Uuid, at: Moment) {
        let Some(&open) = self.store.open.get(&stream) else {
            return;
        };
        let Some(opened) = self.store.load(open.opened) else {
            warn!(%stream, "the hook log has lost the opening of a stream that was open");
            return self.store.forget(stream);
        };
        let hooks = self
            .shared
            .wanting(EventKind::Closed, opened.listener.as_deref());
        let identity = self.store.identity(open);
        let record = closing_record(&opened.body, identity.as_ref(), at.wall);
        let Some(record) = record.filter(|_| !hooks.is_empty()) else {
            return self.store.forget(stream);
        };
        let subject = Subject {
            kind: EventKind::Closed,
            stream: Some(stream),
            uid: record["uid"].as_str(),
            listener: opened.listener,
        };
        self.sequence += 1;
        let message = Message::of_crash(subject, &record, at, &self.source, self.sequence);
        self.put(message, hooks);
    }
}
