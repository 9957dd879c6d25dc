//! Compiled tables as a [`Judge`]: the same classifier that runs in the kernel, for many questions at once.

use std::collections::HashMap;

use gabion_abi::tables::entry;
use gabion_kernel_core::classify::{SliceTables, classify};
use gabion_policy_compile::Compiled;
use gabion_policy_model::oracle::{Action, Decision, Judgement};
use gabion_policy_model::trace::{Direction, RuleRef};

use crate::packet::Packet;
use crate::verdict::Judge;

/// Compiled tables, with what turns their numbers back into rules.
#[derive(Debug)]
pub struct Tables<'c> {
    compiled: &'c Compiled,
    interfaces: HashMap<&'c str, u32>,
}

impl<'c> Tables<'c> {
    /// Prepares tables for questions.
    #[must_use]
    pub fn new(compiled: &'c Compiled) -> Self {
        let numbered = compiled.interfaces.iter().zip(1..);
        Self { compiled, interfaces: numbered.map(|(name, class)| (name.as_str(), class)).collect() }
    }

    fn interface(&self, name: Option<&str>) -> u32 {
        if self.interfaces.is_empty() {
            return 0;
        }
        name.and_then(|name| self.interfaces.get(name)).copied().unwrap_or(0)
    }

    fn decision(&self, word: u64, direction: Direction) -> Decision {
        let info = self.compiled.rules.get(entry::rule(word) as usize).filter(|info| info.direction == direction);
        Decision {
            action: match entry::action(word) {
                entry::ALLOW => Action::Allow,
                entry::DENY => Action::Deny,
                _ => Action::Audit,
            },
            // A number without a rule is a defect of the compiler; no set has a policy of this number, so that
            // it shows as unknown wherever it is written.
            rule: info.map_or(RuleRef::Isolation { policy: u32::MAX }, |info| info.reference),
            stateless: entry::has(word, entry::STATELESS),
            log: entry::has(word, entry::LOG),
        }
    }
}

impl Judge for Tables<'_> {
    fn judge(&self, packet: &Packet<'_>) -> Judgement {
        let tables = SliceTables { params: &self.compiled.params, words: &self.compiled.words };
        let source = self.interface(packet.source_interface);
        let destination = self.interface(packet.destination_interface);
        let entries = classify(&tables, &packet.facts, source, destination);
        Judgement {
            egress: self.decision(entries.egress, Direction::Egress),
            ingress: self.decision(entries.ingress, Direction::Ingress),
        }
    }
}
