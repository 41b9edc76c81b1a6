//! Streams that are right most of the time, for the scanners of WebSocket frames.

use super::*;
use crate::proto::websocket::apply_mask;

/// One frame; the masking bit follows `client`, the bytes of the length are the fewest.
pub(super) fn frame(first: u8, payload: &[u8], client: bool) -> Vec<u8> {
    let masked = if client { 0x80 } else { 0 };
    let mut out = vec![first];
    match payload.len() {
        len @ 0..126 => out.push(masked | len as u8),
        len @ 126..65_536 => {
            out.push(masked | 126);
            out.extend((len as u16).to_be_bytes());
        }
        len => {
            out.push(masked | 127);
            out.extend((len as u64).to_be_bytes());
        }
    }
    let key = [len_key(payload), 0x5A, 0, 0xFF];
    let mut payload = payload.to_vec();
    if client {
        out.extend(key);
        apply_mask(&mut payload, key);
    }
    out.extend(payload);
    out
}

fn len_key(payload: &[u8]) -> u8 {
    payload.len() as u8 ^ 0xA5
}

pub(super) fn payload() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => prop::sample::select(vec![&b"pong"[..], b"po", b"ng", b"p", b"", b"pong\n", &[7; 40]])
            .prop_map(<[u8]>::to_vec),
        4 => prop::collection::vec(any::<u8>(), 0..40),
        1 => prop::collection::vec(any::<u8>(), 120..130),
        1 => (any::<u8>(), 65_530usize..65_540).prop_map(|(byte, len)| vec![byte; len]),
    ]
}

/// A valid message in fragments, each with a Ping behind it or none.
#[derive(Debug, Clone)]
pub(super) struct Message {
    binary: bool,
    fragments: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

pub(super) fn message() -> impl Strategy<Value = Message> {
    let ping = prop::option::weighted(0.2, prop::collection::vec(any::<u8>(), 0..12));
    let halves = Just(vec![(b"po".to_vec(), None), (b"ng".to_vec(), None)]);
    let fragments = prop_oneof![
        3 => prop::collection::vec((payload(), ping), 1..5),
        1 => halves,
    ];
    (prop::bool::weighted(0.3), fragments)
        .prop_map(|(binary, fragments)| Message { binary, fragments })
}

impl Message {
    /// Its bytes and what a scanner is to see in them.
    pub(super) fn frames(&self, client: bool, reply: Option<&Payload>) -> (Vec<u8>, Vec<Seen>) {
        let (mut stream, mut seen) = (Vec::new(), Vec::new());
        let (last, before) = self.fragments.split_last().unwrap();
        let parts: Vec<_> = self.fragments.iter().map(|(part, _)| &part[..]).collect();
        let is_reply = reply.is_some_and(|reply| *reply.bytes == *parts.concat())
            && !self.binary
            && before.iter().all(|(_, ping)| ping.is_none());
        let mut opcode = 1 + u8::from(self.binary);
        let mut add = |payload: &[u8], ping: &Option<Vec<u8>>, fin, edge| {
            let data = frame(fin | opcode, payload, client);
            opcode = 0;
            stream.extend(&data);
            match edge {
                Edge::Message if is_reply => {
                    let len = stream.len();
                    seen.push(Seen::Whole(Item::Reply { len }));
                }
                _ if is_reply => {}
                _ => seen.push(super::data(data.len(), edge)),
            }
            if let Some(payload) = ping {
                let ping = frame(0x89, payload, client);
                seen.push(Seen::Whole(Item::Ping { len: ping.len() }));
                stream.extend(ping);
            }
        };
        for (payload, ping) in before {
            add(payload, ping, 0, Edge::Frame);
        }
        add(&last.0, &last.1, 0x80, Edge::Message);
        (stream, seen)
    }
}

/// A frame of any kind: most of the time one that is allowed somewhere.
fn any_frame(client: bool) -> impl Strategy<Value = Vec<u8>> {
    let first = prop_oneof![
        8 => prop::sample::select(vec![0x81, 0x82, 0x01, 0x02, 0x00, 0x80]),
        3 => prop::sample::select(vec![0x89, 0x8A, 0xC1, 0x41]),
        1 => any::<u8>(),
    ];
    (first, payload()).prop_map(move |(first, payload)| frame(first, &payload, client))
}

fn records() -> impl Strategy<Value = Vec<u8>> {
    let record = prop_oneof![
        payload(),
        payload().prop_map(|line| [&line[..], b"\n"].concat()),
        Just(b"pong\n".to_vec()),
        Just(b"\x05pong".to_vec()),
        Just(b"\0\0\0\x04pong".to_vec()),
        (0u8..9).prop_map(|length| vec![length]),
        (0u8..9).prop_map(|length| vec![0, length]),
        (0u8..9).prop_map(|length| vec![0, 0, 0, length]),
        (0u8..9).prop_map(|length| vec![0, 0, 0, 0, 0, 0, 0, length]),
    ];
    prop::collection::vec(record, 0..12).prop_map(|all| all.concat())
}

/// A stream for any of the scanners, cut off somewhere.
pub(super) fn stream() -> impl Strategy<Value = Vec<u8>> {
    let frames =
        |client| prop::collection::vec(any_frame(client), 0..12).prop_map(|frames| frames.concat());
    let whole = prop_oneof![
        4 => frames(true),
        2 => frames(false),
        3 => records(),
        1 => prop::collection::vec(any::<u8>(), 0..300),
    ];
    (whole, 0usize..8).prop_map(|(mut stream, cut)| {
        stream.truncate(stream.len() - cut.min(stream.len()));
        stream
    })
}

/// The sizes of the reads: small ones most of the time.
pub(super) fn cuts() -> impl Strategy<Value = Vec<usize>> {
    let size = prop_oneof![6 => 1usize..8, 2 => 1usize..200, 2 => 1usize..70_000];
    prop::collection::vec(size, 1..40)
}
