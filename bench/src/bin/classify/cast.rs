//! Who is measured over a rule set, in place and held to the expected verdicts.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use gabion_policy_compile::{Options, compile};
use gabion_testing_peers::gabion::Gabion;
use gabion_testing_peers::live::Generator;
use gabion_testing_peers::rules::{RuleSet, Variant};
use gabion_testing_peers::stand::{Addressee, Stand};
use gabion_testing_peers::{Contender, Failure, iptables, loads, nft, reference};

use crate::result::Tables;

/// Sets with more rules are first compiled by another process, to see whether it can be waited for.
const TRIED_FIRST: usize = 20_000;
/// How long that may take.
const COMPILE_LIMIT: Duration = Duration::from_secs(120);
/// What this program is told then.
pub const COMPILES: &str = "--compiles";

/// Puts somebody into a stand.
type Load<'s> = Box<dyn Fn(&Stand) -> Result<(), Failure> + 's>;

/// One of them.
pub struct Member {
    /// Who.
    pub contender: Contender,
    /// The name of the bare program whose cost is taken off.
    pub baseline: &'static str,
    /// What it takes to have Gabion there.
    pub tables: Option<Tables>,
}

/// All of them, and those who were refused.
#[derive(Default)]
pub struct Cast {
    /// Who is measured.
    pub members: Vec<Member>,
    /// Who is not, and why.
    pub refused: Vec<(String, String)>,
    port: u32,
}

/// Drops every packet.
pub const DROP: &str = "drop";
/// Does what each frame says.
pub const MARKED: &str = "verdict";
/// Reads the five-tuple.
pub const PARSE: &str = "parse";
/// Gabion's parser alone.
pub const CORE_PARSE: &str = "gabion's parser";
/// The program in front of those who decide in the network stack.
const PASS: &str = "peer_pass";
/// Gabion, the rows that are held to the aims.
pub const JUDGED: &str = "gabion stateless";

impl Cast {
    /// Puts everyone in place. Whoever decides otherwise than expected is refused.
    ///
    /// Rules are walked one by one only in sets of up to `linear` rules.
    pub fn assemble(generator: &mut Generator, set: &RuleSet, work: &Path, linear: usize) -> Result<Self, Failure> {
        let mut cast = Self::default();
        generator.take(&set.trace, &set.expected)?;
        for (name, program) in
            [(DROP, "peer_drop"), (MARKED, "peer_marked"), (PARSE, "peer_parse"), (CORE_PARSE, "peer_core_parse")]
        {
            let contender = Contender::bare(generator, cast.next(), name, program)?;
            cast.members.push(Member { contender, baseline: DROP, tables: None });
        }
        let compiles = if set.rules > TRIED_FIRST { compiles_in_time(&set.name) } else { Ok(()) };
        for (name, variant) in
            [("gabion", Variant::Stateful), (JUDGED, Variant::Stateless), ("gabion deny", Variant::Deny)]
        {
            if let Err(error) = &compiles {
                cast.refuse(name, error);
                continue;
            }
            let port = cast.next();
            let outcome = gabion(generator, set, variant, name, port, work);
            cast.admit(generator, set, variant, name, outcome)?;
        }
        cast.references(generator, set)?;
        cast.netfilter(generator, set, linear)?;
        Ok(cast)
    }

    fn next(&mut self) -> u32 {
        self.port += 1;
        self.port - 1
    }

    fn admit(
        &mut self,
        generator: &mut Generator,
        set: &RuleSet,
        variant: Variant,
        name: &str,
        outcome: Result<(Contender, Option<Tables>), Failure>,
    ) -> Result<(), Failure> {
        let baseline = if variant == Variant::Deny { DROP } else { MARKED };
        match outcome {
            Ok((mut contender, tables)) => match contender.verify(generator, &set.trace, &set.expected(variant)) {
                Ok(()) => self.members.push(Member { contender, baseline, tables }),
                Err(error) => {
                    contender.remove(generator)?;
                    self.refuse(name, &error);
                }
            },
            Err(error) => self.refuse(name, &error),
        }
        Ok(())
    }

    fn refuse(&mut self, name: &str, error: &Failure) {
        println!("  refused: {name}: {error}");
        self.refused.push((name.to_owned(), error.to_string()));
    }

    fn references(&mut self, generator: &mut Generator, set: &RuleSet) -> Result<(), Failure> {
        let Some(segments) = &set.segments else { return Ok(()) };
        for (name, program) in [("identity tries", reference::TRIES), ("pair hash", reference::PAIRS)] {
            let port = self.next();
            let tables =
                if program == reference::TRIES { reference::tries(segments) } else { reference::pairs(segments) };
            let outcome = tables.and_then(|tables| Contender::reference(generator, port, name, tables, program));
            self.admit(generator, set, Variant::Stateless, name, outcome.map(|contender| (contender, None)))?;
        }
        Ok(())
    }

    fn netfilter(&mut self, generator: &mut Generator, set: &RuleSet, linear: usize) -> Result<(), Failure> {
        let mut wanted: Vec<(&str, Load<'_>)> = Vec::new();
        if set.lines.len() <= linear {
            wanted.push(("nftables linear", Box::new(|stand| nft::load(stand, &nft::linear(set)?))));
        }
        match &set.segments {
            Some(segments) => {
                wanted.push(("nftables set", Box::new(|stand| nft::load(stand, &nft::key_set(segments)))))
            }
            None => wanted.push(("nftables vmaps", Box::new(|stand| nft::load(stand, &nft::tree(set)?)))),
        }
        self.stack(generator, set, wanted, Addressee::Stranger, nft::passed)?;
        let mut wanted: Vec<(&str, Load<'_>)> = Vec::new();
        if set.lines.len() <= linear {
            wanted.push(("iptables", Box::new(|stand| iptables::load(stand, &iptables::linear(set)?))));
        }
        if let Some(segments) = &set.segments {
            wanted.push(("ipset", Box::new(|stand| iptables::key_set(stand, segments))));
        }
        self.stack(generator, set, wanted, Addressee::Device, iptables::passed)?;
        // What the stack costs before it looks at a rule: all its packets are dropped by policy.
        for (name, load) in [
            ("nftables, no rule", Box::new(|stand: &Stand| nft::load(stand, &nft::empty())) as Load<'_>),
            ("iptables, no rule", Box::new(|stand: &Stand| iptables::load(stand, &iptables::empty()))),
        ] {
            let mut stand = Stand::new(generator, self.next(), Addressee::Device)?;
            stand.attach(generator, PASS)?;
            match load(&stand) {
                Ok(()) => {
                    let contender = Contender::stack(name, stand, |_| Ok(0));
                    self.members.push(Member { contender, baseline: DROP, tables: None });
                }
                Err(error) => {
                    stand.remove(generator)?;
                    self.refuse(name, &error);
                }
            }
        }
        Ok(())
    }

    fn stack<'s>(
        &mut self,
        generator: &mut Generator,
        set: &RuleSet,
        wanted: Vec<(&str, Load<'s>)>,
        addressee: Addressee,
        passed: fn(&Stand) -> Result<u64, Failure>,
    ) -> Result<(), Failure> {
        for (name, load) in wanted {
            let mut stand = Stand::new(generator, self.next(), addressee)?;
            stand.attach(generator, PASS)?;
            match load(&stand) {
                Ok(()) => {
                    let contender = Contender::stack(name, stand, passed);
                    self.admit(generator, set, Variant::Stateless, name, Ok((contender, None)))?;
                }
                Err(error) => {
                    stand.remove(generator)?;
                    self.refuse(name, &error);
                }
            }
        }
        Ok(())
    }
}

/// Whether the compiler is done with a set in [`COMPILE_LIMIT`]: tried in a process of its own, which can be stopped.
fn compiles_in_time(set: &str) -> Result<(), Failure> {
    let mut child = Command::new(std::env::current_exe()?).args([COMPILES, set]).spawn()?;
    let end = Instant::now() + COMPILE_LIMIT;
    loop {
        if let Some(status) = child.try_wait()? {
            let failed = || format!("compiling {set} ended with {status}").into();
            return if status.success() { Ok(()) } else { Err(failed()) };
        }
        if Instant::now() > end {
            child.kill()?;
            child.wait()?;
            return Err(format!("not compiled in {} s", COMPILE_LIMIT.as_secs()).into());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn gabion(
    generator: &mut Generator,
    set: &RuleSet,
    variant: Variant,
    name: &str,
    port: u32,
    work: &Path,
) -> Result<(Contender, Option<Tables>), Failure> {
    let policies = set.policies(variant);
    let start = Instant::now();
    let compiled = compile(&policies, &Options::default())?;
    let compile_ms = start.elapsed().as_secs_f64() * 1e3;
    let stand = Stand::new(generator, port, Addressee::Stranger)?;
    let folder = work.join(port.to_string());
    std::fs::create_dir_all(&folder)?;
    let installed = match Gabion::install(&stand, &policies, &compiled, &folder) {
        Ok(installed) => installed,
        Err(error) => {
            stand.remove(generator)?;
            return Err(error);
        }
    };
    let tables = Tables::new(compile_ms, &compiled, &installed, loads::count(&compiled, &set.trace));
    Ok((Contender::gabion(generator, name, stand, installed)?, Some(tables)))
}
