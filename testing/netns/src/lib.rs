//! A bench for the agent on real interfaces: a client and a server, and the node between them.
//!
//! Every test shows first that what it will see refused does arrive without the agent, so that no
//! test passes because nothing was sent. Then it starts `gabion` in the middle and compares again.
//! Where a test cannot run, it says why and ends: namespaces need root, and the second half needs the
//! `gabion` binary. Start with [`Bench`] and [`Probe`].

#![forbid(unsafe_code)]
// This crate is nothing but test code, whose only way to report is to panic with the reason.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod probe;
mod traffic;

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use gabion_testing_site::agent::{Agent, Workplace, binary};
use gabion_testing_site::error::SiteError;
use gabion_testing_site::frame::{Station, Way};
use gabion_testing_site::host::Host;
use gabion_testing_site::link::{Mac, Plug, Prefix, cable};
use gabion_testing_site::wire::{Tap, Transmitter};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use serde_json::Value;

pub use probe::{Probe, Seen};
pub use traffic::{ALLOWED, FORBIDDEN, under_traffic};

/// Where a probe starts or ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Behind the node's interface `c0`.
    Client,
    /// The node itself, towards the client.
    Node,
    /// Behind the node's interface `s0`.
    Server,
}

/// MAC of the client.
pub const CLIENT_MAC: Mac = [2, 0, 0, 0, 1, 2];
/// MAC of the server.
pub const SERVER_MAC: Mac = [2, 0, 0, 0, 2, 2];
/// MAC of the node's interface `c0`.
pub const NODE_C0_MAC: Mac = [2, 0, 0, 0, 1, 1];
/// MAC of the node's interface `s0`.
pub const NODE_S0_MAC: Mac = [2, 0, 0, 0, 2, 1];
/// MTU between node and server: less than the client's, so that the node has to fragment, or to say so.
pub const SERVER_MTU: u32 = 1400;

/// Interface of client and server in their own namespaces.
pub const PORT: &str = "eth0";
/// UDP port that every policy of this bench opens, in the first tier: what is sent to it proves that
/// what was sent before it has been judged.
pub const FENCE: u16 = 9;
/// How long anything that is let through may take on a busy machine.
pub const ARRIVAL: Duration = Duration::from_secs(5);

/// Client, node and server, wired up: `client eth0 — c0 node s0 — eth0 server`, routed, both families.
pub struct Bench {
    /// See [`End::Client`].
    pub client: Host,
    /// See [`End::Node`].
    pub node: Host,
    /// See [`End::Server`].
    pub server: Host,
    /// Folders of the agent.
    pub place: Workplace,
    taps: [Tap; 3],
    marks: AtomicU64,
}

/// Says why a test does not run; where `./x test` demands it, that is a failure.
pub fn skip(reason: &str) {
    assert!(std::env::var_os("GABION_REQUIRE_ROOT").is_none(), "demanded, and cannot run: {reason}");
    println!("skipped: {reason}");
}

impl Bench {
    /// Builds it, or prints why the test is skipped.
    #[must_use]
    pub fn new() -> Option<Self> {
        match Self::build() {
            Ok(bench) => Some(bench),
            Err(SiteError::Unable { what, need, remedy }) => {
                skip(&format!("{what} needs {need}; {remedy}"));
                None
            }
            Err(error) => panic!("the bench could not be built: {error}"),
        }
    }

    fn build() -> Result<Self, SiteError> {
        // One CPU: packets that one thread sends are then judged in the order in which they were sent.
        let mut one = CpuSet::new();
        one.set(0).expect("CPU 0 is a CPU");
        sched_setaffinity(Pid::from_raw(0), &one).expect("every thread may choose its CPU");
        let [client, node, server] = ["client", "node", "server"].map(|name| Host::new(format!("gbn-{name}")));
        let (client, node, server) = (client?, node?, server?);
        node.forwarding()?;
        for scope in ["all", "default"] {
            node.sysctl(&format!("net/ipv4/conf/{scope}/rp_filter"), "0")?;
        }
        // The limit on ICMP errors would make their absence mean nothing.
        node.sysctl("net/ipv4/icmp_ratelimit", "0")?;
        node.sysctl("net/ipv6/icmp/ratelimit", "0")?;
        server.sysctl("net/ipv4/icmp_ratelimit", "0")?;
        server.sysctl("net/ipv6/icmp/ratelimit", "0")?;
        let plug = |host, name, mac| Plug { host, name, mac: Some(mac) };
        cable(plug(&client, PORT, CLIENT_MAC), plug(&node, "c0", NODE_C0_MAC))?;
        cable(plug(&node, "s0", NODE_S0_MAC), plug(&server, PORT, SERVER_MAC))?;
        for six in [false, true] {
            let length = if six { 64 } else { 24 };
            let [c, nc, ns, s] = addresses(six);
            for (host, name, address) in [(&client, PORT, c), (&node, "c0", nc), (&node, "s0", ns), (&server, PORT, s)]
            {
                host.address(name, Prefix { address, length })?;
            }
            client.default_route(nc)?;
            server.default_route(ns)?;
        }
        let place = Workplace::new(&node)?;
        let taps = [Tap::open(&client, Some(PORT))?, Tap::open(&node, None)?, Tap::open(&server, Some(PORT))?];
        let bench = Self { client, node, server, place, taps, marks: AtomicU64::new(1) };
        // Neighbours are found before the first probe: a packet that waits for one may be given up.
        for (from, to) in [(End::Client, End::Server), (End::Server, End::Client)] {
            bench.fence(from, to);
        }
        Ok(bench)
    }

    /// Makes the cable to the server narrow, so that the node has to fragment or to report.
    pub fn narrow(&self) {
        self.node.mtu("s0", SERVER_MTU).unwrap();
        self.server.mtu(PORT, SERVER_MTU).unwrap();
    }

    /// The tap of an end.
    #[must_use]
    pub fn tap(&self, end: End) -> &Tap {
        &self.taps[end as usize]
    }

    /// The machine of an end.
    #[must_use]
    pub fn host(&self, end: End) -> &Host {
        match end {
            End::Client => &self.client,
            End::Node => &self.node,
            End::Server => &self.server,
        }
    }

    /// Bytes that no other packet of this bench holds.
    #[must_use]
    pub fn mark(&self) -> Vec<u8> {
        let number = self.marks.fetch_add(1, Ordering::Relaxed);
        format!("<gabion{number:06}>").into_bytes()
    }

    /// What the wire says about a probe: sent, followed by a fence, and counted where it should arrive.
    #[must_use]
    pub fn send(&self, probe: &Probe) -> Seen {
        let mark = self.mark();
        let frames = probe.frames(&mark);
        let tap = self.tap(probe.to);
        let watch = tap.watch(move |frame| gabion_testing_site::frame::holds(frame, &mark));
        let transmitter = self.transmitter(probe.from, probe.to);
        for frame in &frames {
            transmitter.send(frame).unwrap();
        }
        self.fence(probe.from, probe.to);
        let seen = Seen { sent: frames.len() as u64, arrived: watch.seen() };
        tap.clear();
        seen
    }

    /// Returns when everything that was sent from one end to the other before has been judged.
    pub fn fence(&self, from: End, to: End) {
        let tap = self.tap(to);
        let transmitter = self.transmitter(from, to);
        // Of both families: packets of one may wait for its neighbour to be found while the other passes by.
        for six in [false, true] {
            let mark = self.mark();
            let probe = way(from, to, six).udp(FENCE, FENCE, &mark);
            let watch = tap.watch(move |frame| gabion_testing_site::frame::holds(frame, &mark));
            transmitter.send(&probe).unwrap();
            assert!(
                watch.reaches(1, ARRIVAL),
                "the fence from {from:?} to {to:?} never arrived, IPv6 {six}\n{}",
                self.place.log()
            );
        }
        assert!(tap.drained(ARRIVAL), "the tap of {to:?} does not come to rest");
    }

    /// The interface by which an end sends to another.
    #[must_use]
    pub fn transmitter(&self, from: End, to: End) -> Transmitter {
        let name = match (from, to) {
            (End::Node, End::Server) => "s0",
            (End::Node, _) => "c0",
            _ => PORT,
        };
        Transmitter::open(self.host(from), name).unwrap()
    }

    /// How many frames that hold the mark reach an end while something happens, when `count` are awaited.
    #[must_use]
    pub fn reaching(&self, at: End, mark: &[u8], count: u64, happens: impl FnOnce()) -> u64 {
        let mark = mark.to_vec();
        let watch = self.tap(at).watch(move |frame| gabion_testing_site::frame::holds(frame, &mark));
        happens();
        if count > 0 {
            let _ = watch.reaches(count, ARRIVAL);
        }
        assert!(self.tap(at).drained(ARRIVAL), "the tap of {at:?} does not come to rest");
        let seen = watch.seen();
        self.tap(at).clear();
        seen
    }

    /// Every probe arrives: nobody guards the node yet, or any more. The kernel takes hooks off some time after the
    /// last pin of theirs is gone.
    pub fn baseline(&self, probes: &[&Probe]) {
        let end = Instant::now() + UNHOOKED;
        for probe in probes {
            while self.send(probe).verdict() != Some(true) {
                assert!(Instant::now() < end, "without an agent, {} does not arrive", probe.what);
            }
        }
    }

    /// What arrives is what should.
    pub fn verify(&self, expected: &[(&Probe, bool)]) {
        let wrong: Vec<String> = expected
            .iter()
            .filter_map(|(probe, passes)| {
                let seen = self.send(probe);
                (seen.verdict() != Some(*passes)).then(|| {
                    let should = if *passes { "pass" } else { "be refused" };
                    format!("{} should {should}: {} of {} arrived", probe.what, seen.arrived, seen.sent)
                })
            })
            .collect();
        assert!(wrong.is_empty(), "{}\npolicy:\n{}", wrong.join("\n"), self.policy_text());
    }

    /// Starts the agent with these documents, or prints why the test ends here.
    #[must_use]
    pub fn guard(&self, documents: &str) -> Option<Agent<'_>> {
        self.guard_with(&Site::default(), documents)
    }

    /// The same with another site.
    #[must_use]
    pub fn guard_with(&self, site: &Site, documents: &str) -> Option<Agent<'_>> {
        self.write(site, documents);
        self.start(site.interfaces.len())
    }

    /// Starts the agent with the policy that is there already.
    #[must_use]
    pub fn start(&self, interfaces: usize) -> Option<Agent<'_>> {
        let binary = agent_binary()?;
        let mut agent = Agent::start(&self.node, &self.place, &binary).unwrap();
        agent.enforcing(interfaces).unwrap_or_else(|error| panic!("{error}\npolicy:\n{}", self.policy_text()));
        Some(agent)
    }

    /// What a reboot leaves of the kernel's part: nothing.
    pub fn forget_kernel(&self) -> Result<(), SiteError> {
        self.node.lose_bpffs(&self.place.bpffs())
    }

    /// Replaces the policy text; says nothing to the agent. Text that is no policy is a mistake in the test.
    pub fn write(&self, site: &Site, documents: &str) {
        let rest = if documents.is_empty() { String::new() } else { format!("---\n{documents}") };
        self.place.write_policy(&format!("{}---\n{FENCE_POLICY}{rest}", site.text())).unwrap();
        let Some(binary) = binary() else { return };
        let output = Command::new(binary).args(["policy", "check"]).arg(self.place.policy()).output().unwrap();
        let words = [output.stderr, output.stdout].concat();
        let words = String::from_utf8_lossy(&words);
        assert!(output.status.success(), "{words}\npolicy:\n{}", self.policy_text());
    }

    /// Replaces the policy and applies it; the agent must accept it.
    pub fn apply(&self, agent: &Agent<'_>, documents: &str) {
        self.apply_with(agent, &Site::default(), documents);
    }

    /// The same with another site.
    pub fn apply_with(&self, agent: &Agent<'_>, site: &Site, documents: &str) {
        self.write(site, documents);
        let output = agent.ask(&["apply"]).unwrap();
        let words = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "apply: {}\n{words}\npolicy:\n{}", output.status, self.policy_text());
    }

    /// The policy that is there.
    #[must_use]
    pub fn policy_text(&self) -> String {
        std::fs::read_to_string(self.place.policy().join("policy.yaml")).unwrap_or_default()
    }
}

/// The `gabion` binary, or a line that says why the test ends.
#[must_use]
pub fn agent_binary() -> Option<PathBuf> {
    let Some(found) = binary() else {
        skip("no gabion binary (cargo build -p gabion, or GABION_BIN)");
        return None;
    };
    let runs = Command::new(&found).args(["run", "--help"]).output().is_ok_and(|output| output.status.success());
    if !runs {
        skip(&format!("{} has no `run`", found.display()));
    }
    runs.then_some(found)
}

/// How long the kernel may take to free hooks that nothing refers to.
const UNHOOKED: Duration = Duration::from_secs(10);

/// Addresses of client, node towards client, node towards server, server.
#[must_use]
pub fn addresses(six: bool) -> [IpAddr; 4] {
    let texts = if six {
        ["fd01::2", "fd01::1", "fd02::1", "fd02::2"]
    } else {
        ["10.1.0.2", "10.1.0.1", "10.2.0.1", "10.2.0.2"]
    };
    texts.map(|text| text.parse().expect("these are addresses"))
}

/// How packets look that go from one end to another.
#[must_use]
pub fn way(from: End, to: End, six: bool) -> Way {
    let [client, node_c, node_s, server] = addresses(six);
    let station = |mac, address| Station { mac, address };
    let (from, to) = match (from, to) {
        (End::Client, End::Server) => (station(CLIENT_MAC, client), station(NODE_C0_MAC, server)),
        (End::Server, End::Client) => (station(SERVER_MAC, server), station(NODE_S0_MAC, client)),
        (End::Client, End::Node) => (station(CLIENT_MAC, client), station(NODE_C0_MAC, node_c)),
        (End::Node, End::Client) => (station(NODE_C0_MAC, node_c), station(CLIENT_MAC, client)),
        (End::Server, End::Node) => (station(SERVER_MAC, server), station(NODE_S0_MAC, node_s)),
        (End::Node, End::Server) => (station(NODE_S0_MAC, node_s), station(SERVER_MAC, server)),
        (from, to) => panic!("no way from {from:?} to {to:?}"),
    };
    Way { from, to }
}

/// The `Site` document of a test.
#[derive(Clone, Debug)]
pub struct Site {
    /// Interfaces that are guarded.
    pub interfaces: Vec<&'static str>,
    /// `allow` or `deny` for ingress.
    pub ingress: &'static str,
    /// `allow` or `deny` for egress.
    pub egress: &'static str,
    /// Further lines of the spec, indented by two.
    pub more: &'static str,
}

impl Default for Site {
    fn default() -> Self {
        Self { interfaces: vec!["c0", "s0"], ingress: "deny", egress: "allow", more: "" }
    }
}

impl Site {
    fn text(&self) -> String {
        let interfaces: String = self.interfaces.iter().map(|name| format!("    - {{name: {name}}}\n")).collect();
        format!(
            "apiVersion: gabion.dev/v1alpha1\nkind: Site\nmetadata: {{name: bench}}\nspec:\n  interfaces:\n{interfaces}  \
             defaults: {{ingress: {}, egress: {}}}\n{}",
            self.ingress, self.egress, self.more
        )
    }
}

const FENCE_POLICY: &str = "\
apiVersion: gabion.dev/v1alpha1
kind: ClusterPolicy
metadata: {name: fence}
spec:
  tier: {name: fence, order: 0}
  subject: any
  ingress: [{name: in, action: allow, services: [{protocol: udp, ports: 9}]}]
  egress: [{name: out, action: allow, services: [{protocol: udp, ports: 9}]}]
";

/// A `ClusterPolicy` for everyone, in a tier after the fence: rules as YAML flow maps, in order. The names
/// of egress rules get `out-` in front, so that one rule can be given for both directions.
#[must_use]
pub fn rules(ingress: &[&str], egress: &[&str]) -> String {
    let list = |rules: &[&str]| rules.iter().map(|rule| format!("    - {rule}\n")).collect::<String>();
    let mut text = String::from(
        "apiVersion: gabion.dev/v1alpha1\nkind: ClusterPolicy\nmetadata: {name: test}\nspec:\n  \
         tier: {name: test, order: 10}\n  subject: any\n",
    );
    if !ingress.is_empty() {
        text += &format!("  ingress:\n{}", list(ingress));
    }
    if !egress.is_empty() {
        text += &format!("  egress:\n{}", list(egress).replace("{name: ", "{name: out-"));
    }
    text
}

/// A value of the agent's status, by path.
#[must_use]
pub fn packets(status: &Value, kind: &str) -> u64 {
    status["totals"][kind]["packets"].as_u64().unwrap_or(0)
}
