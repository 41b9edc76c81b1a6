//! The binary: arguments in, exit code out.

use std::process::ExitCode;

use tikv_jemallocator::Jemalloc;

/// Gives back what a burst of openings took, and wastes less of each stream than the system's (ARCHITECTURE.md, What it costs).
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    sidebeat::cli::main(std::env::args_os())
}
