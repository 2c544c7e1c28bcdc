//! The `moorline` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    moorline::main()
}
