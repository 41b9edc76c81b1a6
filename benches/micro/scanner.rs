//! The frame scanner, shown bytes as a worker reads them: at most 64 KiB at a time.

use criterion::{BenchmarkId, Criterion, Throughput};
use sidebeat::proto::cause::End;
use sidebeat::proto::framing::{Framing, Item, Scanner};
use sidebeat::proto::websocket::{Extensions, OPCODE_BINARY, OPCODE_TEXT, encode};
use sidebeat::worker::SCRATCH;

pub(crate) fn benches(criterion: &mut Criterion) {
    let mut frames = criterion.benchmark_group("scanner/frames");
    for (name, payload) in [("2 B", 2), ("128 B", 128), ("64 KiB", 64 << 10)] {
        let stream = masked(OPCODE_BINARY, payload, (1 << 20) / (payload + 8) + 1);
        let count = (stream.len() / frame_size(payload)) as u64;
        frames.throughput(Throughput::Elements(count));
        frames.bench_function(BenchmarkId::from_parameter(name), |bencher| {
            let mut scanner = websocket();
            bencher.iter(|| scan(&mut scanner, &stream, SCRATCH));
        });
    }
    frames.finish();

    let mut bytes = criterion.benchmark_group("scanner/bytes");
    let stream = masked(OPCODE_BINARY, 64 << 10, 16);
    bytes.throughput(Throughput::Bytes(stream.len() as u64));
    bytes.bench_function("64 KiB frames", |bencher| {
        let mut scanner = websocket();
        bencher.iter(|| scan(&mut scanner, &stream, SCRATCH));
    });
    let lines = b"a line of the length that a chat has\n".repeat(1 << 14);
    bytes.throughput(Throughput::Bytes(lines.len() as u64));
    bytes.bench_function("lines of 37 B", |bencher| {
        let framing = Framing::Line { max: 1 << 20 };
        let mut scanner = Scanner::from_framing(framing, None);
        bencher.iter(|| scan(&mut scanner, &lines, SCRATCH));
    });
    bytes.finish();

    // What a client sends byte by byte comes in reads of a few bytes, each of which is looked at anew.
    let mut cut = criterion.benchmark_group("scanner/reads of 3 bytes");
    let stream = masked(OPCODE_TEXT, 128, 1024);
    cut.throughput(Throughput::Elements(1024));
    cut.bench_function("frames of 128 B", |bencher| {
        let mut scanner = websocket();
        bencher.iter(|| scan(&mut scanner, &stream, 3));
    });
    cut.finish();
}

fn websocket() -> Scanner {
    Scanner::websocket(End::Client, Extensions::default(), None, None)
}

fn masked(opcode: u8, payload: usize, count: usize) -> Vec<u8> {
    let mut stream = Vec::new();
    for _ in 0..count {
        encode(
            opcode,
            &vec![b'x'; payload],
            Some([1, 2, 3, 4]),
            &mut stream,
        );
    }
    stream
}

fn frame_size(payload: usize) -> usize {
    masked(OPCODE_BINARY, payload, 1).len()
}

/// Reads of `size` bytes, each behind what the one before left over; returns the messages that ended.
fn scan(scanner: &mut Scanner, stream: &[u8], size: usize) -> usize {
    let (mut from, mut read, mut messages) = (0, 0, 0);
    while read < stream.len() {
        read = stream.len().min(read + size);
        while from < read {
            match scanner.next(&stream[from..read]) {
                Ok(Item::Data { len, message, .. }) => {
                    from += len;
                    messages += usize::from(message);
                }
                Ok(Item::Incomplete) => break,
                other => panic!("{other:?} in a stream of data"),
            }
        }
    }
    messages
}
