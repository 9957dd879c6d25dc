//! `./x kernels`: takes the types of supported kernels anew.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    match gabion_testing_kernels::renew() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("gabion-kernels: {error}");
            ExitCode::from(3)
        }
    }
}
