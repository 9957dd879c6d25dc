//! Measuring: everyone in turn, round after round, so that what the machine does besides hits all alike.

use gabion_bench::Figure;
use gabion_testing_peers::Failure;
use gabion_testing_peers::live::{Generator, alone, hot};
use gabion_testing_peers::rules::{FLOWS, RuleSet};
use serde::Serialize;

use crate::cast::{Cast, DROP, Member, PARSE};
use crate::result::{Flows, Row, SetResult};

/// Flows of the small trace: the beginning of the large one.
const FEW: usize = 1_024;
/// Nanoseconds a packet from which on a contender gets the trace once and no more.
const SLOW_NS: f64 = 3_000.0;
/// Packets that are sent first of all.
const FIRST: u32 = 4_096;
/// Packets that are sent again and again, evenly over the trace.
const HOT_PACKETS: usize = 8;

/// How much is measured.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Effort {
    /// Rounds over live frames.
    pub rounds: usize,
    /// Passes over the trace in a round, after one that warms up.
    pub passes: u32,
    /// Repetitions of a hot packet.
    pub hot_repeat: u32,
    /// Rules of the largest set that is walked rule by rule: beyond, it only takes longer to see the same.
    pub linear: usize,
}

impl Effort {
    /// For publishing.
    pub const FULL: Self = Self { rounds: 15, passes: 3, hot_repeat: 400_000, linear: 1_500 };
    /// For a look.
    pub const QUICK: Self = Self { rounds: 4, passes: 2, hot_repeat: 100_000, linear: 150 };
}

/// Everything about one set.
pub fn set(
    generator: &mut Generator,
    cast: Cast,
    set: &RuleSet,
    effort: Effort,
    processor: usize,
) -> Result<SetResult, Failure> {
    let Cast { mut members, mut refused, .. } = cast;
    let drop_at = place(&members, DROP)?;
    let parse_at = place(&members, PARSE)?;
    let measured = || -> Result<_, Failure> {
        let mut live = Vec::new();
        for flows in [FLOWS, FEW] {
            generator.take(&set.trace[..flows], &set.expected[..flows])?;
            live.push((flows, live_rounds(generator, &members, effort, &mut refused)?));
        }
        generator.take(&set.trace, &set.expected)?;
        let replayed = replay_rounds(generator, &mut members, effort)?;
        let heated = hot_rounds(generator, &mut members, set, effort)?;
        Ok((live, replayed, heated))
    };
    let (live, replayed, heated) = alone(processor, measured)??;

    let median = |at: usize| Figure::new("", live[0].1[at].clone()).map_or(f64::NAN, |figure| figure.median);
    let mut contenders = Vec::new();
    for (at, member) in members.iter().enumerate() {
        let base_at = place(&members, member.baseline)?;
        let flows = live.iter().filter_map(|(flows, values)| {
            Some(Flows {
                flows: *flows,
                total: Figure::new("ns a packet, live", values[at].clone())?,
                beyond: Figure::new("ns a packet, live, beyond the baseline", minus(&values[at], &values[base_at]))?,
            })
        });
        let only = |name: &str, values: Vec<f64>| Figure::new(name, values);
        contenders.push(Row {
            name: member.contender.name.clone(),
            baseline: member.baseline.to_owned(),
            live: flows.collect(),
            ratio_to_drop: median(at) / median(drop_at),
            ratio_to_parse: median(at) / median(parse_at),
            replay_beyond_drop: only("ns a packet, replayed, beyond drop", minus(&replayed[at], &replayed[drop_at])),
            hot: only("ns a packet, hot", heated[at].clone()),
            hot_beyond_parse: only("ns a packet, hot, beyond parse", minus(&heated[at], &heated[parse_at])),
            tables: None,
        });
    }
    for (row, member) in contenders.iter_mut().zip(members) {
        row.tables = member.tables;
        member.contender.remove(generator)?;
    }
    let passing = set.passing() as f64 / set.trace.len() as f64;
    Ok(SetResult { name: set.name.clone(), rules: set.rules, passing, contenders, refused })
}

fn place(members: &[Member], name: &str) -> Result<usize, Failure> {
    let found = members.iter().position(|member| member.contender.name == name);
    found.ok_or_else(|| format!("{name} is not there to compare with").into())
}

/// Differences of values that were taken in the same round.
fn minus(values: &[f64], base: &[f64]) -> Vec<f64> {
    values.iter().zip(base).map(|(value, base)| value - base).collect()
}

/// Whoever does not get every frame is refused: what is lost on the way costs nothing.
fn live_rounds(
    generator: &mut Generator,
    members: &[Member],
    effort: Effort,
    refused: &mut Vec<(String, String)>,
) -> Result<Vec<Vec<f64>>, Failure> {
    let mut values = vec![Vec::new(); members.len()];
    let received = |member: &Member| member.contender.stand().received();
    let before = members.iter().map(received).collect::<Result<Vec<_>, _>>()?;
    let mut sent = vec![0; members.len()];
    // The first packets say how slow somebody is.
    let mut packets = vec![0; members.len()];
    for (at, member) in members.iter().enumerate() {
        let slow = generator.send(member.contender.stand().port(), FIRST)? > SLOW_NS;
        packets[at] = FLOWS as u32 * if slow { 1 } else { effort.passes };
        sent[at] += u64::from(FIRST);
    }
    for _ in 0..effort.rounds {
        for (at, member) in members.iter().enumerate() {
            let port = member.contender.stand().port();
            if packets[at] > FLOWS as u32 {
                generator.send(port, FLOWS as u32)?;
                sent[at] += FLOWS as u64;
            }
            values[at].push(generator.send(port, packets[at])?);
            sent[at] += u64::from(packets[at]);
        }
    }
    for (at, member) in members.iter().enumerate() {
        let arrived = received(member)? - before[at];
        if arrived != sent[at] {
            values[at].clear();
            refused.push((member.contender.name.clone(), format!("{arrived} of {} frames arrived", sent[at])));
        }
    }
    Ok(values)
}

fn replay_rounds(generator: &mut Generator, members: &mut [Member], effort: Effort) -> Result<Vec<Vec<f64>>, Failure> {
    let mut values = vec![Vec::new(); members.len()];
    for _ in 0..effort.rounds {
        for (member, values) in members.iter_mut().zip(&mut values) {
            if member.contender.program(generator)?.is_none() {
                continue;
            }
            let port = member.contender.stand().port();
            generator.run(port, FLOWS as u32)?;
            values.push(generator.run(port, FLOWS as u32 * effort.passes)?);
        }
    }
    Ok(values)
}

fn hot_rounds(
    generator: &mut Generator,
    members: &mut [Member],
    set: &RuleSet,
    effort: Effort,
) -> Result<Vec<Vec<f64>>, Failure> {
    let mut values = vec![Vec::new(); members.len()];
    // An odd stride, so that both kinds of packets are among them.
    let stride = set.trace.len() / HOT_PACKETS - 1;
    for _ in 0..effort.rounds.min(7) {
        for (member, values) in members.iter_mut().zip(&mut values) {
            let Some(program) = member.contender.program(generator)? else { continue };
            let mut sum = 0.0;
            for packet in 0..HOT_PACKETS {
                let at = packet * stride;
                sum += hot(program, &set.trace[at].frame(set.expected[at]), effort.hot_repeat)?;
            }
            values.push(sum / HOT_PACKETS as f64);
        }
    }
    Ok(values)
}
