//! Who may load programs, in line with the generations that are in force or may come back.

use std::collections::BTreeSet;
use std::time::{Instant, SystemTime};

use gabion_generation::{ProgramDigest, digests};
use gabion_policy_model::site::Site;

use super::{Agent, Problem, problem};
use crate::events::timestamp;
use crate::gatekeeper::{Gate, LetGo, Standing, obstacle};

/// What whoever asks for a sealed gate should know at once.
pub(super) fn warning(site: &Site) -> Option<String> {
    let obstacle = if site.gatekeeper.seal { obstacle() } else { None };
    obstacle.map(|why| format!("the gate will not be sealed, everybody with the right may load programs: {why}"))
}

impl Gate {
    /// Lets in the programs of a generation that is about to be loaded; their digests, when they are not the agent's
    /// own, which it lets in at any time.
    pub(super) fn admitted(&mut self, object: Option<&[u8]>) -> Result<Vec<ProgramDigest>, Problem> {
        let Some(object) = object else { return Ok(Vec::new()) };
        let programs = digests(object).map_err(|error| problem("generation-refused", "input", error.to_string()))?;
        self.admit(&programs).map_err(|why| problem("gatekeeper", "system", why))?;
        Ok(programs)
    }
}

impl Agent {
    /// Whether the gate is to be sealed. What is on trial can tighten that; only what is committed loosens it.
    pub(crate) fn wants_gate(&self) -> bool {
        self.life.kept().iter().any(|number| self.kept.get(number).is_some_and(|kept| kept.record.seal))
    }

    /// An earlier agent's gate is sealed, and lets this one in until its own is.
    pub fn inherit_gate(&mut self, let_go: LetGo) {
        self.gate.inherit(let_go);
    }

    /// Opens the gate when nobody wants it any more; else lets in the programs of those generations, and no others.
    pub(super) fn settle_gate(&mut self) {
        if self.wants_gate() {
            let kept = self.life.kept();
            let others = programs(&self.kept, &kept);
            if let Err(why) = self.gate.only(&others) {
                tracing::error!("the gatekeeper does not let in what it should, or more: {why}");
                self.gate.problem = Some(why);
            }
            return;
        }
        match self.gate.open() {
            Ok(false) => {}
            Ok(true) => {
                tracing::warn!("the gate is open: whoever has the right may load programs");
                self.say("gate opened", "no generation in force wants it sealed");
            }
            Err(why) => {
                tracing::error!("ALARM: the gate cannot be opened: {why}");
                self.say("alarm", &format!("the gate cannot be opened: {why}"));
            }
        }
    }

    /// Whether a gatekeeper is to be attached now, for [`Self::gate_stands`].
    pub fn gate_wants_keeper(&mut self, now: Instant) -> bool {
        self.wants_gate() && self.gate.begin(now)
    }

    /// A gatekeeper was attached, or could not be: it is sealed, or there is an alarm. What is enforced stays.
    pub fn gate_stands(&mut self, outcome: Result<Standing, String>) {
        let known = self.gate.problem.clone();
        let kept = self.life.kept();
        let others = programs(&self.kept, &kept);
        match self.gate.stands(outcome, &others, timestamp(SystemTime::now())) {
            Ok(()) => {
                let programs = self.gate.programs();
                tracing::info!(programs, "the gate is sealed: nobody else loads programs");
                if let Some(problem) = &self.gate.problem {
                    tracing::warn!("{problem}");
                }
                self.say("gate sealed", &format!("{programs} programs may be loaded, by the agent alone"));
                // It may not be wanted any more.
                self.settle_gate();
            }
            // Said once, and shown as long as it is so.
            Err(why) if known.as_ref() != Some(&why) => {
                tracing::error!("ALARM: the gate is not sealed: {why}");
                self.say("alarm", &format!("the gate is not sealed: {why}"));
            }
            Err(_) => {}
        }
    }

    /// Tells of attempts to pass the gate.
    pub fn watch_gate(&mut self, now: Instant) {
        for line in self.gate.watch(now) {
            tracing::warn!("refused at the gate: {line}");
            self.say("refused at the gate", &line);
        }
    }

    /// Puts something into the journal that does not depend on it.
    fn say(&mut self, step: &str, detail: &str) {
        if let Err(error) = self.note(step, detail) {
            tracing::warn!("{error}");
        }
    }
}

/// Digests of programs of these generations that are not the agent's own.
fn programs<'k>(
    all: &'k std::collections::BTreeMap<gabion_life::Number, super::Kept>,
    numbers: &BTreeSet<gabion_life::Number>,
) -> BTreeSet<&'k ProgramDigest> {
    let kept = numbers.iter().filter_map(|number| all.get(number));
    kept.flat_map(|kept| &kept.programs).collect()
}

#[cfg(test)]
#[path = "gate_tests.rs"]
mod tests;
