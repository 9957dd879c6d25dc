//! Opens the types of the running kernel and resolves 50 fields, by ours and by others, each time in a process of its
//! own and all of them in turn. `./x bench btf [ROUNDS]`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod fields;
mod libbpf;
mod rust;

use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use gabion_bench::{Figure, load, report};

const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

/// Where fields are: pointers on the way, in bytes, and bits from the last.
type Places = Vec<(Vec<u64>, u64)>;

/// Who is measured: opens the file, says that it did, and answers all questions.
type Contender = fn(&mut Clock) -> Result<Places, String>;

const CONTENDERS: [(&str, Contender); 6] = [
    ("gabion-btf", rust::ours),
    ("gabion-btf, file mapped by the caller", rust::ours_mapped),
    ("btf-rs, cached", rust::btf_rs_cached),
    ("btf-rs, mapped", rust::btf_rs_mapped),
    ("libbpf", libbpf::resolve),
    ("reading the file alone", rust::read_alone),
];

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let first = arguments.next();
    if let Some(place) = first.as_deref().and_then(|first| first.strip_prefix("contender=")) {
        return contend(CONTENDERS[place.parse::<usize>().expect("the place of a contender")].1);
    }
    let rounds = first.map_or(31, |rounds| rounds.parse().expect("a number of rounds"));
    match measure(rounds) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("btf: {error}");
            ExitCode::FAILURE
        }
    }
}

/// When a contender began, with how much memory, and how long it took to open the file.
struct Clock {
    start: Instant,
    before: u64,
    opened: Duration,
}

impl Clock {
    fn begin(&mut self) {
        *self = Self { start: Instant::now(), before: memory("VmRSS:"), opened: Duration::ZERO };
        self.start = Instant::now();
    }

    fn opened(&mut self) {
        self.opened = self.start.elapsed();
    }
}

/// One contender once: microseconds to open and to open and resolve, KiB at most, and the answers.
fn contend(contender: Contender) -> ExitCode {
    let mut clock = Clock { start: Instant::now(), before: 0, opened: Duration::ZERO };
    clock.begin();
    let outcome = contender(&mut clock);
    let resolved = clock.start.elapsed();
    let most = memory("VmHWM:").saturating_sub(clock.before);
    match outcome {
        Ok(places) => {
            println!("{} {} {most}", clock.opened.as_nanos() as f64 / 1e3, resolved.as_nanos() as f64 / 1e3);
            println!("{places:?}");
            ExitCode::SUCCESS
        }
        Err(reason) => {
            eprintln!("{reason}");
            ExitCode::FAILURE
        }
    }
}

fn memory(line: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("this process has a status");
    let found = status.lines().find_map(|text| text.strip_prefix(line));
    found.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).expect("memory in KiB")
}

fn measure(rounds: usize) -> Result<(), Box<dyn std::error::Error>> {
    let before = load();
    let program = std::env::current_exe()?;
    let mut values = vec![[Vec::new(), Vec::new(), Vec::new()]; CONTENDERS.len()];
    let mut skipped = vec![false; CONTENDERS.len()];
    let mut answers: Option<String> = None;
    for _ in 0..rounds {
        for (place, (name, _)) in
            CONTENDERS.iter().enumerate().filter(|(place, _)| !skipped[*place]).collect::<Vec<_>>()
        {
            let output = Command::new(&program).arg(format!("contender={place}")).output()?;
            if !output.status.success() {
                println!("skipped {name}: {}", String::from_utf8_lossy(&output.stderr).trim());
                skipped[place] = true;
                continue;
            }
            let text = String::from_utf8(output.stdout)?;
            let (figures, places) = text.split_once('\n').ok_or("a contender said nothing")?;
            for (figure, values) in figures.split(' ').zip(&mut values[place]) {
                values.push(figure.parse()?);
            }
            if places.trim() != "[]" {
                let first = answers.get_or_insert_with(|| places.to_owned());
                assert_eq!(first, places, "{name} has other answers than the first");
            }
        }
    }
    let mut figures = Vec::new();
    for ((name, _), [opened, resolved, most]) in CONTENDERS.iter().zip(values) {
        figures.extend(Figure::new(format!("{name}: open (µs)"), opened));
        figures.extend(Figure::new(format!("{name}: open and 50 fields (µs)"), resolved));
        figures.extend(Figure::new(format!("{name}: memory at most (KiB)"), most));
    }
    println!("libbpf is {}", libbpf::version().unwrap_or_else(|reason| reason));
    report("btf", before, &figures)?;
    Ok(())
}
