//! Events: bytes from the ring → typed → named → recent denials and followers.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use gabion_abi::boundary::EVENTS;
use gabion_abi::event::Event as KernelEvent;
use gabion_abi::facts::{self, Facts, protocol, tcp};
use gabion_abi::verdict::{self, reason};
use gabion_policy_model::subject::Mac;
use tokio::sync::broadcast;

use crate::api::wire;
use crate::counters::RuleName;
use crate::processes::{Processes, Totals};
use crate::record::Line;

/// Denials that are remembered for `status` and `top`.
const RECENT: usize = 256;
/// Packets that are kept to try a new generation on.
const SAMPLE: usize = 64;

/// Events that a follower may lag behind before it loses some.
const FOLLOWER_QUEUE: usize = 1024;

/// Generations whose names are kept for events that were on their way when the next took over.
const NAMED_GENERATIONS: usize = 3;

/// What followers are told.
#[derive(Clone, Debug)]
pub enum Told {
    /// A verdict.
    Verdict(Arc<wire::Event>),
    /// What was put into the journal.
    Journal(Arc<Line>),
}

/// Where events go.
#[derive(Debug)]
pub struct Hub {
    names: VecDeque<(u32, Arc<[RuleName]>)>,
    recent: VecDeque<Arc<wire::Event>>,
    /// Packets of late, each kind once: on what a new generation is tried.
    sample: VecDeque<KernelEvent>,
    sender: broadcast::Sender<Told>,
    /// By process.
    totals: Totals,
    /// Taken from the ring.
    pub received: u64,
    /// Of them, those that were no event.
    pub malformed: u64,
    /// Lost to followers that were too slow.
    pub lost_to_followers: u64,
}

impl Default for Hub {
    fn default() -> Self {
        Self {
            names: VecDeque::new(),
            recent: VecDeque::new(),
            sample: VecDeque::new(),
            sender: broadcast::Sender::new(FOLLOWER_QUEUE),
            totals: Totals::default(),
            received: 0,
            malformed: 0,
            lost_to_followers: 0,
        }
    }
}

impl Hub {
    /// From now on, rule numbers of `generation` mean these.
    pub fn name_generation(&mut self, generation: u32, names: Arc<[RuleName]>) {
        self.names.retain(|(number, _)| *number != generation);
        self.names.push_front((generation, names));
        self.names.truncate(NAMED_GENERATIONS);
    }

    /// Takes one record from the ring. `interfaces` gives the name of an index.
    pub fn take(
        &mut self,
        decoded: Option<KernelEvent>,
        clock: Clock,
        interfaces: &dyn Fn(u32) -> Option<String>,
        processes: &mut Processes,
    ) {
        self.received += 1;
        let Some(event) = decoded.and_then(|event| EVENTS.admit(event).ok()) else {
            self.malformed += 1;
            return;
        };
        // Whoever asks again from another port says nothing new.
        let kind = |one: &KernelEvent| (one.hook, one.ifindex, Facts { source_port: 0, ..one.facts });
        let known = |one: &KernelEvent| kind(one) == kind(&event);
        if !self.sample.iter().any(known) {
            if self.sample.len() == SAMPLE {
                self.sample.pop_front();
            }
            self.sample.push_back(event);
        }
        let process = processes.of(&event, &clock);
        let named = Arc::new(wire::Event { process, ..self.name(&event, clock, interfaces) });
        self.totals.add(&named);
        if named.is_denial() {
            if self.recent.len() == RECENT {
                self.recent.pop_front();
            }
            self.recent.push_back(Arc::clone(&named));
        }
        // No receiver is no error: nobody follows now.
        let _ = self.sender.send(Told::Verdict(named));
    }

    /// Tells followers what happened besides verdicts.
    pub fn tell(&self, line: Line) {
        // As above.
        let _ = self.sender.send(Told::Journal(Arc::new(line)));
    }

    /// Packets of late, each kind once.
    pub fn sample(&self) -> impl Iterator<Item = &KernelEvent> {
        self.sample.iter()
    }

    /// The last denials, oldest first.
    pub fn recent(&self) -> impl DoubleEndedIterator<Item = &Arc<wire::Event>> {
        self.recent.iter()
    }

    /// What was reported by process.
    pub fn totals(&self) -> &Totals {
        &self.totals
    }

    /// What comes from now on.
    pub fn follow(&self) -> broadcast::Receiver<Told> {
        self.sender.subscribe()
    }

    /// Followers now.
    pub fn followers(&self) -> usize {
        self.sender.receiver_count()
    }

    fn name(&self, event: &KernelEvent, clock: Clock, interfaces: &dyn Fn(u32) -> Option<String>) -> wire::Event {
        let rules = self.names.iter().find(|(number, _)| *number == event.generation).map(|(_, rules)| rules);
        let rule = rules.and_then(|rules| rules.get(event.verdict.rule as usize));
        let facts = &event.facts;
        let unparsed = facts.unparsed != facts::unparsed::NONE;
        let ports = facts.transport == facts::TRANSPORT_PORTS && !unparsed;
        let l2 = facts.source_mac != 0 || facts.destination_mac != 0;
        wire::Event {
            time: clock.rfc3339(event.time_ns),
            verdict: verdict_name(&event.verdict).to_owned(),
            rule: match rule {
                Some(rule) => rule.key.name.to_string(),
                None if event.verdict.rule == verdict::NO_RULE => String::from("-"),
                None => format!("generation {} rule {}", event.generation, event.verdict.rule),
            },
            tier: rule.map_or_else(|| String::from("-"), |rule| rule.key.tier.to_string()),
            direction: if event.verdict.direction == verdict::direction::INGRESS { "ingress" } else { "egress" }.into(),
            reason: name_of(&reason::NAMES, event.verdict.reason).to_owned(),
            generation: event.generation,
            hook: if event.hook == verdict::hook::INGRESS { "xdp" } else { "tc" }.to_owned(),
            interface: interfaces(event.ifindex).unwrap_or_else(|| format!("if{}", event.ifindex)),
            ifindex: event.ifindex,
            length: event.length,
            ethertype: if facts.ethertype == facts::ETHERTYPE_LLC {
                String::from("llc")
            } else {
                format!("{:#06x}", facts.ethertype)
            },
            source_mac: l2.then(|| Mac::from_bits(facts.source_mac).to_string()),
            destination_mac: l2.then(|| Mac::from_bits(facts.destination_mac).to_string()),
            vlan: (facts.vlan_outer != facts::VLAN_NONE).then_some(facts.vlan_outer),
            inner_vlan: (facts.vlan_inner != facts::VLAN_NONE).then_some(facts.vlan_inner),
            source: address(facts.family, &facts.source),
            destination: address(facts.family, &facts.destination),
            protocol: (facts.family != facts::FAMILY_NONE).then(|| protocol_name(facts.protocol)),
            source_port: ports.then_some(facts.source_port),
            destination_port: ports.then_some(facts.destination_port),
            icmp: (facts.transport == facts::TRANSPORT_ICMP && !unparsed)
                .then(|| format!("{}/{}", facts.icmp_type, facts.icmp_code)),
            hop_limit: facts.has_discovery_type().then_some(facts.hop_limit),
            tcp_flags: (ports && facts.protocol == protocol::TCP).then(|| flag_names(facts.tcp_flags)),
            fragment: fragment_name(facts).map(str::to_owned),
            unparsed: unparsed.then(|| name_of(&facts::unparsed::NAMES, facts.unparsed).to_owned()),
            process: None,
        }
    }
}

fn name_of(names: &[&'static str], index: u8) -> &'static str {
    names.get(usize::from(index)).copied().unwrap_or("unknown")
}

fn verdict_name(verdict: &gabion_abi::verdict::Verdict) -> &'static str {
    match (verdict.action, verdict.reason) {
        (verdict::DROP, _) => "deny",
        (_, reason::AUDIT_RULE | reason::AUDIT_MODE) => "audit",
        _ => "allow",
    }
}

fn address(family: u8, address: &facts::Address) -> Option<String> {
    match family {
        facts::FAMILY_V4 => Some(Ipv4Addr::from(address.words[0]).to_string()),
        facts::FAMILY_V6 => Some(Ipv6Addr::from(address.to_v6()).to_string()),
        _ => None,
    }
}

/// The protocol's name as policy text writes it, or its number.
pub fn protocol_name(number: u8) -> String {
    let name = match number {
        protocol::ICMP => "icmp",
        protocol::IGMP => "igmp",
        protocol::IPIP => "ipip",
        protocol::TCP => "tcp",
        protocol::UDP => "udp",
        protocol::DCCP => "dccp",
        protocol::IPV6 => "ipv6",
        protocol::GRE => "gre",
        protocol::ESP => "esp",
        protocol::AH => "ah",
        protocol::ICMPV6 => "icmpv6",
        protocol::OSPF => "ospf",
        protocol::VRRP => "vrrp",
        protocol::SCTP => "sctp",
        protocol::UDPLITE => "udplite",
        other => return other.to_string(),
    };
    name.to_owned()
}

fn flag_names(flags: u8) -> String {
    const NAMES: [(u8, &str); 8] = [
        (tcp::SYN, "syn"),
        (tcp::ACK, "ack"),
        (tcp::FIN, "fin"),
        (tcp::RST, "rst"),
        (tcp::PSH, "psh"),
        (tcp::URG, "urg"),
        (tcp::ECE, "ece"),
        (tcp::CWR, "cwr"),
    ];
    let set: Vec<&str> = NAMES.iter().filter(|(bit, _)| flags & bit != 0).map(|(_, name)| *name).collect();
    if set.is_empty() { String::from("none") } else { set.join(",") }
}

fn fragment_name(facts: &Facts) -> Option<&'static str> {
    match facts.fragment {
        facts::FRAGMENT_FIRST => Some("first"),
        facts::FRAGMENT_LATER => Some("later"),
        _ => None,
    }
}

/// Turns `CLOCK_BOOTTIME` into wall-clock time.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    wall: SystemTime,
    boot_ns: u64,
}

impl Clock {
    /// Both clocks now.
    pub fn now() -> Self {
        let boot = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let boot_ns =
            u64::try_from(boot.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(boot.tv_nsec).unwrap_or(0);
        Self { wall: SystemTime::now(), boot_ns }
    }

    /// Wall-clock time of a moment, with microseconds.
    pub fn rfc3339(&self, boot_ns: u64) -> String {
        let moment = if boot_ns <= self.boot_ns {
            self.wall.checked_sub(Duration::from_nanos(self.boot_ns - boot_ns))
        } else {
            self.wall.checked_add(Duration::from_nanos(boot_ns - self.boot_ns))
        };
        // A time stamp from the far future or past is a defect of the sender; "now" is the least wrong answer.
        timestamp(moment.unwrap_or(self.wall))
    }
}

/// RFC 3339 with microseconds.
pub fn timestamp(time: SystemTime) -> String {
    // The formatter knows the years 1970 to 9999.
    const FIRST_UNKNOWN_SECOND: u64 = 253_402_300_800;
    let since_epoch = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    if since_epoch.as_secs() >= FIRST_UNKNOWN_SECOND {
        return String::from("9999-12-31T23:59:59.999999Z");
    }
    humantime::format_rfc3339_micros(SystemTime::UNIX_EPOCH + since_epoch).to_string()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use gabion_abi::facts::Address;
    use gabion_abi::verdict::Verdict;

    use super::*;
    use crate::counters::RuleKey;

    fn names(prefix: &str) -> Arc<[RuleName]> {
        let key = RuleKey { name: format!("{prefix}/rule").into(), tier: "policy".into(), direction: "ingress".into() };
        Arc::new([RuleName { key, action: "deny".into() }])
    }

    fn denial(generation: u32) -> KernelEvent {
        let facts = Facts {
            family: facts::FAMILY_V4,
            ethertype: facts::ETHERTYPE_IPV4,
            protocol: protocol::TCP,
            transport: facts::TRANSPORT_PORTS,
            source: Address::v4(0x0a00_0001),
            destination: Address::v4(0x0a00_0002),
            source_port: 40_000,
            destination_port: 502,
            tcp_flags: tcp::SYN,
            ..Facts::UNKNOWN
        };
        let verdict = Verdict { action: verdict::DROP, reason: reason::RULE, direction: 1, ..Verdict::default() };
        KernelEvent { facts, verdict, generation, ifindex: 7, ..KernelEvent::default() }
    }

    fn take(hub: &mut Hub, event: KernelEvent) {
        hub.take(Some(event), Clock::now(), &|_| Some("eth0".into()), &mut Processes::default());
    }

    #[test]
    fn a_late_event_keeps_the_name_that_its_own_generation_gave_the_rule() {
        let mut hub = Hub::default();
        hub.name_generation(1, names("old"));
        hub.name_generation(2, names("new"));
        take(&mut hub, denial(1));
        take(&mut hub, denial(2));
        take(&mut hub, denial(9));
        let rules: Vec<_> = hub.recent().map(|event| event.rule.as_str()).collect();
        assert_eq!(rules, ["old/rule", "new/rule", "generation 9 rule 0"]);
    }

    #[test]
    fn an_event_reads_like_the_packet() {
        let mut hub = Hub::default();
        hub.name_generation(1, names("p"));
        take(&mut hub, denial(1));
        let event = hub.recent().next().unwrap();
        assert_eq!(event.verdict, "deny");
        assert_eq!((event.source.as_deref(), event.destination.as_deref()), (Some("10.0.0.1"), Some("10.0.0.2")));
        assert_eq!((event.protocol.as_deref(), event.destination_port), (Some("tcp"), Some(502)));
        assert_eq!((event.tcp_flags.as_deref(), event.interface.as_str()), (Some("syn"), "eth0"));
        assert_eq!(event.source_mac, None);
    }

    #[test]
    fn impossible_records_are_counted_and_go_no_further() {
        let mut hub = Hub::default();
        let mut wrong = denial(1);
        wrong.verdict.reason = 200;
        take(&mut hub, wrong);
        hub.take(None, Clock::now(), &|_| None, &mut Processes::default());
        assert_eq!((hub.received, hub.malformed, hub.recent().count()), (2, 2, 0));
    }

    #[test]
    fn a_slow_follower_is_told_what_it_lost_and_blocks_nobody() {
        let mut hub = Hub::default();
        let mut slow = hub.follow();
        for _ in 0..FOLLOWER_QUEUE + 5 {
            take(&mut hub, denial(1));
        }
        let mut quick = hub.follow();
        take(&mut hub, denial(1));
        assert!(quick.try_recv().is_ok());
        assert!(matches!(slow.try_recv(), Err(broadcast::error::TryRecvError::Lagged(6))));
    }

    #[test]
    fn no_time_stamp_panics() {
        let clock = Clock::now();
        for boot_ns in [0, 1, clock.boot_ns, u64::MAX] {
            assert!(clock.rfc3339(boot_ns).ends_with('Z'));
        }
    }
}
