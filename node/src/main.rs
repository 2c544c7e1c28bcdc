//! The `moorline` binary.

use std::process::ExitCode;

// frames are allocated by sessions and freed by the store: glibc keeps an arena for each thread, and
// holds several times the memory that is in use
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    moorline::main()
}
