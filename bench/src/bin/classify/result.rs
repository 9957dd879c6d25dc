//! What is written down.

use gabion_bench::{Figure, Place};
use gabion_policy_compile::Compiled;
use gabion_testing_peers::gabion::Gabion;
use gabion_testing_peers::loads::Loads;
use serde::Serialize;

use crate::measure::Effort;

/// Everything.
#[derive(Serialize)]
pub struct Results {
    #[serde(flatten)]
    place: Place,
    /// `net.core.bpf_jit_enable`.
    bpf_jit_enable: String,
    /// What the processor counts for us, or that it does not.
    hardware_counters: String,
    effort: Effort,
    /// By rule set.
    pub sets: Vec<SetResult>,
}

impl Results {
    /// Here and now.
    pub fn new(load_before: String, effort: Effort, sets: Vec<SetResult>) -> Self {
        let jit = std::fs::read_to_string("/proc/sys/net/core/bpf_jit_enable");
        let events = std::fs::read_dir("/sys/bus/event_source/devices/cpu");
        Self {
            place: Place::here(load_before),
            bpf_jit_enable: jit.map_or_else(|error| error.to_string(), |text| text.trim().to_owned()),
            hardware_counters: match events {
                Ok(_) => "there, not read: see lines_per_packet".to_owned(),
                Err(_) => "the processor counts nothing for this machine: see lines_per_packet".to_owned(),
            },
            effort,
            sets,
        }
    }
}

/// One rule set.
#[derive(Serialize)]
pub struct SetResult {
    /// Its name.
    pub name: String,
    /// Rules in its source.
    pub rules: usize,
    /// Share of the trace's packets that pass.
    pub passing: f64,
    /// Who was measured.
    pub contenders: Vec<Row>,
    /// Who was not, and why.
    pub refused: Vec<(String, String)>,
}

/// One contender over one rule set. All in nanoseconds a packet.
#[derive(Serialize)]
pub struct Row {
    /// Who.
    pub name: String,
    /// The bare program whose cost is taken off in `beyond`.
    pub baseline: String,
    /// Live frames, generator and wire included, by number of flows.
    pub live: Vec<Flows>,
    /// Median of `live` over all flows, divided by that of the program that drops.
    pub ratio_to_drop: f64,
    /// The same, by the program that parses.
    pub ratio_to_parse: f64,
    /// The program over the trace without a wire, beyond one that drops.
    pub replay_beyond_drop: Option<Figure>,
    /// The program over one packet again and again.
    pub hot: Option<Figure>,
    /// `hot`, beyond the program that parses.
    pub hot_beyond_parse: Option<Figure>,
    /// What it takes to have Gabion there.
    pub tables: Option<Tables>,
}

impl Row {
    /// Live frames, beyond the baseline, over so many flows.
    pub fn beyond(&self, flows: usize) -> Option<&Figure> {
        self.live.iter().find(|live| live.flows == flows).map(|live| &live.beyond)
    }
}

/// Live frames over so many flows.
#[derive(Serialize)]
pub struct Flows {
    /// How many.
    pub flows: usize,
    /// Generator, wire and receiver.
    pub total: Figure,
    /// Beyond the baseline of the same round.
    pub beyond: Figure,
}

/// What it takes to have Gabion there.
#[derive(Serialize)]
pub struct Tables {
    /// Policy in memory to tables in memory.
    pub compile_ms: f64,
    /// Tables in memory to a verified generation in the kernel.
    pub load_ms: f64,
    /// Bytes of the tables.
    pub bytes: usize,
    /// Words of tables that a decision reads, on average.
    pub words_per_packet: f64,
    /// And at most.
    pub most_words: usize,
    /// Cache lines of tables that a decision reads from, on average.
    pub lines_per_packet: f64,
    /// Those of them that a first and a second cache would not hold any more.
    pub misses_per_packet: [f64; 2],
    /// Bytes of all lines that the trace's decisions read from.
    pub touched_bytes: usize,
    /// Instructions of the ingress program as the kernel runs it.
    pub instructions: u32,
    /// Bytes of its machine code.
    pub jited_bytes: u32,
    /// Instructions that the verifier walked.
    pub verified: u32,
}

impl Tables {
    /// From what was measured.
    pub fn new(compile_ms: f64, compiled: &Compiled, installed: &Gabion, loads: Loads) -> Self {
        Self {
            compile_ms,
            load_ms: installed.load.as_secs_f64() * 1e3,
            bytes: compiled.stats.bytes,
            words_per_packet: loads.words,
            most_words: loads.most_words,
            lines_per_packet: loads.lines,
            misses_per_packet: loads.misses,
            touched_bytes: loads.touched_bytes,
            // An instruction is eight bytes.
            instructions: installed.translated_bytes / 8,
            jited_bytes: installed.jited_bytes,
            verified: installed.verified,
        }
    }
}
