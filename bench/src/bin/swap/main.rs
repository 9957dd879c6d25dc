//! What a change costs, and whom: packets that a swap loses or confuses, from a signed bundle to a generation in force,
//! the way back, and what is left in memory. Needs root. `./x bench swap [SWAPS] [MILLIONS OF PACKETS]`.

mod agent;
mod gap;

use std::process::ExitCode;

use gabion_bench::{load, report};
use gabion_testing_peers::Failure;
use gabion_testing_site::agent::binary;

/// Swaps of the large policy for each 1,000 of the small one.
const LARGE_SHARE: usize = 20;

fn main() -> ExitCode {
    match measure() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("swap: {error}");
            ExitCode::FAILURE
        }
    }
}

fn measure() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let swaps: usize = arguments.next().map_or(Ok(1_000), |swaps| swaps.parse())?;
    let millions: u64 = arguments.next().map_or(Ok(100), |millions| millions.parse())?;
    let before = load();
    let binary = binary().ok_or("there is no gabion beside this program; cargo build --release -p gabion")?;
    let mut figures = gap::measure(swaps.div_ceil(3), millions * 1_000_000)?;
    figures.extend(agent::measure(&binary, 1_000, swaps)?);
    figures.extend(agent::measure(&binary, 100_000, (swaps / LARGE_SHARE).max(3))?);
    report("swap", before, &figures)?;
    Ok(())
}
