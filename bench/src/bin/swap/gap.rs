//! Generations swapped under a generator that sends as fast as it can: what became of each packet.
//!
//! Clients and servers are in zones, and a rule of its own lets each client of a zone into each server of the same one.
//! From one generation to the next, everybody moves to the next zone, so that either lets every packet pass by a rule
//! called `own`. Whoever met the client by one and the server by the other would find them in different zones, for
//! which there are rules called `mixed`.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use gabion_abi::event::Settings;
use gabion_abi::facts::protocol;
use gabion_abi::verdict::{Count, Interface, interface};
use gabion_bench::Figure;
use gabion_generation::{Expedited, InterfaceEntry, Node, Programs, Sizes};
use gabion_life::Pointers;
use gabion_policy_compile::{Compiled, Options, compile};
use gabion_policy_model::text::{Source, parse};
use gabion_testing_peers::Failure;
use gabion_testing_peers::header::Header;
use gabion_testing_peers::live::{Generator, alone};
use gabion_testing_peers::stand::{Addressee, DEVICE, Stand};
use tempfile::TempDir;

/// Zones; there is a rule for each two of them.
const ZONES: usize = 32;
/// Clients in a zone, and servers.
const MEMBERS: usize = 8;
/// Of Modbus, which is what passes.
const PORT: u16 = 502;
/// Packets that are sent in one go.
const BURST: u32 = 2_000_000;
/// Changes of the tables of one generation, for each swap.
const PATCHES: usize = 4;

fn policy(shift: usize) -> Result<Compiled, Failure> {
    let mut text =
        String::from("apiVersion: gabion.dev/v1alpha1\nkind: Inventory\nmetadata: {name: i}\nspec:\n  entries:\n");
    for member in 0..ZONES * MEMBERS {
        let zone = (member + shift) % ZONES;
        for (kind, net) in [("client", 0), ("server", 1)] {
            text += &format!(
                "    - {{name: {kind}{member}, labels: {{{kind}: z{zone}}}, addresses: [10.0.{net}.{member}]}}\n"
            );
        }
    }
    for zone in 0..ZONES {
        text += &format!(
            "---\napiVersion: gabion.dev/v1alpha1\nkind: Policy\nmetadata: {{name: zone-{zone}}}\nspec:\n  \
             subject: {{labels: {{server: z{zone}}}}}\n  ingress:\n"
        );
        for client in 0..ZONES {
            let name = if client == zone { "own" } else { "mixed" };
            text += &format!(
                "    - {{name: {name}-{client}, action: allow, stateless: true, \
                 from: [{{labels: {{client: z{client}}}}}], services: [{{protocol: tcp, ports: [{PORT}]}}]}}\n"
            );
        }
    }
    let set = parse(&[Source::new("policy.yaml", text)]).map_err(|wrong| format!("{wrong:?}"))?;
    Ok(compile(&set, &Options::default())?)
}

/// Each client to one server after the other of its zone.
fn trace() -> Vec<Header> {
    let members = ZONES * MEMBERS;
    let header = |at: usize| {
        let (client, turn) = (at % members, at / members);
        let server = (client + ZONES * turn) % members;
        Header {
            source: Ipv4Addr::new(10, 0, 0, client as u8),
            destination: Ipv4Addr::new(10, 0, 1, server as u8),
            protocol: protocol::TCP,
            source_port: 40_000 + at as u16,
            destination_port: PORT,
            tcp_flags: 0x10,
        }
    };
    (0..members * MEMBERS).map(header).collect()
}

/// What generations counted, by what their rules are called.
#[derive(Default)]
struct Tally {
    own: u64,
    mixed: u64,
    other: u64,
}

impl Tally {
    fn add(&mut self, counts: &[Count], compiled: &Compiled) {
        for (number, count) in counts.iter().enumerate() {
            let name = compiled.rules.get(number).map_or("", |rule| &*rule.name);
            let to = match name.rsplit('/').next().and_then(|name| name.split('-').next()) {
                Some("own") => &mut self.own,
                Some("mixed") => &mut self.mixed,
                // Whoever sends may do so by default: each packet is counted there as well.
                Some("egress") => continue,
                _ => &mut self.other,
            };
            *to += count.packets;
        }
    }
}

#[derive(Default)]
struct Times {
    load: Vec<f64>,
    swap: Vec<f64>,
    back: Vec<f64>,
    patch: Vec<f64>,
}

/// Swaps until `swaps` were made and `packets` were sent; figures, and what became of the packets.
pub fn measure(swaps: usize, packets: u64) -> Result<Vec<Figure>, Failure> {
    let folder = TempDir::new()?;
    let mut generator = Generator::new()?;
    let stand = Stand::new(&mut generator, 1, Addressee::Stranger)?;
    stand.host().mount_bpffs(folder.path())?;
    let tables = [policy(0)?, policy(1)?];
    let trace = trace();
    generator.take(&trace, &vec![true; trace.len()])?;
    let (sent, enough, failed) = (AtomicU64::new(0), AtomicBool::new(false), AtomicBool::new(false));
    let (ready, port) = (std::sync::Barrier::new(2), stand.port());
    let (outcome, sending) = std::thread::scope(|scope| {
        let sender = scope.spawn(|| {
            ready.wait();
            let start = Instant::now();
            let outcome = alone(0, || -> Result<(), Failure> {
                while !failed.load(Ordering::Acquire)
                    && (!enough.load(Ordering::Acquire) || sent.load(Ordering::Acquire) < packets)
                {
                    generator.send(port, BURST)?;
                    sent.fetch_add(u64::from(BURST), Ordering::AcqRel);
                }
                Ok(())
            });
            (outcome, start.elapsed())
        });
        let outcome = stand.host().run(|| -> Result<_, Failure> {
            let opened = Swapping::begin(folder.path(), stand.ifindex(), &tables);
            ready.wait();
            let mut swapping = opened.inspect_err(|_| failed.store(true, Ordering::Release))?;
            let mut made = 0;
            while made < swaps || sent.load(Ordering::Acquire) < packets {
                let swapped = swapping.swap(made);
                swapped.inspect_err(|_| failed.store(true, Ordering::Release))?;
                made += 1;
                enough.store(made >= swaps, Ordering::Release);
            }
            Ok((swapping, made))
        });
        (outcome, sender.join())
    });
    let (swapping, made) = outcome?;
    let (sent_all, took) = sending.map_err(|_| "the generator panicked")?;
    sent_all??;
    let sent = sent.into_inner();
    let figures = stand.host().run(|| swapping.end(sent, made, took.as_secs_f64()))?;
    stand.remove(&mut generator)?;
    Ok(figures)
}

struct Swapping<'t> {
    node: Node,
    root: std::path::PathBuf,
    tables: &'t [Compiled; 2],
    entry: InterfaceEntry,
    tally: Tally,
    times: Times,
    current: u32,
}

impl<'t> Swapping<'t> {
    fn begin(folder: &std::path::Path, ifindex: u32, tables: &'t [Compiled; 2]) -> Result<Self, Failure> {
        let root = folder.join("node");
        let (mut node, _) = Node::open(&root, &Sizes::default(), Programs::parse()?)?;
        let flags = Interface { flags: interface::JUDGED, ..Interface::default() };
        let entry = InterfaceEntry { ifindex, interface: flags };
        let staged = node.stage(&tables[0], &[entry])?;
        let current = staged.number();
        node.set_settings(&Settings::default())?;
        node.commit(staged)?;
        node.attach(DEVICE, entry)?;
        Ok(Self { node, root, tables, entry, tally: Tally::default(), times: Times::default(), current })
    }

    /// A new generation takes the place of the one in force; that comes back, and goes for good. Then the tables of
    /// the new one change and change back.
    fn swap(&mut self, made: usize) -> Result<(), Failure> {
        let next = &self.tables[(made + 1) % 2];
        let ms = |since: Instant| since.elapsed().as_secs_f64() * 1e3;
        let start = Instant::now();
        let staged = self.node.stage(next, &[self.entry])?;
        self.times.load.push(ms(start));
        let number = staged.number();
        self.node.keep(staged);
        {
            let _expedited = Expedited::begin(&self.root);
            for (to, times) in [(number, &mut self.times.swap), (self.current, &mut self.times.back)] {
                let start = Instant::now();
                self.node.point(&Pointers::all(to))?;
                times.push(ms(start));
            }
            self.node.point(&Pointers::all(number))?;
        }
        self.current = number;
        for gone in self.node.prune(&[number].into())? {
            // Both have the same rules.
            self.tally.add(&gone.counts, next);
        }
        for turn in 0..PATCHES {
            let start = Instant::now();
            if !self.node.patch(&self.tables[(made + turn) % 2])? {
                return Err("the tables cannot be changed in place".into());
            }
            self.times.patch.push(ms(start));
        }
        Ok(())
    }

    fn end(mut self, sent: u64, made: usize, seconds: f64) -> Result<Vec<Figure>, Failure> {
        let compiled = &self.tables[0];
        self.tally.add(&self.node.live().ok_or("nothing is in force")?.rule_counts(), compiled);
        let judged: u64 = self.node.reason_counts().iter().map(|count| count.packets).sum();
        let Tally { own, mixed, other, .. } = self.tally;
        println!(
            "{made} generations, {} swaps and roll-backs, {} changes in place; {sent} packets sent at {:.2} million a \
             second: {judged} judged, {own} by a rule of the old or of the new generation, {mixed} by both, {other} by \
             neither",
            made * 3,
            self.times.patch.len(),
            sent as f64 / seconds / 1e6,
        );
        let lost = sent.abs_diff(judged).max(sent.abs_diff(own + mixed + other));
        let Times { load, swap, back, patch } = std::mem::take(&mut self.times);
        let rules = compiled.rules.len();
        let figures = [
            Figure::new("packets sent, millions (aim 100)", vec![sent as f64 / 1e6]),
            Figure::new("packets lost (aim 0)", vec![lost as f64]),
            Figure::new("packets judged by two generations, or by none (aim 0)", vec![(mixed + other) as f64]),
            Figure::new(format!("{rules} rules loaded into the kernel, under that traffic (ms)"), load),
            Figure::new("every hook swapped, under that traffic (ms)", swap),
            Figure::new("and back, under that traffic (ms)", back),
            Figure::new("tables changed in place, under that traffic (ms)", patch),
        ];
        self.node.detach_all()?;
        Ok(figures.into_iter().flatten().collect())
    }
}
