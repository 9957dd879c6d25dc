//! Typed policy and inventory → tables.
//!
//! Deterministic: the same input gives byte-identical tables. The result is what
//! [`gabion_abi::tables`] describes, plus the names that make verdicts readable. The way is
//! `normal` (tiers, isolation and defaults become two ordered lists), `ends` and `services`
//! (conditions become classes), `groups` (classes combine to candidates), `lay` (and these to tables).

#![forbid(unsafe_code)]

mod build;
mod canonical;
mod chain;
mod ends;
mod groups;
mod intern;
mod known;
mod lanes;
mod lay;
mod lists;
mod normal;
mod refused;
mod resolve;
mod services;
mod term;
mod words;
mod work;

use std::collections::BTreeSet;
use std::sync::Arc;

use gabion_abi::tables::{self, PARAM_COUNT};
use gabion_policy_model::PolicySet;
use gabion_policy_model::subject::Subject;
use gabion_policy_model::trace::{Direction, RuleRef};

use crate::canonical::Normal;
pub use crate::chain::Chain;
use crate::ends::{End, Marks};
use crate::groups::{Built, Shape};
use crate::intern::Interner;
pub use crate::known::Known;
use crate::lay::Side;
use crate::refused::Weights;
pub use crate::refused::{Cause, Excess, Refused};
use crate::words::Words;
use crate::work::Work;

/// A compiled policy: all that a loader needs, and nothing of the text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compiled {
    /// Parameters, to become read-only globals.
    pub params: [u32; PARAM_COUNT],
    /// Words, to become an array map.
    pub words: Vec<u64>,
    /// What the rule numbers in verdicts and counters mean.
    pub rules: Vec<RuleInfo>,
    /// Names of interfaces that rules speak of: the interface named by element `i` has class
    /// `i + 1`, every other one class 0.
    pub interfaces: Vec<String>,
    /// What it took.
    pub stats: Stats,
}

/// The meaning of one rule number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleInfo {
    /// What it goes back to.
    pub reference: RuleRef,
    /// Which end's list it stands in.
    pub direction: Direction,
    /// Full name: `policy/rule`, `namespace/policy/rule` outside the default namespace,
    /// `policy/isolation`, `default/ingress`, `default/unparsed`, ...
    pub name: Arc<str>,
    /// Tier, `policy` for `Policy` documents, `default` for defaults.
    pub tier: Arc<str>,
}

/// Sizes of a compiled policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Classes of sources.
    pub source_classes: usize,
    /// Classes of destinations.
    pub destination_classes: usize,
    /// Classes of services.
    pub service_classes: usize,
    /// What the source may send.
    pub egress: DirectionStats,
    /// What the destination may receive.
    pub ingress: DirectionStats,
    /// Classes by dimension, what is told apart by each field alone: 1 where the policy does not look at it.
    pub dimensions: Vec<(&'static str, usize)>,
    /// The tables, by what they hold.
    pub tables: Vec<TableStats>,
    /// Bytes of all tables, with what lies between them.
    pub bytes: usize,
    /// Steps that were spent of [`Options::steps`].
    pub steps: usize,
    /// Memory that was needed of [`Options::scratch_bytes`].
    pub scratch_bytes: usize,
}

/// Tables of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableStats {
    /// What they hold.
    pub name: &'static str,
    /// How many there are.
    pub number: usize,
    /// Their bytes.
    pub bytes: usize,
}

/// Sizes of one direction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DirectionStats {
    /// Length of the ordered list.
    pub items: usize,
    /// Groups that are looked up side by side.
    pub groups: usize,
    /// Pairs of source and destination classes that some rule speaks of.
    pub cells: usize,
    /// Distinct lists of what such pairs ask.
    pub lists: usize,
    /// Bytes of the groups.
    pub bytes: usize,
}

/// Limits of the compiler.
#[derive(Clone, Debug)]
pub struct Options {
    /// Most bytes that the tables may take.
    pub table_bytes: usize,
    /// Most entries in each direction's ordered list.
    pub list_length: usize,
    /// Bytes up to which a direction's list is kept in one group, or two: the fewer the quicker to look up, but
    /// more need less memory when wide and narrow rules meet.
    pub single_group_bytes: usize,
    /// Most steps that it may take to work the tables out, where their number does not follow that of the rules: of a
    /// nanosecond or so each. A count and no clock, so that every machine refuses the same policies.
    pub steps: usize,
    /// Most bytes that may be needed meanwhile for what combines: classes, pairs and lists.
    pub scratch_bytes: usize,
    /// Told what is being done, before it is done: a large policy takes a second or more.
    pub progress: fn(&'static str),
}

impl Compiled {
    /// Everything that decides or is named, part by part in one order: two that give the same parts are the same. What
    /// a digest of the tables is of.
    pub fn parts(&self, mut part: impl FnMut(&[u8])) {
        let length = |part: &mut dyn FnMut(&[u8]), length: usize| part(&(length as u64).to_le_bytes());
        self.params.iter().for_each(|param| part(&param.to_le_bytes()));
        length(&mut part, self.words.len());
        // A hash is quicker by pages than by words.
        for page in self.words.chunks(512) {
            let mut bytes = [0; 4096];
            for (place, word) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(page) {
                *place = word.to_le_bytes();
            }
            part(&bytes[..page.len() * 8]);
        }
        let mut text = |text: &str| {
            length(&mut part, text.len());
            part(text.as_bytes());
        };
        self.interfaces.iter().for_each(|name| text(name));
        for rule in &self.rules {
            text(if rule.direction == Direction::Egress { "egress" } else { "ingress" });
            text(&rule.name);
            text(&rule.tier);
        }
    }

    /// The entries of both directions.
    pub fn entries(&self) -> impl Iterator<Item = u64> + '_ {
        [tables::EGRESS, tables::INGRESS].into_iter().flat_map(move |at| {
            let first = self.params[at + tables::direction::ENTRIES] as usize;
            let ranks = 0..=self.params[at + tables::direction::LAST_RANK] as usize;
            ranks.filter_map(move |rank| Some((self.words.get(first + rank / 2)? >> (rank % 2 * 32)) & 0xffff_ffff))
        })
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            table_bytes: 256 << 20,
            list_length: 2_000_000,
            single_group_bytes: 32 << 20,
            steps: 400_000_000,
            scratch_bytes: 128 << 20,
            progress: |_| {},
        }
    }
}

/// Compiles a policy.
///
/// # Errors
/// [`Refused`] when it does not fit into `options`.
pub fn compile<S: Subject>(set: &PolicySet<S>, options: &Options) -> Result<Compiled, Refused> {
    compile_again(set, options, &mut Known::default())
}

/// Compiles a policy, like [`compile`], with what is known from one that it resembles. The result is the same.
///
/// # Errors
/// As [`compile`].
pub fn compile_again<S: Subject>(
    set: &PolicySet<S>,
    options: &Options,
    known: &mut Known<S>,
) -> Result<Compiled, Refused> {
    let mut outcome = compile_knowing(set, options, known);
    if outcome.is_err() && !std::mem::take(known).is_new() {
        // Whose fault it is shows where everything is worked out.
        outcome = compile_knowing(set, options, &mut Known::default());
    }
    outcome
}

fn compile_knowing<S: Subject>(
    set: &PolicySet<S>,
    options: &Options,
    known: &mut Known<S>,
) -> Result<Compiled, Refused> {
    let mut work = Work::new(options.steps, options.scratch_bytes);
    let progress = options.progress;
    progress("resolving subjects and tiers");
    let flat = normal::flatten(set, options.list_length, known, &mut work)
        .map_err(|excess| Refused { excess, causes: work.weights.causes(set, "steps") })?;
    let normal = canonical::renumber(flat, known);
    let mut numbers: Interner<(RuleRef, Direction)> = Interner::default();
    let rules = [(Direction::Egress, &normal.egress), (Direction::Ingress, &normal.ingress)]
        .map(|(direction, items)| items.iter().map(|item| numbers.intern((item.reference, direction))).collect());
    // What rules are called is worked out beside the tables: it is a fifth of it all.
    std::thread::scope(|scope| {
        let infos = || rule_infos(set, numbers.values());
        let thread = std::thread::Builder::new().spawn_scoped(scope, infos);
        let (tables, interfaces) = tables_of(set, &normal, rules, options, &mut work)?;
        let rules = thread.ok().and_then(|thread| thread.join().ok()).unwrap_or_else(infos);
        let Laid { params, words, stats } = tables;
        Ok(Compiled { params, words, rules, interfaces, stats })
    })
}

/// Tables, with what it took.
struct Laid {
    params: [u32; PARAM_COUNT],
    words: Vec<u64>,
    stats: Stats,
}

/// Lists of plain rules, with the numbers of the rules they come from → tables, and names of interfaces.
fn tables_of<S: Subject>(
    set: &PolicySet<S>,
    normal: &Normal,
    rules: [Vec<u32>; 2],
    options: &Options,
    work: &mut Work,
) -> Result<(Laid, Vec<String>), Refused> {
    let progress = options.progress;
    let refused = |excess, weights: &Weights, unit| Refused { excess, causes: weights.causes(set, unit) };
    let mut words = Words::new(options.table_bytes / 8);
    let mut params = [0; PARAM_COUNT];
    progress("telling sources and destinations apart");
    let threads = normal.egress.len() + normal.ingress.len() > WORTH_A_THREAD;
    let of_end =
        |end: End| move |excess| refused(excess, &refused::of_ends(normal, end), "addresses, MACs and interfaces");
    let (source, destination) = work.both(
        threads,
        |work| Marks::of(normal, End::Source, work),
        |work| Marks::of(normal, End::Destination, work),
    );
    let (source, destination) = (source.map_err(of_end(End::Source))?, destination.map_err(of_end(End::Destination))?);
    let interfaces: Vec<String> =
        source.interfaces().chain(destination.interfaces()).cloned().collect::<BTreeSet<_>>().into_iter().collect();
    let (source, destination) = work.both(
        threads,
        |work| ends::tell(normal, &source, &interfaces, work),
        |work| ends::tell(normal, &destination, &interfaces, work),
    );
    let mut lay = |told: Result<ends::Told, Excess>, end: End, words: &mut Words| {
        told.and_then(|told| ends::lay(told, &interfaces, end, words, &mut params, work)).map_err(of_end(end))
    };
    let source = lay(source, End::Source, &mut words)?;
    let destination = lay(destination, End::Destination, &mut words)?;
    progress("telling services apart");
    let service = services::lay(normal, &mut words, &mut params, work)
        .map_err(|excess| refused(excess, &refused::of_services(normal), "ranges in services"))?;
    let classes =
        groups::Classes { source: &source.classes, destination: &destination.classes, service: &service.classes };
    let mut budget = options.table_bytes.saturating_sub(words.len() * 8);
    let shapes = [&normal.egress, &normal.ingress].map(|items| Shape::new(normal, items, &classes));
    let directions = [(Direction::Egress, tables::EGRESS), (Direction::Ingress, tables::INGRESS)];
    let weights = |count: usize| {
        let mut weights = Weights::default();
        for (shape, (direction, _)) in shapes.iter().zip(directions).take(count) {
            shape.weigh(direction, &mut weights);
        }
        weights
    };
    let mut side = |number: usize, rules: Vec<u32>| {
        let (shape, (direction, at)) = (&shapes[number], directions[number]);
        progress(match direction {
            Direction::Egress => "pairing ends for egress",
            Direction::Ingress => "pairing ends for ingress",
        });
        let groups = shape
            .choose(options.single_group_bytes.min(budget), budget, work)
            .map_err(|excess| refused(excess, &weights(number + 1), OF_PAIRS))?;
        budget = budget.saturating_sub(groups.iter().map(Built::bytes).sum());
        let floor = groups::floor(normal, shape.items, &classes);
        Ok::<_, Refused>(Side { items: shape.items, rules, groups, floor, in_lanes: &service.in_lanes, at })
    };
    let [egress, ingress] = rules;
    let sides = [side(0, egress)?, side(1, ingress)?];
    progress("laying the tables");
    let [egress, ingress] =
        lay::lay(normal, &sides, &classes, [&source.said, &destination.said], &service, &mut words, &mut params)
            .map_err(|excess| refused(excess, &weights(directions.len()), OF_PAIRS))?;
    let (words, tables) = words.finish();
    let stats = Stats {
        source_classes: source.classes.len(),
        destination_classes: destination.classes.len(),
        service_classes: service.classes.len(),
        egress,
        ingress,
        dimensions: dimensions(&source.dimensions, &destination.dimensions, &service.fields),
        bytes: words.len() * 8,
        tables,
        steps: work.steps(),
        scratch_bytes: work.most_held(),
    };
    Ok((Laid { params, words, stats }, interfaces))
}

fn dimensions(source: &[usize; 3], destination: &[usize; 3], service: &[usize; 7]) -> Vec<(&'static str, usize)> {
    let ends =
        ["source IPv4", "source IPv6", "source link", "destination IPv4", "destination IPv6", "destination link"];
    let services =
        ["kind", "destination port or ICMP type", "source port", "TCP flags", "VLAN", "inner VLAN", "EtherType"];
    let ends = ends.into_iter().zip(source.iter().chain(destination).copied());
    ends.chain(services.into_iter().zip(service.iter().copied())).collect()
}

/// Plain rules from which on it is worth to work on both ends at once.
const WORTH_A_THREAD: usize = 5_000;

/// What rules amount to in groups.
const OF_PAIRS: &str = "pairs of ends of 4 bytes or more each";

fn rule_infos<S: Subject>(set: &PolicySet<S>, rules: &[(RuleRef, Direction)]) -> Vec<RuleInfo> {
    // The rules of a tier come one after the other.
    let mut tier: Arc<str> = Arc::default();
    let info = |&(reference, direction): &(RuleRef, Direction)| {
        if *tier != *reference.tier(set) {
            tier = reference.tier(set).into();
        }
        RuleInfo { reference, direction, name: reference.name(set, direction).into(), tier: Arc::clone(&tier) }
    };
    rules.iter().map(info).collect()
}
