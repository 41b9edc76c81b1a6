//! The client's first message as its uid (`first_message: whole`).

use super::identity;
use crate::proto::framing::Scanner;
use crate::registry::UID_MAX;

/// The most bytes on the wire: a uid in frames of one byte each, and as much again for empty ones.
const WIRE_MAX: usize = 2048;

/// Gathers the client's first message.
#[derive(Debug, Default)]
pub(super) struct FirstMessage {
    wire: Vec<u8>,
}

/// What there is after some bytes of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Gathered {
    /// It is not whole.
    More,
    /// It was a uid.
    Uid(Box<str>),
    /// It was none, and there is no second first message.
    Nothing,
}

impl FirstMessage {
    /// Takes the next bytes that the client's scanner passed as data; `ends`: the message ends with them.
    pub(super) fn take_in(&mut self, data: &[u8], ends: bool, scanner: &Scanner) -> Gathered {
        if self.wire.len() + data.len() > WIRE_MAX {
            identity::ignored("uid", self.wire.len() + data.len(), UID_MAX);
            return Gathered::Nothing;
        }
        self.wire.extend_from_slice(data);
        if !ends {
            return Gathered::More;
        }
        let payload = scanner
            .open(&self.wire)
            .and_then(|payload| String::from_utf8(payload).ok());
        match payload.and_then(|text| identity::acceptable("uid", text, UID_MAX)) {
            Some(uid) => Gathered::Uid(uid),
            None => Gathered::Nothing,
        }
    }
}
