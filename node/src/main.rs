//! The `moorline` binary.

use std::process::ExitCode;

// frames are allocated by sessions and freed by the store: glibc keeps an arena for each thread, and
// holds several times the memory that is in use
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // frames come and go by the megabyte: in pages of 2 MiB they hold a third more than is in use
    #[cfg(target_os = "linux")]
    let _saves_memory_only = rustix::thread::disable_transparent_huge_pages(true);
    moorline::main()
}
