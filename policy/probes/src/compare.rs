//! Two programs on the same probes: which verdicts change, and whether the policies say so too.

use gabion_abi::event::Settings;
use gabion_abi::facts::{Facts, TRANSPORT_PORTS, unparsed};
use gabion_abi::verdict::{DROP, PASS, Verdict, reason};
use gabion_policy_compile::Compiled;
use gabion_policy_explain::verdict::Verdict as Decided;
use gabion_policy_explain::{Asked, Packet, packet};
use gabion_policy_model::PolicySet;
use gabion_policy_model::oracle::{self, Action};
use gabion_policy_model::text::diff::{Change, What, diff};
use gabion_policy_model::trace::Direction;
use serde::Serialize;

use crate::host;
use crate::probe::{Place, Probe, Program, Seen, Sender};

/// A policy and its program.
#[derive(Debug)]
pub struct Side<'a, P> {
    /// As it is written.
    pub set: &'a PolicySet,
    /// What it was compiled to.
    pub compiled: &'a Compiled,
    /// What was made of that.
    pub program: &'a mut P,
    /// Fail-safe ports.
    pub settings: &'a Settings,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Comparison {
    /// Probes that both programs judged.
    pub probes: usize,
    /// Of these, verdicts that stay, by a rule of the same name.
    pub same: usize,
    /// Verdicts that stay, by another rule.
    pub by_another_rule: Vec<Difference>,
    /// Verdicts that change as the policies say.
    pub changed: Vec<Difference>,
    /// Verdicts that change, and for which nobody asked the policies: there were too many.
    pub not_asked: Vec<Difference>,
    /// Probes that a program could not be run on.
    pub not_run: Vec<NotRun>,
    /// What must not be: while there is one, the new program must not go live.
    pub defects: Vec<Defect>,
    /// What the policies say differently.
    pub policy: Vec<Change>,
}

/// A probe on which the two programs differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Difference {
    /// What people call the probe.
    pub probe: String,
    /// Who sends.
    pub source: String,
    /// Who receives.
    pub destination: String,
    /// What the packet carries.
    pub content: String,
    /// Where it arrives, if it does there.
    #[serde(rename = "in", skip_serializing_if = "Option::is_none")]
    pub arrives: Option<String>,
    /// Where it leaves, if it does there.
    #[serde(rename = "out", skip_serializing_if = "Option::is_none")]
    pub leaves: Option<String>,
    /// What the old program says.
    pub old: Said,
    /// What the new program says.
    pub new: Said,
    /// What the core on the host says over the new tables.
    pub core: Said,
    /// Changes of the policy that account for it, where the oracle was asked.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub explained_by: Vec<String>,
}

/// A verdict in words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Said {
    /// `allow` or `deny`.
    pub verdict: &'static str,
    /// Why: one of the names of [`reason`].
    pub reason: &'static str,
    /// The rule that decides.
    pub rule: String,
}

/// A probe without a verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NotRun {
    /// What people call it.
    pub probe: String,
    /// Why.
    pub why: String,
}

/// A program that does not do what its policy says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Defect {
    /// What people call the probe.
    pub probe: String,
    /// Which program: `old` or `new`.
    pub program: &'static str,
    /// Who contradicts it: `itself`, `core` or `oracle`.
    pub against: &'static str,
    /// What they say.
    pub what: String,
}

impl Comparison {
    /// Whether the new program may go live as far as this shows: all that changes was meant to.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.defects.is_empty()
    }

    /// Whether every change was held to the policies.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.not_asked.is_empty()
    }
}

/// Puts two programs side by side. The new one is held to the core on every probe; where a verdict changes, both are
/// held to the oracle, which takes a while on large policies: at most `questions` changes are asked about. Probes that
/// follow on others are not taken: what they meet is what their program let pass before.
#[must_use]
pub fn compare<O: Program, N: Program>(
    old: &mut Side<'_, O>,
    new: &mut Side<'_, N>,
    probes: &[Probe],
    questions: usize,
) -> Comparison {
    let mut comparison = Comparison { policy: diff(old.set, new.set), ..Comparison::default() };
    let mut left = questions;
    for probe in probes.iter().filter(|probe| !probe.follows) {
        let judged = (judge(old.program, probe, "old"), judge(new.program, probe, "new"));
        let (before, after) = match judged {
            (Ok(before), Ok(after)) => (before, after),
            (Err(failed), _) | (_, Err(failed)) => {
                match failed {
                    Failed::Defect(defect) => comparison.defects.push(defect),
                    Failed::NotRun(not_run) => comparison.not_run.push(not_run),
                }
                continue;
            }
        };
        comparison.probes += 1;
        let core = host::judged(new.compiled, new.settings, probe);
        if core != after {
            let what = format!("it says {}, and the core {}", text(new.compiled, &after), text(new.compiled, &core));
            let what = if core.facts == after.facts { what } else { format!("{what}; they read the packet otherwise") };
            comparison.defects.push(Defect { probe: probe.name.clone(), program: "new", against: "core", what });
            continue;
        }
        let (was, is) = (said(old.compiled, &before.verdict), said(new.compiled, &after.verdict));
        if was == is {
            comparison.same += 1;
            continue;
        }
        let mut difference = difference(probe, &after.facts, was, is, said(new.compiled, &core.verdict));
        if before.passes() == after.passes() {
            comparison.by_another_rule.push(difference);
        } else if left == 0 {
            comparison.not_asked.push(difference);
        } else {
            left -= 1;
            let defects = [oracle_against(old, probe, &before, "old"), oracle_against(new, probe, &after, "new")];
            let sound = defects.iter().all(Option::is_none);
            comparison.defects.extend(defects.into_iter().flatten());
            if sound {
                difference.explained_by = explained(&comparison.policy, &difference);
                comparison.changed.push(difference);
            }
        }
    }
    comparison
}

enum Failed {
    Defect(Defect),
    NotRun(NotRun),
}

fn judge<P: Program>(program: &mut P, probe: &Probe, which: &'static str) -> Result<Seen, Failed> {
    program.judge(probe).map_err(|error| {
        let (probe, what) = (probe.name.clone(), error.to_string());
        if P::is_defect(&error) {
            Failed::Defect(Defect { probe, program: which, against: "itself", what })
        } else {
            Failed::NotRun(NotRun { probe, why: what })
        }
    })
}

/// What the documents say, rule by rule, about a packet at a node to which nothing happened yet.
struct Expected {
    passes: bool,
    reason: u8,
    rule: String,
}

fn expected(set: &PolicySet, settings: &Settings, probe: &Probe, facts: &Facts) -> Expected {
    let (source, destination) = (probe.place.source_interface(), probe.place.destination_interface());
    let judged = oracle::judge(set, facts, source, destination);
    let asked = match &probe.place {
        Place::Arrival { .. } if facts.node != 0 => Asked::INGRESS,
        Place::Departure { from: Sender::Node, .. } => Asked::EGRESS,
        Place::Arrival { .. } | Place::Departure { .. } => Asked::BOTH,
    };
    let decided = Decided {
        egress: asked.egress.then_some(judged.egress),
        ingress: asked.ingress.then_some(judged.ingress),
        failsafe: None,
    };
    // At least one end is asked.
    let (direction, decision) = decided.deciding().unwrap_or((Direction::Ingress, judged.ingress));
    let rule = decision.rule.name(set, direction);
    let (passes, reason) = match decision.action {
        Action::Allow => (true, reason::RULE),
        Action::Audit => (true, reason::AUDIT_RULE),
        Action::Deny if is_failsafe(settings, probe, facts) => (true, reason::FAILSAFE),
        Action::Deny => (false, reason::RULE),
    };
    Expected { passes, reason, rule }
}

fn is_failsafe(settings: &Settings, probe: &Probe, facts: &Facts) -> bool {
    let (address, port) = match probe.place {
        Place::Arrival { .. } => (facts.destination, facts.destination_port),
        Place::Departure { .. } => (facts.source, facts.source_port),
    };
    let wanted = u32::from(facts.protocol) << 16 | u32::from(port);
    facts.unparsed == unparsed::NONE
        && facts.transport == TRANSPORT_PORTS
        && probe.node == Some((facts.family, address))
        && settings.failsafe.iter().take(settings.failsafe_count as usize).any(|&port| port == wanted)
}

fn oracle_against<P>(side: &Side<'_, P>, probe: &Probe, seen: &Seen, which: &'static str) -> Option<Defect> {
    let said = said(side.compiled, &seen.verdict);
    let oracle = expected(side.set, side.settings, probe, &seen.facts);
    if (oracle.passes, oracle.reason, oracle.rule.as_str()) == (seen.passes(), seen.verdict.reason, said.rule.as_str())
    {
        return None;
    }
    let verdict = if oracle.passes { PASS } else { DROP };
    let oracle = Said { rule: oracle.rule, ..words(verdict, oracle.reason) };
    let what = format!("it says {said}, and the policy {oracle}");
    Some(Defect { probe: probe.name.clone(), program: which, against: "oracle", what })
}

impl std::fmt::Display for Said {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} by {}", self.verdict, self.rule)?;
        if self.reason == "rule" { Ok(()) } else { write!(f, " ({})", self.reason) }
    }
}

fn words(action: u8, why: u8) -> Said {
    let reason = reason::NAMES.get(usize::from(why)).copied().unwrap_or("unknown");
    Said { verdict: if action == DROP { "deny" } else { "allow" }, reason, rule: String::new() }
}

fn said(compiled: &Compiled, verdict: &Verdict) -> Said {
    let rule = compiled.rules.get(verdict.rule as usize);
    Said {
        rule: rule.map_or_else(|| "no rule".to_owned(), |rule| rule.name.to_string()),
        ..words(verdict.action, verdict.reason)
    }
}

fn text(compiled: &Compiled, seen: &Seen) -> String {
    said(compiled, &seen.verdict).to_string()
}

fn difference(probe: &Probe, facts: &Facts, old: Said, new: Said, core: Said) -> Difference {
    let (source_interface, destination_interface) =
        (probe.place.source_interface(), probe.place.destination_interface());
    let arrives = matches!(probe.place, Place::Arrival { .. });
    let packet = Packet {
        facts: *facts,
        source_interface,
        destination_interface,
        asked: Asked::BOTH,
        place: if arrives { packet::Place::Arrival } else { packet::Place::Departure },
        assumed: Vec::new(),
    };
    Difference {
        probe: probe.name.clone(),
        source: packet.end_name(Direction::Egress),
        destination: packet.end_name(Direction::Ingress),
        content: packet.content(),
        arrives: source_interface.map(str::to_owned),
        leaves: destination_interface.map(str::to_owned),
        old,
        new,
        core,
        explained_by: Vec::new(),
    }
}

/// Changes of the policy that account for a change of verdict: of the rules that decided and of their policies, else
/// whatever changed who is who. The oracle has said already that they do.
fn explained(policy: &[Change], difference: &Difference) -> Vec<String> {
    let deciding = [&difference.old.rule, &difference.new.rule];
    let of_rule = |change: &&Change| match change.what {
        What::Rule => deciding.iter().any(|rule| **rule == change.name),
        What::Policy | What::ClusterPolicy => {
            deciding.iter().any(|rule| rule.strip_prefix(&change.name).is_some_and(|rest| rest.starts_with('/')))
        }
        What::Site => deciding.iter().any(|rule| rule.starts_with("default/")),
        What::Entry | What::Namespace => false,
    };
    let told = |change: &Change| {
        let kind = format!("{:?}", change.kind).to_lowercase();
        let what = format!("{:?}", change.what).to_lowercase();
        let direction = change.direction.map_or_else(String::new, |direction| format!(" ({direction})"));
        format!("{kind} {what} {}{direction}", change.name)
    };
    let direct: Vec<String> = policy.iter().filter(of_rule).map(told).collect();
    if !direct.is_empty() {
        return direct;
    }
    policy.iter().filter(|change| change.what < What::Rule).take(4).map(told).collect()
}
