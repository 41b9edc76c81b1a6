//! Where a client's HTTP/1 requests begin and end, read before anybody else reads them (RFC 9112).
//!
//! One reading of length and end: what two parsers could read in two ways is refused here, never repaired, and does not
//! get as far as the second one. That covers what a lenient parser hides from its caller, such as a Content-Length
//! beside a Transfer-Encoding.

mod chunked;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz;
mod head;
#[cfg(test)]
mod tests;

use chunked::Chunked;

/// Why a request is refused, and how it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// 400, 405, 414, 431 or 505.
    pub status: u16,
    /// What is wrong with it.
    pub why: &'static str,
}

impl Fault {
    const fn bad(why: &'static str) -> Self {
        Self { status: 400, why }
    }
}

/// How far a connection has been read.
#[derive(Debug)]
pub struct Requests {
    limit: usize,
    state: State,
    /// The head, or the trailer line, that is not complete yet.
    partial: Vec<u8>,
    heads: u64,
}

#[derive(Debug)]
enum State {
    Head(Lines),
    /// Bytes of the body that are still to come, more than 0.
    Fixed(u64),
    Chunked(Chunked),
    /// Behind a request for a WebSocket: frames, if the app agrees, and else nothing that anybody may read.
    Beyond,
    /// A head or a body was refused: nothing more is read.
    Refused(Part),
}

/// What of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Up to the empty line.
    Head,
    /// Behind it.
    Body,
}

/// Lines of a head as they come in.
#[derive(Debug, Default)]
struct Lines {
    /// An empty line came before the first: a left-over of the body before it (RFC 9112 section 2.2).
    leading: bool,
    complete: usize,
    /// Bytes of the current line, its CR not included.
    length: usize,
    cr: bool,
}

impl Requests {
    /// A connection of which nothing is read. `limit`: the longest head, in bytes.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            state: State::Head(Lines::default()),
            partial: Vec::new(),
            heads: 0,
        }
    }

    /// Complete heads so far, one that was refused included.
    pub fn heads(&self) -> u64 {
        self.heads
    }

    /// Whether everything from here belongs to a WebSocket: no more feeding.
    pub fn is_beyond(&self) -> bool {
        matches!(self.state, State::Beyond)
    }

    /// Whether a head has begun and is not complete.
    pub fn in_head(&self) -> bool {
        let is_text = |byte| !b"\r\n".contains(byte);
        matches!(self.state, State::Head(_)) && self.partial.iter().any(is_text)
    }

    /// What was refused, if something was.
    pub fn refused(&self) -> Option<Part> {
        match self.state {
            State::Refused(part) => Some(part),
            State::Head(_) | State::Fixed(_) | State::Chunked(_) | State::Beyond => None,
        }
    }

    /// Reads on. What may be passed goes into `out`: a head not before it is complete and found good, the bytes of a
    /// body as they come.
    ///
    /// # Errors
    /// The request that is refused; if it is for its head, nothing of that is in `out` and it is counted by
    /// [`heads`](Self::heads). Nothing behind it is ever read.
    pub fn feed(&mut self, mut input: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
        while !input.is_empty() {
            match self.step(input, out) {
                Ok(taken) => input = &input[taken..],
                Err(fault) => return Err(self.refuse(fault)),
            }
        }
        Ok(())
    }

    /// The client sends nothing more.
    ///
    /// # Errors
    /// A request has begun and not ended (RFC 9112 section 8).
    pub fn end(&mut self) -> Result<(), Fault> {
        let in_body = matches!(self.state, State::Fixed(_) | State::Chunked(_));
        if in_body || self.in_head() {
            let fault = Fault::bad("the request ends before its end (RFC 9112 section 8)");
            return Err(self.refuse(fault));
        }
        Ok(())
    }

    fn refuse(&mut self, fault: Fault) -> Fault {
        self.partial = Vec::new();
        self.state = State::Refused(match self.state {
            State::Head(_) => {
                self.heads += 1;
                Part::Head
            }
            State::Fixed(_) | State::Chunked(_) | State::Beyond | State::Refused(_) => Part::Body,
        });
        fault
    }

    /// Takes some of `input`, at least a byte.
    fn step(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<usize, Fault> {
        match &mut self.state {
            State::Head(_) => self.head(input, out),
            State::Fixed(left) => {
                let taken = input
                    .len()
                    .min(usize::try_from(*left).unwrap_or(usize::MAX));
                out.extend_from_slice(&input[..taken]);
                *left -= taken as u64;
                if *left == 0 {
                    self.state = State::Head(Lines::default());
                }
                Ok(taken)
            }
            State::Chunked(chunked) => {
                let (taken, ended) = chunked.feed(input)?;
                out.extend_from_slice(&input[..taken]);
                if ended {
                    self.state = State::Head(Lines::default());
                }
                Ok(taken)
            }
            State::Beyond => {
                out.extend_from_slice(input);
                Ok(input.len())
            }
            State::Refused(_) => Ok(input.len()),
        }
    }

    fn head(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<usize, Fault> {
        let State::Head(lines) = &mut self.state else {
            return Ok(0);
        };
        let (taken, ended) = lines.feed(input, self.limit - self.partial.len())?;
        self.partial.extend_from_slice(&input[..taken]);
        if ended {
            let body = head::judge(&self.partial)?;
            self.heads += 1;
            out.append(&mut self.partial);
            // A connection that waits for its next request holds no buffer.
            self.partial = Vec::new();
            self.state = match body {
                head::Body::None | head::Body::Length(0) => State::Head(Lines::default()),
                head::Body::Length(length) => State::Fixed(length),
                head::Body::Chunked => State::Chunked(Chunked::default()),
                head::Body::Upgrade => State::Beyond,
            };
        }
        Ok(taken)
    }
}

impl Lines {
    /// Looks for the empty line that ends a head within `room` bytes; returns how many bytes belong to it, and whether
    /// it was there. Every byte is looked at once, however slowly they drip.
    fn feed(&mut self, input: &[u8], room: usize) -> Result<(usize, bool), Fault> {
        for (place, &byte) in input.iter().enumerate() {
            if place == room {
                return Err(self.too_long());
            }
            match (self.cr, byte) {
                (true, b'\n') => {
                    self.cr = false;
                    match (self.length, self.complete, self.leading) {
                        (0, 0, false) => self.leading = true,
                        (0, 0, true) => {
                            return Err(Fault::bad("empty lines before the request"));
                        }
                        (0, _, _) => return Ok((place + 1, true)),
                        (_, _, _) => self.complete += 1,
                    }
                    self.length = 0;
                }
                (true, _) => return Err(Fault::bad("CR without LF (RFC 9112 section 2.2)")),
                (false, b'\r') => self.cr = true,
                (false, b'\n') => return Err(Fault::bad("LF without CR (RFC 9112 section 2.2)")),
                (false, b'\t' | 0x20..=0x7e | 0x80..) => self.length += 1,
                (false, _) => {
                    return Err(Fault::bad(
                        "a control byte in the head (RFC 9110 section 5.5)",
                    ));
                }
            }
        }
        Ok((input.len(), false))
    }

    fn too_long(&self) -> Fault {
        if self.complete == 0 {
            let why = "the request line is longer than limits.request_head";
            Fault { status: 414, why }
        } else {
            let why = "the head is longer than limits.request_head";
            Fault { status: 431, why }
        }
    }
}
