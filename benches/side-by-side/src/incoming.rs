//! What comes back on a stream: the answer to its opening, then frames.

use crate::app::payload_size;
use crate::{Result, client};

/// First bytes of frames: the last of their message, without reserved bits.
const BINARY: u8 = 0x82;
const CLOSE: u8 = 0x88;
const PING: u8 = 0x89;

/// What was read of a stream and is not whole yet, and what that asks of us.
#[derive(Default)]
pub struct Incoming {
    head: Vec<u8>,
    payload_left: u64,
    /// Payload of a control frame that is not whole.
    control: Vec<u8>,
    /// Answers to pings, to be sent.
    pub pongs: Vec<u8>,
    /// Pings so far.
    pub pings: u64,
    /// We have sent a Close, to which one is the answer.
    pub closing: bool,
}

impl Incoming {
    /// Takes the answer to the opening; how many bytes follow it, once it is complete.
    pub fn answer(&mut self, data: &[u8]) -> Result<Option<usize>> {
        let before = self.head.len();
        self.head.extend_from_slice(data);
        let Some(end) = self.head.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
        if !self.head.starts_with(b"HTTP/1.1 101") {
            return Err(String::from_utf8_lossy(&self.head[..end]).into_owned().into());
        }
        self.head.clear();
        Ok(Some(data.len() - (end + 4 - before)))
    }

    /// Counts the data messages that end in these bytes; pings get their pong.
    pub fn count(&mut self, mut data: &[u8]) -> Result<usize> {
        let mut ended = 0;
        while !data.is_empty() || !self.head.is_empty() {
            if self.head.is_empty() || self.payload_left == 0 {
                let had = self.head.len();
                self.head.extend_from_slice(&data[..data.len().min(10 - had)]);
                let size = match self.head.get(1).map(|byte| byte & 0x7f) {
                    None => break,
                    Some(126) => 4,
                    Some(127) => 10,
                    Some(_) => 2,
                };
                if self.head.len() < size {
                    break;
                }
                self.payload_left = payload_size(&self.head);
                self.head.truncate(1);
                data = &data[size - had..];
            }
            let taken = data.len().min(self.payload_left as usize);
            if self.head[0] == PING {
                self.control.extend_from_slice(&data[..taken]);
            }
            self.payload_left -= taken as u64;
            data = &data[taken..];
            if self.payload_left > 0 {
                break;
            }
            match self.head[0] {
                BINARY => ended += 1,
                PING => {
                    self.pings += 1;
                    self.pongs.extend(client::frame(10, &self.control));
                    self.control.clear();
                }
                CLOSE if self.closing => {}
                first => return Err(format!("a frame that this load does not expect: {first:#x}").into()),
            }
            self.head.clear();
        }
        Ok(ended)
    }
}
