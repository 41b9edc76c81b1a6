//! A body in chunks, read strictly (RFC 9112 section 7.1).

use super::Fault;
use super::head::is_token;

/// Extensions and trailers of one body, in bytes: nobody uses them, and every byte costs two parsers.
const EXTRAS: usize = 8 * 1024;

/// Sixty bits: what adds up beyond is no length.
const MOST_DIGITS: u32 = 15;

#[derive(Debug, Default)]
pub(super) struct Chunked {
    state: State,
    extras: usize,
    /// The trailer line that is not complete yet.
    line: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Size {
        size: u64,
        digits: u32,
    },
    /// Blanks behind the size, which only an extension may follow.
    Blank {
        size: u64,
    },
    Extension {
        size: u64,
    },
    SizeLf {
        size: u64,
    },
    Data {
        left: u64,
    },
    DataCr,
    DataLf,
    Trailer,
    TrailerLf,
}

impl Default for State {
    fn default() -> Self {
        Self::Size { size: 0, digits: 0 }
    }
}

impl Chunked {
    /// Reads on; returns how many bytes belong to the body, at least one, and whether it ended.
    pub(super) fn feed(&mut self, input: &[u8]) -> Result<(usize, bool), Fault> {
        let mut place = 0;
        while place < input.len() {
            if let State::Data { left } = self.state {
                let taken = (input.len() - place).min(usize::try_from(left).unwrap_or(usize::MAX));
                place += taken;
                self.state = match left - taken as u64 {
                    0 => State::DataCr,
                    left => State::Data { left },
                };
                continue;
            }
            let byte = input[place];
            place += 1;
            match self.byte(byte)? {
                Some(state) => self.state = state,
                None => return Ok((place, true)),
            }
        }
        Ok((place, false))
    }

    /// The state behind `byte`; `None` behind the last one.
    fn byte(&mut self, byte: u8) -> Result<Option<State>, Fault> {
        let bad = |why| Err(Fault::bad(why));
        Ok(Some(match (self.state, byte) {
            (State::Size { size, digits }, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                if digits == MOST_DIGITS {
                    return bad("a chunk size that is too large (RFC 9112 section 7.1)");
                }
                let digit = (byte as char).to_digit(16).unwrap_or_default();
                let (size, digits) = (size * 16 + u64::from(digit), digits + 1);
                State::Size { size, digits }
            }
            (State::Size { digits: 0, .. }, _) => {
                return bad("a chunk without a size (RFC 9112 section 7.1)");
            }
            (State::Size { size, .. } | State::Extension { size }, b'\r') => State::SizeLf { size },
            (State::Size { size, .. } | State::Blank { size }, b' ' | b'\t') => {
                self.extra()?;
                State::Blank { size }
            }
            (State::Size { size, .. } | State::Blank { size }, b';') => {
                self.extra()?;
                State::Extension { size }
            }
            (State::Size { .. } | State::Blank { .. }, _) => {
                return bad("a chunk size is hexadecimal digits (RFC 9112 section 7.1)");
            }
            (State::Extension { size }, b'\t' | 0x20..=0x7e | 0x80..) => {
                self.extra()?;
                State::Extension { size }
            }
            (State::Extension { .. }, _) => {
                return bad("a control byte in a chunk extension (RFC 9112 section 7.1.1)");
            }
            (State::SizeLf { size: 0 }, b'\n') => State::Trailer,
            (State::SizeLf { size }, b'\n') => State::Data { left: size },
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => State::default(),
            (State::Trailer, b'\r') => State::TrailerLf,
            (State::Trailer, b'\t' | 0x20..=0x7e | 0x80..) => {
                self.extra()?;
                self.line.push(byte);
                State::Trailer
            }
            (State::Trailer, _) => {
                return bad("a control byte in a trailer (RFC 9110 section 5.5)");
            }
            (State::TrailerLf, b'\n') if self.line.is_empty() => return Ok(None),
            (State::TrailerLf, b'\n') => {
                let colon = self.line.iter().position(|&byte| byte == b':');
                if !colon.is_some_and(|colon| is_token(&self.line[..colon])) {
                    return bad("a trailer that is no header (RFC 9112 section 7.1.2)");
                }
                self.line.clear();
                State::Trailer
            }
            (State::SizeLf { .. } | State::TrailerLf, _) => {
                return bad("CR without LF (RFC 9112 section 2.2)");
            }
            (State::DataCr | State::DataLf, _) => {
                return bad("a chunk longer than its size (RFC 9112 section 7.1)");
            }
            (State::Data { .. }, _) => return bad("data are not read byte by byte"),
        }))
    }

    fn extra(&mut self) -> Result<(), Fault> {
        self.extras += 1;
        if self.extras > EXTRAS {
            let why = "more than 8 KiB of chunk extensions and trailers";
            return Err(Fault { status: 431, why });
        }
        Ok(())
    }
}
