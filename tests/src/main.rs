//! The node's binary, built where its tests can run it.

use std::process::ExitCode;

fn main() -> ExitCode {
    moorline::main()
}
