//! `gabion policy compile --stats`: what the tables hold, and what the kernel makes of the programs for this policy.

use std::time::Duration;

use gabion_generation::{Blame, FunctionStats, ProgramStats, Programs};
use gabion_policy_compile::Compiled;
use serde::Serialize;

use crate::exit::Failure;
use crate::output::columns;

/// Loads of each program, of which the median counts.
const LOADS: usize = 9;

/// All that `--stats` adds.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Stats {
    dimensions: Vec<Dimension>,
    tables: Vec<Table>,
    load_chain: LoadChain,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    programs: Vec<Program>,
}

#[derive(Debug, Serialize)]
struct Dimension {
    name: &'static str,
    classes: usize,
}

#[derive(Debug, Serialize)]
struct Table {
    name: &'static str,
    number: usize,
    bytes: usize,
}

/// Loads that wait for each other.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct LoadChain {
    #[serde(skip_serializing_if = "Option::is_none")]
    lane: Option<usize>,
    ipv4: usize,
    ipv6: usize,
    without_ip: usize,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Program {
    name: &'static str,
    object_instructions: usize,
    instructions: usize,
    translated_bytes: usize,
    jited_bytes: usize,
    verified_instructions: u32,
    load_ms: f64,
    functions: Vec<Function>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Function {
    name: String,
    object_instructions: usize,
    instructions: usize,
}

/// Milliseconds, to a hundredth.
pub fn ms(time: Duration) -> f64 {
    (time.as_secs_f64() * 100_000.0).round() / 100.0
}

impl From<ProgramStats> for Program {
    fn from(stats: ProgramStats) -> Self {
        let function = |FunctionStats { name, object_instructions, instructions }| Function {
            name,
            object_instructions,
            instructions,
        };
        Self {
            name: stats.name,
            object_instructions: stats.object_instructions,
            instructions: stats.instructions,
            translated_bytes: stats.translated_bytes,
            jited_bytes: stats.jited_bytes,
            verified_instructions: stats.verified,
            load_ms: ms(stats.load_time),
            functions: stats.functions.into_iter().map(function).collect(),
        }
    }
}

impl Stats {
    /// What can be said of a policy, and why no more can.
    pub fn of(compiled: &Compiled) -> (Self, Option<Failure>) {
        let (programs, failure) = match Programs::parse().and_then(|programs| programs.measure(compiled, LOADS)) {
            Ok(programs) => (programs.into_iter().map(Program::from).collect(), None),
            Err(error) => (Vec::new(), Some(failure(&error))),
        };
        let chain = compiled.chain();
        let stats = &compiled.stats;
        let dimensions = stats.dimensions.iter().map(|&(name, classes)| Dimension { name, classes });
        let tables =
            stats.tables.iter().map(|table| Table { name: table.name, number: table.number, bytes: table.bytes });
        let load_chain = LoadChain { lane: chain.lane, ipv4: chain.v4, ipv6: chain.v6, without_ip: chain.off_ip };
        (Self { dimensions: dimensions.collect(), tables: tables.collect(), load_chain, programs }, failure)
    }

    /// For people.
    pub fn table(&self) -> String {
        let mut rows = vec![titles(["dimension", "classes"])];
        rows.extend(self.dimensions.iter().map(|of| vec![of.name.to_owned(), of.classes.to_string()]));
        let mut text = format!("\n{}", columns(&rows));

        rows = vec![titles(["table", "number", "bytes"])];
        rows.extend(self.tables.iter().map(|of| vec![of.name.to_owned(), of.number.to_string(), of.bytes.to_string()]));
        text += &format!("\n{}", columns(&rows));

        rows = vec![titles(["packet", "chained loads"])];
        let chain = &self.load_chain;
        let of = [
            ("IPv4 by lane", chain.lane),
            ("IPv4", Some(chain.ipv4)),
            ("IPv6", Some(chain.ipv6)),
            ("without IP", Some(chain.without_ip)),
        ];
        let of = of.into_iter().filter_map(|(name, loads)| Some((name, loads?)));
        rows.extend(of.map(|(name, loads)| vec![name.to_owned(), loads.to_string()]));
        text += &format!("\n{}", columns(&rows));
        if self.programs.is_empty() {
            return text;
        }

        rows = vec![titles(["program", "object", "loaded", "translated", "JITed", "verified", "load"])];
        rows.extend(self.programs.iter().map(|program| {
            vec![
                program.name.to_owned(),
                program.object_instructions.to_string(),
                program.instructions.to_string(),
                format!("{} B", program.translated_bytes),
                format!("{} B", program.jited_bytes),
                program.verified_instructions.to_string(),
                format!("{:.1} ms", program.load_ms),
            ]
        }));
        text += &format!("\n{}", columns(&rows));
        for program in &self.programs {
            rows = vec![titles([&format!("function of {}", program.name), "object", "loaded"])];
            rows.extend(program.functions.iter().map(|function| {
                vec![function.name.clone(), function.object_instructions.to_string(), function.instructions.to_string()]
            }));
            text += &format!("\n{}", columns(&rows));
        }
        text
    }
}

fn titles<const N: usize>(titles: [&str; N]) -> Vec<String> {
    titles.map(str::to_owned).to_vec()
}

/// Why the kernel did not load the programs, and what to do.
fn failure(error: &gabion_generation::Error) -> Failure {
    let message = format!("the programs were not loaded, so that nothing is said of them: {error}");
    if error.is_permission() {
        return Failure::system(message)
            .help("run it as root, or with CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN; nothing is attached or pinned");
    }
    match error.blame() {
        Blame::Operator => Failure::input(message),
        Blame::Kernel => Failure::system(message),
        Blame::Ourselves => Failure::defect(message),
    }
}
