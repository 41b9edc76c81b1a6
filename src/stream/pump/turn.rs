//! What a turn of a stream shares with its pumps, and what they report back.

use std::time::Duration;

use crate::proto::cause::End;
use crate::proto::framing::Payload;
use crate::proto::heart::{Heart, Time};
use crate::proto::websocket;
use crate::stream::first_message::FirstMessage;
use crate::stream::mailbox::Mailbox;
use crate::worker::Worker;

/// What one turn of a stream needs besides its pumps.
pub(in crate::stream) struct Turn<'a> {
    pub(in crate::stream) worker: &'a Worker,
    pub(in crate::stream) heart: &'a mut Heart,
    pub(in crate::stream) now: Time,
    /// `ping.data` of the listener: the client's heartbeat is this instead of a Ping frame.
    pub(in crate::stream) beat: Option<&'a Beat>,
    /// The heart learned of more than bytes and messages.
    pub(in crate::stream) stirred: bool,
    pub(in crate::stream) tally: [Tally; 2],
    pub(in crate::stream) rtts: Vec<(End, Duration)>,
    pub(in crate::stream) sent: [u64; 2],
    /// What the API has for the client.
    pub(in crate::stream) mailbox: &'a mut Option<Box<Mailbox>>,
    /// Awaited where the first message may be the uid.
    pub(in crate::stream) first_message: &'a mut Option<Box<FirstMessage>>,
    /// What it yielded.
    pub(in crate::stream) uid: Option<Box<str>>,
}

impl Turn<'_> {
    /// `from` sent so many bytes.
    pub(in crate::stream) fn read(&mut self, from: End, bytes: usize) {
        self.heart.read(from, self.now);
        let tally = &mut self.tally[from as usize];
        tally.heard = true;
        tally.bytes += bytes as u64;
    }

    /// So many messages of `from` ended, all heard at the same instant: the heart need not be told one by one.
    pub(super) fn message(&mut self, from: End, count: u64) {
        self.heart.message(from, self.now);
        self.tally[from as usize].messages += count;
    }

    /// `from` answered the heartbeat with this token, or one of data.
    pub(super) fn answered(&mut self, from: End, token: Option<[u8; 8]>, rtt: Duration) {
        self.rtts.push((from, rtt));
        if let (End::Client, Some(mailbox)) = (from, &mut self.mailbox) {
            mailbox.answered(token, rtt);
        }
    }
}

/// What was read from one side in one turn.
#[derive(Debug, Default, Clone, Copy)]
pub(in crate::stream) struct Tally {
    pub(in crate::stream) bytes: u64,
    pub(in crate::stream) messages: u64,
    /// Something arrived, be it only ciphertext.
    pub(in crate::stream) heard: bool,
}

/// An application heartbeat, ready for the wire.
#[derive(Debug)]
pub(crate) struct Beat(pub(super) Vec<u8>);

impl Beat {
    /// The bytes of `data` on the wire: a message of its own on ws, as written elsewhere.
    pub(crate) fn new(data: &Payload, websocket: bool) -> Self {
        let mut wire = Vec::new();
        if websocket {
            let opcode = if data.binary {
                websocket::OPCODE_BINARY
            } else {
                websocket::OPCODE_TEXT
            };
            websocket::encode(opcode, &data.bytes, None, &mut wire);
        } else {
            wire.extend_from_slice(&data.bytes);
        }
        Self(wire)
    }
}
