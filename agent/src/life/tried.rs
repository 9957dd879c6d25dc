//! A generation is tried before it judges anybody.

use gabion_life::Event;
use gabion_policy_explain::Directory;
use gabion_policy_model::PolicySet;
use gabion_policy_probes::live::{self, Link};
use gabion_policy_probes::{Document, Golden, Probe, golden};

use super::{Agent, Kept, Problem, problem};
use crate::interfaces::is_l3;
use crate::kernel::{Meant, Tried, Trying};
use crate::policy::SourceFile;

/// Changed verdicts that are held to the policies as they are written: the oracle walks all rules for each.
const QUESTIONS: usize = 64;
/// Rules beyond which only a few are.
const MANY_RULES: usize = 5_000;
const FEW_QUESTIONS: usize = 4;
/// Golden packets, or defects, that a refusal names.
const NAMED: usize = 3;

impl Agent {
    /// Tries what is prepared on golden packets and on packets of late.
    pub(super) fn try_out(&mut self) -> Event {
        let number = self.life.last_number;
        let (Some(new), golden) = (self.kept.remove(&number), std::mem::take(&mut self.golden)) else {
            return Event::Probed;
        };
        let outcome = self.tried(&new, &golden);
        self.kept.insert(number, new);
        match outcome {
            Ok(()) => Event::Probed,
            Err(problem) => self.failed(problem),
        }
    }

    fn tried(&mut self, new: &Kept, documents: &[SourceFile]) -> Result<(), Problem> {
        let (Some(set), Some(compiled)) = (&new.set, &new.compiled) else { return Ok(()) };
        let golden = golden_of(set, documents)?;
        let live = self.live();
        let (number, settings) = (new.record.number, new.record.limits.settings(false));
        let new = Meant { number, set, compiled, settings: &settings, object: new.object.as_deref() };
        let before = self.current().and_then(|kept| {
            let (set, compiled) = (kept.set.clone()?, kept.compiled.clone()?);
            Some((kept.record.number, set, compiled, kept.record.limits.settings(false), kept.object.clone()))
        });
        let old = before.as_ref().map(|(number, set, compiled, settings, object)| Meant {
            number: *number,
            set,
            compiled,
            settings,
            object: object.as_deref(),
        });
        let questions = if compiled.rules.len() > MANY_RULES { FEW_QUESTIONS } else { QUESTIONS };
        let trying = Trying { new, old, golden: &golden, live: &live, questions };
        let Tried { missed, comparison, untried } = self.kernel.try_out(&trying);
        if let Some(why) = untried {
            if golden.is_empty() {
                tracing::warn!("the generation goes live untried: {why}");
            } else {
                return Err(problem("golden-untried", "system", format!("golden packets cannot be tried: {why}")));
            }
        }
        let refusal = |code: &str, blame: &str, what: &str, all: Vec<String>| {
            let named = all.iter().take(NAMED).cloned().collect::<Vec<_>>().join("; ");
            let more = if all.len() > NAMED { format!(" (and {} more)", all.len() - NAMED) } else { String::new() };
            Err(problem(code, blame, format!("{what}: {named}{more}")))
        };
        if !missed.is_empty() {
            return refusal("golden-packet", "refused", "golden packets get another verdict", missed);
        }
        let sound = comparison.is_sound();
        let defects: Vec<String> = comparison.defects.iter().map(|it| format!("{}: {}", it.probe, it.what)).collect();
        self.comparison = Some(comparison);
        if sound {
            return Ok(());
        }
        refusal("unexplained-difference", "ours", "its programs do not do what its policy says", defects)
    }

    /// Packets of late, as far as frames can be made of them.
    fn live(&self) -> Vec<Probe> {
        let probe = |event: &gabion_abi::event::Event| {
            let link = self.links.get(&event.ifindex);
            let layer3 = link.is_some_and(|link| is_l3(link.link_type));
            live::probe(event, Link { name: link.map(|link| link.name.as_str()), layer3 }).ok()
        };
        self.hub.sample().filter_map(probe).collect()
    }
}

fn golden_of(set: &PolicySet, documents: &[SourceFile]) -> Result<Vec<Golden>, Problem> {
    let directory = Directory::new(set);
    let mut all = Vec::new();
    for SourceFile { name, text } in documents {
        let wrong = |what: String| problem("golden-packet", "refused", format!("{name}: {what}"));
        for document in
            Document::read(text).map_err(|it| wrong(format!("{}:{}: {}", it.at.line, it.at.column, it.message)))?
        {
            all.extend(golden(&directory, &document).map_err(|it| wrong(it.to_string()))?);
        }
    }
    Ok(all)
}
