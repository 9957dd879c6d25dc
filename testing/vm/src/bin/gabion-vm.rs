//! `./x vm`: the guests by hand. `prepare` fetches the kernels and builds what runs inside; `run` boots one and runs a
//! static program there.
#![forbid(unsafe_code)]

use std::path::Path;
use std::process::ExitCode;

use gabion_testing_vm::{Error, Kernel, Outcome, SERIES, build, run};

const USAGE: &str = "usage: ./x vm prepare
       ./x vm run SERIES [NAME=VALUE]... PROGRAM [ARGUMENT]...
                           (a statically linked program of the host; SERIES is 6.1 or 6.12)
       ./x vm probe        (which kernels boot, and what they can do)";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["prepare"] => prepare(),
        ["probe"] => SERIES.iter().try_fold(0, |worst, series| Ok(worst.max(probe(series)?))),
        ["run", series, rest @ ..] => run_program(series, rest),
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
    println!("guest programs: linked statically and optimised, which takes some minutes when they are new");
    build()?;
    Ok(0)
}

fn probe(series: &str) -> Result<i32, Error> {
    end(run(&Kernel::fetch(series)?, &[], &["/init", "--probe"])?)
}

/// Variables, the program of the host, and its arguments.
fn run_program(series: &str, words: &[&str]) -> Result<i32, Error> {
    let place = words.iter().take_while(|word| word.contains('=')).count();
    let Some(program) = words.get(place) else {
        eprintln!("{USAGE}");
        return Ok(2);
    };
    let mut command = words.to_vec();
    command[place] = "/program";
    end(run(&Kernel::fetch(series)?, &[("/program", Path::new(program))], &command)?)
}

fn end(outcome: Outcome) -> Result<i32, Error> {
    print!("{}", outcome.stdout);
    Ok(outcome.exit)
}
