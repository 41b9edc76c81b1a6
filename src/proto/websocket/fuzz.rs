//! The body of the fuzz target `frames`: another implementation reads the same bytes.

use std::io::{self, Cursor, Read, Write};

use tungstenite::error::ProtocolError;
use tungstenite::protocol::{Role, WebSocketConfig};
use tungstenite::{Error, Message, WebSocket};

use super::{Extensions, LENGTH_OVER_63_BITS, NOT_MINIMAL};
use crate::proto::cause::End;
use crate::proto::framing::fuzz::{Seen, walk};
use crate::proto::framing::{Item, Scanner, Violation};

/// We look at the form of the length, the other at the length.
const LONG_CONTROL: &str = "a control frame of more than 125 bytes";

/// What either side makes known of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    Message,
    Ping,
    Pong,
    Close,
}

/// How reading a stream ended.
#[derive(Debug, PartialEq, Eq)]
enum Ending {
    /// With a Close, or with the bytes.
    Quiet,
    /// A rule that both know was broken.
    Broken,
    /// A rule that the other does not know was broken: payloads are none of our business, and only we count the bits of
    /// a length.
    OwnRule,
}

/// A stream behind a byte that says who sent it: ours and another implementation see the same messages and control
/// frames, and break off in the same place, unless it is for a rule that one of them does not have.
///
/// # Panics
/// If they do not agree.
pub fn frames(input: &[u8]) {
    let &[from, ref stream @ ..] = input else {
        return;
    };
    let from = End::BOTH[usize::from(from & 1)];
    let (ours, our_end) = by_us(from, stream);
    let (theirs, their_end) = by_tungstenite(from, stream);
    let common = ours.len().min(theirs.len());
    assert_eq!(ours[..common], theirs[..common]);
    if theirs.len() > common {
        assert_eq!(
            our_end,
            Ending::OwnRule,
            "ours broke off: {ours:?} {theirs:?}"
        );
    } else if ours.len() > common {
        assert_eq!(
            their_end,
            Ending::OwnRule,
            "theirs broke off: {ours:?} {theirs:?}"
        );
    } else if their_end == Ending::Broken {
        assert_ne!(our_end, Ending::Quiet, "we let pass what breaks the rules");
    }
}

fn by_us(from: End, stream: &[u8]) -> (Vec<Event>, Ending) {
    let scanner = Scanner::websocket(from, Extensions::default(), None, None);
    let (seen, _) = walk(scanner, [stream]);
    let mut ending = Ending::Quiet;
    let events = seen.iter().filter_map(|seen| match seen {
        Seen::Data { message, .. } => message.then_some(Event::Message),
        Seen::Whole(Item::Ping { .. }) => Some(Event::Ping),
        Seen::Whole(Item::Pong { .. }) => Some(Event::Pong),
        Seen::Whole(Item::Close { .. }) => Some(Event::Close),
        Seen::Whole(Item::Data { .. } | Item::Reply { .. } | Item::Incomplete) => None,
        Seen::Violation(violation) => {
            ending = match violation {
                Violation::Protocol(NOT_MINIMAL | LENGTH_OVER_63_BITS | LONG_CONTROL) => {
                    Ending::OwnRule
                }
                Violation::Protocol(_) | Violation::TooBig { .. } => Ending::Broken,
            };
            None
        }
    });
    (events.collect(), ending)
}

fn by_tungstenite(from: End, stream: &[u8]) -> (Vec<Event>, Ending) {
    let role = match from {
        End::Client => Role::Server,
        End::Upstream => Role::Client,
    };
    // A declared length may ask for any amount of memory.
    let config = WebSocketConfig::default()
        .max_frame_size(Some(1 << 20))
        .max_message_size(Some(1 << 20));
    let mut socket = WebSocket::from_raw_socket(ReadOnly(Cursor::new(stream)), role, Some(config));
    let mut events = Vec::new();
    loop {
        events.push(match socket.read() {
            Ok(Message::Text(_) | Message::Binary(_)) => Event::Message,
            Ok(Message::Ping(_)) => Event::Ping,
            Ok(Message::Pong(_)) => Event::Pong,
            Ok(Message::Close(_) | Message::Frame(_)) => {
                events.push(Event::Close);
                return (events, Ending::Quiet);
            }
            Err(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)) => {
                return (events, Ending::Quiet);
            }
            // What a Close says is between the two ends.
            Err(Error::Protocol(ProtocolError::InvalidCloseSequence)) => {
                return (events, Ending::OwnRule);
            }
            Err(Error::Protocol(_)) => return (events, Ending::Broken),
            Err(_) => return (events, Ending::OwnRule),
        });
    }
}

/// Its answers go nowhere.
struct ReadOnly<'a>(Cursor<&'a [u8]>);

impl Read for ReadOnly<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.0.read(into)
    }
}

impl Write for ReadOnly<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
