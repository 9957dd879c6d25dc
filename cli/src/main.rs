//! The `gabion` command. All of it is in the library, so that man pages, completions and tests use the same table of
//! flags.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    gabion::run(std::env::args_os())
}
