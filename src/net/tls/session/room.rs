//! Buffers that grow to what rustls wants to write into them.

use std::io;

use rustls::unbuffered::{EncodeError, EncryptError};

/// Why rustls wrote nothing.
pub(super) enum Refused {
    TooSmall { required: usize },
    Failed(io::Error),
}

impl From<EncodeError> for Refused {
    fn from(error: EncodeError) -> Self {
        match error {
            EncodeError::InsufficientSize(size) => Self::TooSmall {
                required: size.required_size,
            },
            EncodeError::AlreadyEncoded => Self::Failed(io::Error::other(error)),
        }
    }
}

impl From<EncryptError> for Refused {
    fn from(error: EncryptError) -> Self {
        match error {
            EncryptError::InsufficientSize(size) => Self::TooSmall {
                required: size.required_size,
            },
            EncryptError::EncryptExhausted => Self::Failed(io::Error::other(error)),
        }
    }
}

/// Has something written into `output` from `start` on, which grows to the size that takes; returns how many bytes it is.
pub(super) fn put(
    output: &mut Vec<u8>,
    start: usize,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, Refused>,
) -> io::Result<usize> {
    loop {
        match write(&mut output[start..]) {
            Ok(count) => return Ok(count),
            Err(Refused::TooSmall { required }) => output.resize(start + required, 0),
            Err(Refused::Failed(error)) => return Err(error),
        }
    }
}

/// Appends what is written.
pub(super) fn queue(
    outgoing: &mut Vec<u8>,
    write: impl FnMut(&mut [u8]) -> Result<usize, Refused>,
) -> io::Result<()> {
    let start = outgoing.len();
    let count = put(outgoing, start, write)?;
    outgoing.truncate(start + count);
    Ok(())
}
