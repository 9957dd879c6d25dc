//! `./x vm`: the guests by hand. `prepare` fetches the kernels and builds what runs inside; `run` boots one and runs a
//! static program there.
#![forbid(unsafe_code)]

use std::path::Path;
use std::process::ExitCode;

use gabion_testing_vm::{Error, Kernel, SERIES, program, run};

const USAGE: &str = "usage: ./x vm prepare
       ./x vm run SERIES PROGRAM [ARGUMENT]...   (a statically linked program of the host; SERIES is 6.1 or 6.12)
       ./x vm probe                              (which kernels boot, and what they can do)";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["prepare"] => prepare(),
        ["probe"] => SERIES.iter().try_fold(0, |worst, series| Ok(worst.max(boot(series, None, &["--probe"])?))),
        ["run", series, program, rest @ ..] => boot(series, Some(program), rest),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(exit) => ExitCode::from(u8::try_from(exit).unwrap_or(1)),
        Err(error) => {
            eprintln!("gabion-vm: {error}");
            ExitCode::from(3)
        }
    }
}

fn prepare() -> Result<i32, Error> {
    for series in SERIES {
        let kernel = Kernel::fetch(series)?;
        println!("guest kernel {series}: {}", kernel.release);
    }
    program("gabion-testing-vm", "gabion-guest")?;
    Ok(0)
}

fn boot(series: &str, host: Option<&str>, arguments: &[&str]) -> Result<i32, Error> {
    let kernel = Kernel::fetch(series)?;
    let outcome = match host {
        Some(host) => run(&kernel, &[("/program", Path::new(host))], &[&["/program"], arguments].concat()),
        None => run(&kernel, &[], &[&["/init"], arguments].concat()),
    }?;
    print!("{}", outcome.stdout);
    Ok(outcome.exit)
}
