//! How much clients of one listener may ask for.

use super::error::ConfigError;
use super::listener::{Nature, seconds};
use super::raw::RawLimits;
use super::reader::Reader;
use super::ready::{Limits, Protocol};

/// hyper panics when its buffer is smaller.
const LEAST_REQUEST_HEAD: u64 = 8 << 10;

/// Far more than any head, far less than a memory.
const MOST_REQUEST_HEAD: u64 = 16 << 20;

/// Reads `limits`.
pub(super) fn limits(
    reader: &Reader<'_>,
    nature: Nature,
    raw: Option<&RawLimits>,
    accepts_proxy: bool,
) -> Result<Limits, ConfigError> {
    let none = RawLimits::default();
    let raw = raw.unwrap_or(&none);
    if let Some(leaf) = raw.request_head.get().filter(|_| !nature.is_websocket()) {
        let message = format!("{} has no HTTP: remove it", nature.name());
        return Err(reader.misplaced(leaf.place, "request_head", &message));
    }
    let no_handshake = nature.protocol == Protocol::Tcp && !accepts_proxy;
    if let Some(leaf) = raw.handshake_timeout.get().filter(|_| no_handshake) {
        return Err(reader.misplaced(
            leaf.place,
            "handshake_timeout",
            "plain tcp has no handshake: remove it, or set `proxy_protocol: { accept: … }`",
        ));
    }
    if let Some(leaf) = raw.message.get().filter(|_| !nature.has_messages()) {
        return Err(reader.misplaced(
            leaf.place,
            "message",
            "raw framing knows no messages: remove it, or set `framing`",
        ));
    }
    let count = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
    Ok(Limits {
        streams: count(reader.or(&raw.streams, "streams", 100_000)?),
        streams_per_ip: reader
            .or(&raw.streams_per_ip, "streams_per_ip", None)?
            .map(count),
        opens_per_second: reader.or(&raw.opens_per_second, "opens_per_second", None)?,
        opens_per_second_per_ip: reader.or(
            &raw.opens_per_second_per_ip,
            "opens_per_second_per_ip",
            None,
        )?,
        handshake_timeout: reader.or(&raw.handshake_timeout, "handshake_timeout", seconds(10))?,
        request_head: request_head(reader, raw)?,
        message: reader.or(&raw.message, "message", None)?,
    })
}

fn request_head(reader: &Reader<'_>, raw: &RawLimits) -> Result<usize, ConfigError> {
    let Some(leaf) = raw.request_head.get() else {
        return Ok(16 << 10);
    };
    match reader.get(leaf, "request_head")? {
        size @ LEAST_REQUEST_HEAD..=MOST_REQUEST_HEAD => {
            Ok(usize::try_from(size).unwrap_or(usize::MAX))
        }
        ..LEAST_REQUEST_HEAD => Err(reader.wrong(leaf, "request_head", "write at least `8KiB`")),
        _ => Err(reader.wrong(leaf, "request_head", "write at most `16MiB`")),
    }
}
