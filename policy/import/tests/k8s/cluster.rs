//! The cluster that is probed, and the probes.

use gabion_abi::facts::{self, Address, Facts, protocol};
use gabion_policy_import::{Source, import_k8s};
use gabion_policy_model::PolicySet;
use gabion_policy_model::oracle::{self, Action};

pub const NAMESPACES: [&str; 3] = ["x", "y", "z"];
pub const PODS: [&str; 3] = ["a", "b", "c"];

/// Who sends or receives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Who {
    /// Empty outside of the cluster.
    pub ns: &'static str,
    pub pod: &'static str,
}

pub const OUTSIDE: Who = Who { ns: "", pod: "" };

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Proto {
    Tcp,
    Udp,
    Sctp,
    Icmp,
}

#[derive(Clone, Copy, Debug)]
pub struct Probe {
    pub from: Who,
    pub to: Who,
    pub proto: Proto,
    /// Destination port, 0 for ICMP.
    pub port: u16,
    pub v6: bool,
}

impl Probe {
    pub fn from(&self, name: &str) -> bool {
        is(self.from, name)
    }

    pub fn to(&self, name: &str) -> bool {
        is(self.to, name)
    }

    pub fn tcp(&self, port: u16) -> bool {
        self.proto == Proto::Tcp && self.port == port
    }

    pub fn sent_by_pod(&self) -> bool {
        self.from != OUTSIDE
    }

    pub fn sent_to_pod(&self) -> bool {
        self.to != OUTSIDE
    }
}

/// `x/a`, `x/*`, `*/a`.
fn is(who: Who, name: &str) -> bool {
    let (ns, pod) = name.split_once('/').expect("names are namespace/pod");
    who != OUTSIDE && (ns == "*" || ns == who.ns) && (pod == "*" || pod == who.pod)
}

fn number(list: [&str; 3], name: &str) -> u32 {
    list.iter().position(|&n| n == name).expect("a name of the cluster") as u32 + 1
}

/// x/a is 10.1.0.1 and fd00::1:1, z/c 10.3.0.3 and fd00::3:3, outside 203.0.113.9 and 2001:db8::9.
pub fn address(who: Who, v6: bool) -> Address {
    match (who == OUTSIDE, v6) {
        (true, false) => Address::v4(0xcb00_7109),
        (true, true) => Address::v6(0x2001_0db8_0000_0000_0000_0000_0000_0009),
        (false, false) => Address::v4(0x0a00_0000 | number(NAMESPACES, who.ns) << 16 | number(PODS, who.pod)),
        (false, true) => Address::v6(
            0xfd00 << 112 | u128::from(number(NAMESPACES, who.ns)) << 16 | u128::from(number(PODS, who.pod)),
        ),
    }
}

/// Namespaces with label `ns`, pods with label `pod` and the named ports of the upstream matrix.
pub fn manifests() -> String {
    let mut text = String::new();
    for (i, ns) in NAMESPACES.iter().enumerate() {
        text += &format!("---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: {ns}, labels: {{ns: {ns}}}}}\n");
        for (j, pod) in PODS.iter().enumerate() {
            let ports: Vec<_> = [80, 81]
                .iter()
                .flat_map(|port| ["TCP", "UDP", "SCTP"].map(|proto| (port, proto)))
                .map(|(port, proto)| {
                    let name = format!("serve-{port}-{}", proto.to_lowercase());
                    format!("{{name: {name}, containerPort: {port}, protocol: {proto}}}")
                })
                .collect();
            text += &format!(
                "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {pod}, namespace: {ns}, labels: {{pod: {pod}}}}}\n\
                 spec:\n  containers: [{{name: c, ports: [{}]}}]\n\
                 status: {{podIP: 10.{}.0.{}, podIPs: [{{ip: 10.{}.0.{}}}, {{ip: 'fd00::{}:{}'}}]}}\n",
                ports.join(", "),
                i + 1,
                j + 1,
                i + 1,
                j + 1,
                i + 1,
                j + 1,
            );
        }
    }
    text
}

pub fn import(policies: &str) -> PolicySet {
    let pods = manifests();
    let sources = [Source { name: "policies.yaml", text: policies }, Source { name: "pods.yaml", text: &pods }];
    match import_k8s(&sources) {
        Ok(imported) => imported.policies,
        Err(errors) => panic!("{}", errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")),
    }
}

pub fn facts(probe: &Probe) -> Facts {
    let mut facts = Facts {
        source: address(probe.from, probe.v6),
        destination: address(probe.to, probe.v6),
        ethertype: if probe.v6 { facts::ETHERTYPE_IPV6 } else { facts::ETHERTYPE_IPV4 },
        family: if probe.v6 { facts::FAMILY_V6 } else { facts::FAMILY_V4 },
        source_mac: 0x0200_0000_0001,
        destination_mac: 0x0200_0000_0002,
        source_port: 40_000,
        destination_port: probe.port,
        transport: facts::TRANSPORT_PORTS,
        ..Facts::UNKNOWN
    };
    match probe.proto {
        Proto::Tcp => {
            facts.protocol = protocol::TCP;
            facts.tcp_flags = facts::tcp::SYN;
        }
        Proto::Udp => facts.protocol = protocol::UDP,
        Proto::Sctp => facts.protocol = protocol::SCTP,
        Proto::Icmp => {
            facts.protocol = if probe.v6 { protocol::ICMPV6 } else { protocol::ICMP };
            facts.transport = facts::TRANSPORT_ICMP;
            facts.icmp_type = if probe.v6 { 128 } else { 8 };
            facts.source_port = 0;
        }
    }
    facts
}

pub fn probes() -> Vec<Probe> {
    let everyone: Vec<Who> = NAMESPACES
        .iter()
        .flat_map(|&ns| PODS.iter().map(move |&pod| Who { ns, pod }))
        .chain(std::iter::once(OUTSIDE))
        .collect();
    let services = [
        (Proto::Tcp, 80),
        (Proto::Tcp, 81),
        (Proto::Udp, 80),
        (Proto::Udp, 81),
        (Proto::Sctp, 80),
        (Proto::Sctp, 81),
        (Proto::Icmp, 0),
    ];
    let mut probes = Vec::new();
    for &from in &everyone {
        for &to in &everyone {
            for (proto, port) in services {
                probes.extend([false, true].map(|v6| Probe { from, to, proto, port, v6 }));
            }
        }
    }
    probes
}

/// Probes everyone with everyone. `allowed` is the truth table; that a pod reaches itself needs not be said.
pub fn check(policies: &str, allowed: impl Fn(&Probe) -> bool) {
    let set = import(policies);
    let mut wrong = Vec::new();
    let mut passed = 0;
    for probe in probes() {
        let expected = probe.from == probe.to || allowed(&probe);
        let judgement = oracle::judge(&set, &facts(&probe), None, None);
        let passes = judgement.action() == Action::Allow;
        passed += usize::from(passes);
        if passes != expected {
            wrong.push(format!("{probe:?}: expected {expected}, judged {judgement:?}"));
        }
    }
    assert!(passed > 0, "a table without a passing probe proves nothing");
    assert!(wrong.is_empty(), "{} wrong, first:\n{}\nfor\n{policies}", wrong.len(), wrong[0]);
}
