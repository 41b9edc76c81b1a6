//! The records of the log as bytes, and back. No I/O.
//!
//! ```text
//! record   ff 'S' 'B' fe │ length u32 │ CRC32C u32 │ payload       numbers are little-endian
//! payload  {"is":"event", …} \n {the CloudEvent as it is sent}      the second line only for events
//! ```
//!
//! The length counts the payload; the checksum covers length and payload.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::crc32c::crc32c;
use crate::config::EventKind;
use crate::hook::clock::Moment;
use crate::hook::event::{KINDS, type_name};
use crate::hook::message::Message;
use crate::hook::queue::Keys;

/// How a record begins. A payload is UTF-8 and has no byte `ff`: what looks like a beginning behind damage is one.
pub(super) const MAGIC: [u8; 4] = [0xff, b'S', b'B', 0xfe];
/// Bytes before the payload.
pub(super) const HEAD: usize = 12;
/// No payload is longer: bounds what a damaged length can ask for. An event is a few kilobytes, at most a request head
/// (64 KiB and less) written as JSON.
pub(super) const LONGEST: usize = 1024 * 1024;

/// What a record says; the body of an event stands behind it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub(super) enum Entry {
    /// A process began to write.
    Boot { id: Uuid },
    /// An event to be delivered, a stream that opened, or both.
    Event(EventEntry),
    /// A stream has another identity since it opened.
    Bound(BoundEntry),
    /// A hook is done with an event.
    Settled { number: u64, hook: Arc<str> },
    /// A stream is over, and no event of the log says so.
    Over { stream: Uuid },
}

/// An event without its body.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct EventEntry {
    /// Rises over all boots: the order of everything in the log.
    pub(super) number: u64,
    /// The CloudEvents type.
    pub(super) kind: Arc<str>,
    pub(super) id: String,
    /// Those that are not done with it.
    pub(super) hooks: Vec<Arc<str>>,
    /// When it happened by the wall clock, in nanoseconds since 1970.
    pub(super) at: u64,
    /// The same by the steady time of the process that wrote it, and of no use to another.
    #[serde(default)]
    pub(super) steady: u64,
    pub(super) stream: Option<Uuid>,
    pub(super) uid: Option<Arc<str>>,
    pub(super) listener: Option<Arc<str>>,
    /// Whether it is the record of an open stream.
    pub(super) open: bool,
}

/// The identity of a stream.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(in crate::hook) struct BoundEntry {
    /// Given by the log.
    pub(in crate::hook) number: u64,
    pub(in crate::hook) stream: Uuid,
    pub(in crate::hook) uid: Option<Arc<str>>,
    pub(in crate::hook) uid_source: Option<String>,
    pub(in crate::hook) tags: Vec<String>,
}

impl EventEntry {
    pub(super) fn new(message: &Message, hooks: &[Arc<str>], open: bool) -> Self {
        let at = message.at.wall.duration_since(UNIX_EPOCH);
        Self {
            number: message.number,
            kind: Arc::from(type_name(message.kind)),
            id: message.id.clone(),
            hooks: hooks.to_vec(),
            at: at.unwrap_or_default().as_nanos() as u64,
            steady: message.at.steady.as_nanos() as u64,
            stream: message.keys.stream,
            uid: message.keys.uid.clone(),
            listener: message.listener.clone(),
            open,
        }
    }

    /// The kind of event, `None` if this program does not know it.
    pub(super) fn kind(&self) -> Option<EventKind> {
        KINDS
            .into_iter()
            .find(|kind| type_name(*kind) == &*self.kind)
    }

    fn at(&self) -> Moment {
        Moment {
            wall: UNIX_EPOCH + Duration::from_nanos(self.at),
            steady: Duration::from_nanos(self.steady),
        }
    }

    /// The event with its body, as it was before it was written.
    pub(super) fn message(self, body: Bytes) -> Option<Message> {
        Some(Message {
            number: self.number,
            kind: self.kind()?,
            at: self.at(),
            id: self.id,
            keys: Keys {
                stream: self.stream,
                uid: self.uid,
            },
            listener: self.listener,
            body,
        })
    }
}

/// The bytes of a record.
pub(super) fn seal(entry: &Entry, body: Option<&[u8]>) -> Vec<u8> {
    let mut record = vec![0; HEAD];
    serde_json::to_writer(&mut record, entry)
        .expect("entries have only string keys and writing to memory cannot fail");
    if let Some(body) = body {
        record.push(b'\n');
        record.extend_from_slice(body);
    }
    let length = (record.len() - HEAD) as u32;
    record[..4].copy_from_slice(&MAGIC);
    record[4..8].copy_from_slice(&length.to_le_bytes());
    let sum = checksum(&record);
    record[8..HEAD].copy_from_slice(&sum.to_le_bytes());
    record
}

/// The length of the payload if `bytes` begin a record.
pub(super) fn payload_length(bytes: &[u8]) -> Option<usize> {
    let head = bytes.first_chunk::<HEAD>()?;
    if head[..4] != MAGIC {
        return None;
    }
    let length = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
    (length <= LONGEST).then_some(length)
}

/// Whether `bytes` are a whole record and nothing of it has changed since it was sealed.
pub(super) fn is_intact(bytes: &[u8]) -> bool {
    payload_length(bytes).is_some_and(|length| bytes.len() == HEAD + length)
        && bytes[8..HEAD] == checksum(bytes).to_le_bytes()
}

/// What the whole record `bytes` says and where in it its body begins; `None` if it is damaged.
pub(super) fn unseal(bytes: &[u8]) -> Option<(Entry, usize)> {
    if !is_intact(bytes) {
        return None;
    }
    let payload = &bytes[HEAD..];
    let end = memchr::memchr(b'\n', payload);
    let entry = serde_json::from_slice(&payload[..end.unwrap_or(payload.len())]).ok()?;
    Some((entry, end.map_or(bytes.len(), |end| HEAD + end + 1)))
}

/// Of a record whose length is in place.
fn checksum(record: &[u8]) -> u32 {
    crc32c(&record[HEAD..], crc32c(&record[4..8], 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event() -> Entry {
        Entry::Event(EventEntry {
            number: 7,
            kind: Arc::from("sidebeat.stream.closed"),
            id: "evt_1".to_owned(),
            hooks: vec![Arc::from("app")],
            at: 1_795_000_000_123_456_789,
            steady: 1_794_999_000_123_456_789,
            stream: Some(Uuid::from_u128(1)),
            uid: Some(Arc::from("é\n")),
            listener: Some(Arc::from("chat")),
            open: false,
        })
    }

    #[test]
    fn what_is_sealed_is_unsealed() {
        let body = b"{\"specversion\":\"1.0\"}".as_slice();
        let others = [
            Entry::Boot {
                id: Uuid::from_u128(3),
            },
            Entry::Bound(BoundEntry {
                number: 8,
                stream: Uuid::from_u128(1),
                uid: None,
                uid_source: Some("api".to_owned()),
                tags: vec!["room:7".to_owned()],
            }),
            Entry::Settled {
                number: 7,
                hook: Arc::from("app"),
            },
            Entry::Over {
                stream: Uuid::from_u128(1),
            },
        ];
        let bytes = seal(&event(), Some(body));
        let (entry, start) = unseal(&bytes).unwrap();
        assert_eq!((entry, &bytes[start..]), (event(), body));
        for entry in others {
            let bytes = seal(&entry, None);
            assert_eq!(unseal(&bytes), Some((entry, bytes.len())));
        }
    }

    #[test]
    fn a_record_without_a_steady_time_is_read() {
        let entry = serde_json::to_value(event()).unwrap();
        let mut fields = entry.as_object().unwrap().clone();
        fields.remove("steady").unwrap();
        let Entry::Event(read) = serde_json::from_value(fields.into()).unwrap() else {
            panic!("another kind of record");
        };
        assert_eq!((read.at, read.steady), (1_795_000_000_123_456_789, 0));
    }

    #[test]
    fn a_change_of_any_bit_is_seen() {
        let good = seal(&event(), Some(b"{}"));
        for place in 0..good.len() {
            for bit in 0..8 {
                let mut bad = good.clone();
                bad[place] ^= 1 << bit;
                assert_eq!(unseal(&bad), None, "bit {bit} of byte {place}");
            }
        }
        for length in 0..good.len() {
            assert_eq!(unseal(&good[..length]), None);
        }
    }

    #[test]
    fn a_declared_length_is_not_believed() {
        let mut bytes = seal(&event(), None);
        bytes[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(payload_length(&bytes), None);
    }
}
