//! The node's place in the plant: interfaces, defaults, fail-safe ports, limits.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::set::Location;
use crate::subject::{AnySubject, Subject};

/// What happens to packets that nothing else decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum DefaultAction {
    /// They may go.
    #[default]
    Allow,
    /// They are refused.
    Deny,
}

/// Whether verdicts are carried out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Mode {
    /// They are.
    #[default]
    Enforce,
    /// What would be denied passes and is reported.
    Audit,
}

/// An interface of the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Name, or a pattern with one trailing `*`.
    pub name: String,
    /// What it is there for, shown in `status` (`station-bus`, `scada`, `uplink`, ...).
    pub role: Option<String>,
    /// The node's own addresses on it, for offline answers; a running agent asks the kernel.
    pub addresses: Vec<IpAddr>,
    /// Where the text says so.
    pub location: Location,
}

/// A default for the ends that carry a subject; first match in the list decides.
#[derive(Clone, Debug, PartialEq)]
pub struct SubjectDefault<S: Subject = AnySubject> {
    /// Whose.
    pub subject: S,
    /// What they may receive; none leaves it to the next.
    pub ingress: Option<DefaultAction>,
    /// What they may send.
    pub egress: Option<DefaultAction>,
    /// Where the text says so.
    pub location: Location,
}

/// What applies when no rule does.
#[derive(Clone, Debug, PartialEq)]
pub struct Defaults<S: Subject = AnySubject> {
    /// What anyone may receive.
    pub ingress: DefaultAction,
    /// What anyone may send.
    pub egress: DefaultAction,
    /// Exceptions by subject.
    pub subjects: Vec<SubjectDefault<S>>,
    /// ARP and genuine IPv6 neighbour discovery.
    pub link_control: DefaultAction,
    /// Packets that cannot be parsed.
    pub unparsed: DefaultAction,
}

impl<S: Subject> Default for Defaults<S> {
    fn default() -> Self {
        Self {
            ingress: DefaultAction::Allow,
            egress: DefaultAction::Allow,
            subjects: Vec::new(),
            link_control: DefaultAction::Allow,
            unparsed: DefaultAction::Deny,
        }
    }
}

/// A port of the node itself that no policy can close.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FailsafePort {
    /// IP protocol number.
    pub protocol: u8,
    /// Port at the node.
    pub port: u16,
}

/// How many verdicts are reported, for each CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventLimits {
    /// Denials a second.
    pub denied_rate: u32,
    /// Denials at once.
    pub denied_burst: u32,
    /// Allowed packets a second.
    pub allowed_rate: u32,
    /// One in so many allowed packets; 0 reports only those whose rule says `log`.
    pub allowed_sample: u32,
}

impl Default for EventLimits {
    fn default() -> Self {
        Self { denied_rate: 500, denied_burst: 200, allowed_rate: 100, allowed_sample: 0 }
    }
}

/// When a change makes the node worse, so that it is undone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// How long a change is watched before the node relies on it.
    pub window: Duration,
    /// A change stays on trial when the agent that watches it dies, instead of being undone.
    pub keep_on_death: bool,
    /// Another inventory alone goes into the tables in force, at once; else it is on trial as any other change.
    pub inventory_in_place: bool,
    /// How far drops may rise.
    pub drops: DropBound,
    /// What must go on.
    pub probes: Vec<HealthProbe>,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            window: Duration::from_secs(30),
            keep_on_death: false,
            inventory_in_place: true,
            drops: DropBound::default(),
            probes: Vec::new(),
        }
    }
}

/// How far the packets dropped a second for one reason may rise above what they were: `times` that, and `above` more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DropBound {
    /// A multiple of what it was.
    pub times: u32,
    /// Packets a second beyond it.
    pub above: u32,
}

impl Default for DropBound {
    fn default() -> Self {
        Self { times: 3, above: 10 }
    }
}

/// Something that must go on while a change is on trial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthProbe {
    /// What it is called.
    pub name: String,
    /// What is looked at.
    pub look: Look,
    /// It must succeed at least once in so long.
    pub within: Duration,
}

/// What a probe looks at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Look {
    /// Somebody takes a TCP connection from this node there.
    Tcp(SocketAddr),
    /// A packet passes by a rule of this name (`policy/rule`).
    Rule(String),
}

/// Who may load BPF programs on this node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gatekeeper {
    /// Only the agent loads programs, and only those that it verified.
    pub seal: bool,
}

/// Connections that are tracked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// Established connections of TCP, SCTP and DCCP held at once.
    pub established: u32,
    /// Connections of all other protocols held at once of which both sides have sent.
    pub datagrams: u32,
    /// Connections held at once of which only one side has sent.
    pub opening: u32,
    /// Datagrams in fragments held at once.
    pub fragments: u32,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self { established: 65_536, datagrams: 65_536, opening: 65_536, fragments: 8_192 }
    }
}

/// The `Site` document.
#[derive(Clone, Debug, PartialEq)]
pub struct Site<S: Subject = AnySubject> {
    /// Name.
    pub name: String,
    /// Interfaces that are guarded. Empty guards none.
    pub interfaces: Vec<Interface>,
    /// Defaults.
    pub defaults: Defaults<S>,
    /// Mode at the start; can be switched at run time.
    pub mode: Mode,
    /// Fail-safe ports; TCP 22 when the text does not say.
    pub failsafe: Vec<FailsafePort>,
    /// Event limits.
    pub events: EventLimits,
    /// Connection limits.
    pub connections: ConnectionLimits,
    /// When a change is undone.
    pub health: Health,
    /// Who may load programs.
    pub gatekeeper: Gatekeeper,
    /// Where the text says so.
    pub location: Location,
}

impl<S: Subject> Default for Site<S> {
    fn default() -> Self {
        Self {
            name: String::from("unnamed"),
            interfaces: Vec::new(),
            defaults: Defaults::default(),
            mode: Mode::Enforce,
            failsafe: vec![FailsafePort { protocol: gabion_abi::facts::protocol::TCP, port: 22 }],
            events: EventLimits::default(),
            connections: ConnectionLimits::default(),
            health: Health::default(),
            gatekeeper: Gatekeeper::default(),
            location: Location::default(),
        }
    }
}
