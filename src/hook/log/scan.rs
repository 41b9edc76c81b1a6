//! Reads a log from front to back and finds its way again behind damage.

use std::io::Read;
use std::ops::Range;

use memchr::memmem;

use super::record::{Entry, HEAD, MAGIC, payload_length, unseal};

/// Bytes asked of the file at once.
const CHUNK: usize = 64 * 1024;

/// What stands next in the log.
#[derive(Debug, PartialEq)]
pub(super) enum Found {
    /// A good record at this place in the file.
    Record { entry: Entry, at: u64, size: u32 },
    /// Bytes of the file that are no record and have good records behind them.
    Damage(Range<u64>),
    /// The file ends with bytes that are no record: what a process wrote last when it was killed.
    Torn(Range<u64>),
}

/// The records of a file, from its first one on.
pub(super) struct Scanner<R> {
    from: R,
    /// Place in the file of `buffer[start]`.
    at: u64,
    /// Read and not passed: `buffer[start..]`.
    buffer: Vec<u8>,
    start: usize,
    ended: bool,
}

impl<R: Read> Scanner<R> {
    /// `from` stands at the place `at` of the file.
    pub(super) fn new(from: R, at: u64) -> Self {
        Self {
            from,
            at,
            buffer: Vec::new(),
            start: 0,
            ended: false,
        }
    }

    /// `None` at the end of the file.
    pub(super) fn next(&mut self) -> std::io::Result<Option<Found>> {
        if let Some((entry, size)) = self.record()? {
            let at = self.at;
            self.pass(size);
            let size = size as u32;
            return Ok(Some(Found::Record { entry, at, size }));
        }
        if !self.fill(1)? {
            return Ok(None);
        }
        let from = self.at;
        while self.find_magic()? {
            if self.record()?.is_some() {
                return Ok(Some(Found::Damage(from..self.at)));
            }
        }
        Ok(Some(Found::Torn(from..self.at)))
    }

    /// The record here and its size, if it is a good one.
    fn record(&mut self) -> std::io::Result<Option<(Entry, usize)>> {
        if !self.fill(HEAD)? {
            return Ok(None);
        }
        let Some(length) = payload_length(&self.buffer[self.start..]) else {
            return Ok(None);
        };
        let size = HEAD + length;
        if !self.fill(size)? {
            return Ok(None);
        }
        let record = unseal(&self.buffer[self.start..self.start + size]);
        Ok(record.map(|(entry, _)| (entry, size)))
    }

    /// Goes to the next place after this one that looks like a beginning; to the end of the file if there is none.
    fn find_magic(&mut self) -> std::io::Result<bool> {
        self.pass(1);
        while self.fill(MAGIC.len())? {
            let rest = &self.buffer[self.start..];
            if let Some(place) = memmem::find(rest, &MAGIC) {
                self.pass(place);
                return Ok(true);
            }
            // The last bytes may begin it.
            self.pass(rest.len() - (MAGIC.len() - 1));
        }
        self.pass(self.buffer.len() - self.start);
        Ok(false)
    }

    /// Reads until `wanted` bytes are there; whether they are.
    fn fill(&mut self, wanted: usize) -> std::io::Result<bool> {
        while self.buffer.len() - self.start < wanted && !self.ended {
            self.buffer.drain(..self.start);
            self.start = 0;
            let before = self.buffer.len();
            let mut more = self.from.by_ref().take(CHUNK as u64);
            self.ended = more.read_to_end(&mut self.buffer)? == 0;
            debug_assert!(self.ended || self.buffer.len() > before);
        }
        Ok(self.buffer.len() - self.start >= wanted)
    }

    fn pass(&mut self, bytes: usize) {
        self.start += bytes;
        self.at += bytes as u64;
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::super::record::seal;
    use super::*;

    fn over(stream: u128) -> Vec<u8> {
        let stream = Uuid::from_u128(stream);
        seal(&Entry::Over { stream }, None)
    }

    fn scan(file: &[u8]) -> Vec<Found> {
        let mut scanner = Scanner::new(file, 0);
        std::iter::from_fn(|| scanner.next().unwrap()).collect()
    }

    fn streams(found: &[Found]) -> Vec<u128> {
        let of = |found: &Found| match found {
            Found::Record {
                entry: Entry::Over { stream },
                ..
            } => Some(stream.as_u128()),
            _ => None,
        };
        found.iter().filter_map(of).collect()
    }

    #[test]
    fn damage_costs_the_records_that_it_hits_and_no_other() {
        let records: Vec<Vec<u8>> = (1..=4).map(over).collect();
        let size = records[0].len();
        let file = records.concat();
        assert_eq!(streams(&scan(&file)), [1, 2, 3, 4]);
        for place in 0..file.len() {
            let mut bad = file.clone();
            bad[place] ^= 0x55;
            let found = scan(&bad);
            let hit = place / size;
            let good: Vec<u128> = (0..4)
                .filter(|nth| *nth != hit)
                .map(|nth| nth as u128 + 1)
                .collect();
            assert_eq!(streams(&found), good, "byte {place}");
            let range = (hit * size) as u64..((hit + 1) * size) as u64;
            let expected = if hit == 3 {
                Found::Torn(range)
            } else {
                Found::Damage(range)
            };
            assert!(found.contains(&expected), "byte {place}: {found:?}");
        }
    }

    #[test]
    fn a_torn_tail_of_any_length_is_told() {
        let file = [over(1), over(2)].concat();
        let one = over(1).len();
        for length in one + 1..file.len() {
            let found = scan(&file[..length]);
            assert_eq!(streams(&found), [1]);
            assert_eq!(found[1], Found::Torn(one as u64..length as u64));
        }
        assert_eq!(scan(&file[..one]).len(), 1);
        assert_eq!(scan(&[]), []);
    }

    #[test]
    fn long_damage_and_false_beginnings_are_passed() {
        let mut file = over(1);
        file.extend(std::iter::repeat_n(0, 3 * CHUNK));
        file.extend([MAGIC, MAGIC, MAGIC].concat());
        // Says that it is as long as allowed, and more than follows.
        file.extend(MAGIC);
        file.extend((super::super::record::LONGEST as u32).to_le_bytes());
        file.extend(over(2));
        let found = scan(&file);
        assert_eq!(streams(&found), [1, 2]);
        assert_eq!(found.len(), 3);
    }
}
