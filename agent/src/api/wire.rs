//! What the API says, field for field: the agent writes these, `gabion status`, `top` and `events` read them.
//!
//! Fields are only ever added. A reader ignores fields that it does not know.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Version of the API: raised when a field changes its meaning or goes. Agent and client say it in
/// [`VERSION_HEADER`], and refuse each other when they say different ones.
pub const VERSION: &str = "1";
/// The header in which both sides say [`VERSION`].
pub const VERSION_HEADER: &str = "gabion-api";

/// `GET /v1/contracts`: what this agent shares with its kernel programs, in the text that `gabion contract diff` reads.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Contracts {
    /// With the programs at the hooks.
    pub object: String,
    /// What outlives a generation.
    pub state: String,
    /// With the programs that follow sockets.
    pub owners: String,
    /// With the gatekeeper.
    pub gatekeeper: String,
}

/// Packets and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amount {
    /// Packets.
    pub packets: u64,
    /// Bytes, from the first byte the hook sees.
    pub bytes: u64,
}

impl std::ops::AddAssign for Amount {
    fn add_assign(&mut self, other: Self) {
        self.packets = self.packets.saturating_add(other.packets);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }
}

/// `GET /v1/status`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// Version of the agent.
    pub version: String,
    /// Process id of the agent.
    pub pid: u32,
    /// When the agent started, RFC 3339.
    pub started: String,
    /// Seconds since then.
    pub uptime_s: u64,
    /// `enforcing`, `audit` or `degraded` (something in `warnings` needs a person).
    pub state: String,
    /// Name of the site.
    pub site: String,
    /// Where the policy is read from.
    pub policy_paths: Vec<String>,
    /// The generation in force.
    pub generation: Generation,
    /// Whether verdicts are carried out.
    pub mode: Mode,
    /// Ports of the node that no policy can close, as `tcp/22`.
    pub failsafe: Vec<String>,
    /// Guarded interfaces.
    pub interfaces: Vec<Interface>,
    /// Counts over all interfaces.
    pub totals: Totals,
    /// The last attempt to put a policy into force, whatever came of it.
    pub last_apply: Option<Apply>,
    /// Events about verdicts.
    pub events: EventCounts,
    /// Deny lists that are in force beside the policy, by name.
    pub emergencies: Vec<Emergency>,
    /// Who may load programs.
    pub gate: Gate,
    /// What an operator should know, one sentence each.
    pub warnings: Vec<String>,
}

/// Who may load programs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Gate {
    /// `open` (nobody wants it sealed), `sealing`, `sealed`, or `failed` (it should be sealed, and is not).
    pub state: String,
    /// Since when it is sealed, RFC 3339.
    pub since: Option<String>,
    /// Why it is not, although it should be.
    pub problem: Option<String>,
    /// How many programs the agent may load.
    pub programs: usize,
    /// Attempts that were refused since the agent started.
    pub attempts: u64,
    /// By who tried, the latest first.
    pub callers: Vec<GateCaller>,
}

/// A process that tried to pass the gate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GateCaller {
    /// `not-the-agent`, `not-allowed` (a program of the agent), or `map-of-the-gate`.
    pub reason: String,
    /// Its number.
    pub pid: u32,
    /// Name of its program, which it may choose.
    pub name: String,
    /// Its cgroup (version 2).
    pub cgroup: u64,
    /// How often.
    pub count: u64,
    /// When last, RFC 3339.
    pub last: String,
    /// Digest of the program, where that was the reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}

/// The generation in force.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Generation {
    /// Its number; 0 while none is.
    pub number: u32,
    /// Since when, RFC 3339.
    pub since: String,
    /// Number of rules and defaults in it.
    pub rules: usize,
    /// Digest of the policy text that it was made of.
    pub digest: String,
    /// It was put into force by an earlier agent, and adopted.
    pub adopted: bool,
    /// What is on trial; the node goes back when it gets worse.
    pub trial: Option<Trial>,
    /// Generations of interfaces that run ahead.
    pub ahead: BTreeMap<String, u32>,
    /// Why nothing may change, when somebody said so.
    pub pinned: Option<String>,
    /// Generations that were rolled back since the agent started, by itself or by an operator.
    pub rolled_back: u64,
}

/// A deny list that is in force beside the policy, for a while.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Emergency {
    /// Its name: a newer version takes its place.
    pub name: String,
    /// Its version.
    pub version: u64,
    /// Id of its bundle.
    pub bundle: String,
    /// Who vouches for it.
    pub vouched: String,
    /// Since when, RFC 3339.
    pub since: String,
    /// Until when.
    pub until: String,
    /// Number of its denials.
    pub denials: usize,
    /// Whether hooks run it; if not, it is tried again.
    pub in_force: bool,
}

/// A generation on trial.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Trial {
    /// Its number.
    pub number: u32,
    /// The generation that comes back when the node gets worse; 0 is none.
    pub back_to: u32,
    /// How long it is watched.
    pub window_s: u64,
    /// How long it still is.
    pub left_s: u64,
    /// Interfaces that run it; all when there are none.
    pub only: Vec<String>,
}

/// Whether verdicts are carried out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Mode {
    /// `enforce` or `audit`.
    pub current: String,
    /// What the policy says.
    pub policy: String,
    /// Since when an operator's choice overrides the policy.
    pub overridden_since: Option<String>,
}

/// A guarded interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Interface {
    /// Name.
    pub name: String,
    /// Index.
    pub ifindex: u32,
    /// Role that the site gives it.
    pub role: Option<String>,
    /// `xdp-native`, `xdp-generic` or `none`.
    pub ingress: String,
    /// `tcx`, `clsact` or `none`.
    pub egress: String,
    /// Packets start with the IP header.
    pub l3: bool,
    /// The link is up.
    pub up: bool,
    /// What is wrong with it.
    pub problem: Option<String>,
}

/// `GET /v1/interfaces`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Interfaces {
    /// Guarded interfaces that are there.
    pub interfaces: Vec<Interface>,
    /// Names and patterns of the site that no interface has now.
    pub missing: Vec<String>,
}

/// `GET /v1/totals`. The ledger: seen = passed + dropped.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Totals {
    /// All that the hooks judged.
    pub seen: Amount,
    /// Of them, those that went on.
    pub passed: Amount,
    /// Of them, those that ended here.
    pub dropped: Amount,
    /// By reason.
    pub reasons: Vec<ReasonTotal>,
}

/// Count of one reason.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReasonTotal {
    /// Why: `rule`, `reply`, `related`, `fragment`, `fail-safe`, `audit-rule`, `audit-mode`, `judged`.
    pub reason: String,
    /// `pass` or `drop`.
    pub action: String,
    /// How much.
    #[serde(flatten)]
    pub amount: Amount,
}

/// `GET /v1/rules`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Rules {
    /// Generation in force.
    pub generation: u32,
    /// Rules of that generation, then those of earlier ones that have counted something.
    pub rules: Vec<Rule>,
}

/// Counts of one rule, over all generations that had a rule of this name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rule {
    /// Full name.
    pub name: String,
    /// Tier, `policy` or `default`.
    pub tier: String,
    /// `ingress` or `egress`.
    pub direction: String,
    /// `allow`, `deny`, `audit`, or `mixed`.
    pub action: String,
    /// It is part of the generation in force.
    pub active: bool,
    /// How much it decided.
    #[serde(flatten)]
    pub amount: Amount,
}

/// An attempt to put a policy into force.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Apply {
    /// When, RFC 3339.
    pub time: String,
    /// `start`, `signal`, `api`, `file`, `room` (the tables had no room for an interface), or `emergency` (a deny list
    /// came or ended).
    pub trigger: String,
    /// It is in force now.
    pub ok: bool,
    /// Generation in force after the attempt.
    pub generation: u32,
    /// The policy is the one that was in force already; nothing was changed.
    pub unchanged: bool,
    /// Only who carries which subjects changed: the tables of the generation in force were changed in place.
    pub in_place: bool,
    /// How long it is on trial before the node relies on it, milliseconds; 0 is not.
    pub trial_ms: u64,
    /// From reading the files to the swap, microseconds.
    pub took_us: u64,
    /// Why not.
    pub error: Option<Problem>,
    /// What the compiler or the lints had to say.
    pub warnings: Vec<String>,
}

/// `GET /v1/generations`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Generations {
    /// Those that are loaded, and those that were committed before and are remembered, the newest first.
    pub generations: Vec<KnownGeneration>,
    /// What is on trial.
    pub trial: Option<Trial>,
    /// Deny lists that are in force beside the policy, by name.
    pub emergencies: Vec<Emergency>,
    /// Why nothing may change, when somebody said so.
    pub pinned: Option<String>,
    /// Changes that failed, and are not taken again unless somebody insists; the latest last.
    pub failed: Vec<FailedGeneration>,
    /// The journal, the latest last.
    pub journal: Vec<JournalLine>,
}

/// A generation that is known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct KnownGeneration {
    /// Its number.
    pub number: u32,
    /// `live` (on trial), `committed`, `ahead` (committed, on some interfaces) or `replaced`.
    pub state: String,
    /// It is in the kernel.
    pub loaded: bool,
    /// Since when it is, or was, RFC 3339.
    pub since: String,
    /// Digest of the policy text.
    pub digest: String,
    /// Where it came from.
    pub origin: String,
    /// Name of its site.
    pub site: String,
    /// Number of its rules and defaults.
    pub rules: usize,
    /// Interfaces that run it.
    pub interfaces: Vec<String>,
    /// Names of the deny lists that it was made with.
    pub emergencies: Vec<String>,
}

/// A change that failed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FailedGeneration {
    /// Its number.
    pub number: u32,
    /// Digest of what it was made of.
    pub digest: String,
    /// Why it failed: which signal, its value and its bound.
    pub why: String,
}

/// A line of the journal: what was about to happen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct JournalLine {
    /// Its number; numbers have no gaps.
    pub line: u64,
    /// When, RFC 3339.
    pub time: String,
    /// Which generation; 0 is none.
    pub generation: u32,
    /// A step of a generation's life, or something else that an operator wants to know.
    pub step: String,
    /// The step before, of a generation's life.
    pub from: Option<String>,
    /// Why, or what.
    pub detail: String,
}

/// Why something did not work.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Problem {
    /// Stable code.
    pub code: String,
    /// Whose fault: `input`, `system` or `ours`.
    pub blame: String,
    /// One line.
    pub message: String,
    /// Everything that is known, rendered for a terminal without colour.
    pub details: String,
}

/// Events about verdicts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EventCounts {
    /// Taken from the ring.
    pub received: u64,
    /// Of them, those that were no event (a defect).
    pub malformed: u64,
    /// Not sent by the kernel programs, by reason.
    pub suppressed: Vec<Suppressed>,
    /// Followers now.
    pub followers: u32,
    /// Lost to followers that were too slow.
    pub lost_to_followers: u64,
    /// Connections to the API that were turned away.
    pub connections_refused: u64,
    /// Why events do not say whose packets are, if they do not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_processes: Option<String>,
}

/// Events that were not sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suppressed {
    /// Why.
    pub reason: String,
    /// How many.
    pub count: u64,
}

/// One line of `GET /v1/events`: an event, or a note about the stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Line {
    /// A verdict.
    Event(Box<Event>),
    /// Something else that happened to the node, as the journal has it.
    Journal(Box<crate::record::Line>),
    /// This follower was too slow.
    Lost {
        /// Events that it missed here, whether or not they matched its filter.
        count: u64,
    },
}

/// A process of this node: who made a socket, or listens where it was accepted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "snake_case")]
pub struct Process {
    /// Its number. With `started` it names the process for good.
    pub pid: u32,
    /// Name of its program (`/proc/PID/comm`), which the process may choose.
    pub name: String,
    /// When it began, RFC 3339.
    pub started: String,
    /// Number of its cgroup (version 2).
    pub cgroup: u64,
    /// Path of that cgroup, while there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cgroup_path: Option<String>,
}

/// `GET /v1/processes`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Processes {
    /// Why nothing is known of processes, if nothing is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// Those whose packets were reported since the agent started, most denials first.
    pub processes: Vec<ProcessTotal>,
}

/// What was reported of one process. Packets that were not reported are in no count here.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProcessTotal {
    /// The process.
    #[serde(flatten)]
    pub process: Process,
    /// Reported denials.
    pub denied: u64,
    /// Reported packets that went on, and would have been denied.
    pub audited: u64,
    /// Reported packets that were allowed.
    pub allowed: u64,
    /// The last of them.
    pub last: Event,
}

/// A verdict on one packet.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Event {
    /// When it was decided, RFC 3339 with microseconds.
    pub time: String,
    /// `allow`, `deny`, or `audit` (went on, would have been denied).
    pub verdict: String,
    /// Full name of the rule that decided.
    pub rule: String,
    /// Its tier.
    pub tier: String,
    /// Whose policy decided: `ingress` of the destination or `egress` of the source.
    pub direction: String,
    /// Why.
    pub reason: String,
    /// Generation that decided.
    pub generation: u32,
    /// Where: `xdp` or `tc`.
    pub hook: String,
    /// Interface of the hook.
    pub interface: String,
    /// Its index.
    pub ifindex: u32,
    /// Length in bytes as the hook saw it.
    pub length: u32,
    /// EtherType, as `0x88b8`.
    pub ethertype: String,
    /// Source MAC; none on L3 devices.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_mac: Option<String>,
    /// Destination MAC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination_mac: Option<String>,
    /// Outer VLAN.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vlan: Option<u16>,
    /// Inner VLAN.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inner_vlan: Option<u16>,
    /// Source address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Destination address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination: Option<String>,
    /// IP protocol by name where it has one, else by number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// Source port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source_port: Option<u16>,
    /// Destination port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination_port: Option<u16>,
    /// ICMP type and code, as `8/0`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub icmp: Option<String>,
    /// Hop limit, where it decides whether this is neighbour discovery.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hop_limit: Option<u8>,
    /// TCP flags, as `syn,ack`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp_flags: Option<String>,
    /// `first` or `later`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fragment: Option<String>,
    /// Why it could not be parsed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unparsed: Option<String>,
    /// The process on this node that sent it, or would have got it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<Process>,
}

impl Event {
    /// Denied, or would have been.
    #[must_use]
    pub fn is_denial(&self) -> bool {
        self.verdict == "deny" || self.verdict == "audit"
    }
}

/// `POST /v1/mode`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModeRequest {
    /// `enforce`, `audit`, or `policy` (as the policy says).
    pub mode: String,
}

/// Body of every answer that is not 2xx.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Failure {
    /// What went wrong.
    pub error: Problem,
}
