//! What follows from what.

use std::collections::BTreeSet;

use crate::{
    Arrow, CONDEMNED, Change, Condemned, Decision, Effect, Event, HISTORY, Life, Number, OnDeath, Pointers, Refusal,
    Step, Trial,
};

impl Life {
    /// What follows from an event; this life is not changed.
    ///
    /// # Errors
    /// [`Refusal`], when nothing does.
    pub fn take(&self, event: Event) -> Result<Decision, Refusal> {
        let mut next = Next { life: self.clone(), arrows: Vec::new(), effects: Vec::new() };
        match event {
            Event::Wanted(change) => next.wanted(change)?,
            Event::Loaded => {
                next.life.making.as_ref().ok_or(Refusal::OutOfTurn { event: "loaded" })?;
                next.effects.push(Effect::Probe);
            }
            Event::Probed => next.probed()?,
            Event::Swapped => next.swapped()?,
            Event::Failed { why } => next.failed(why)?,
            Event::WindowOver => next.commit("nothing was worse for the whole window")?,
            Event::Commit => next.commit("an operator did not wait for the end of the window")?,
            Event::Worse { why } | Event::RollBack { why } => {
                let trial = next.life.live.take().ok_or(Refusal::NothingOnTrial { what: "roll back" })?;
                next.give_up(trial, why);
                next.effects.extend([Effect::Point, Effect::Prune]);
            }
            Event::Stopping => next.stopping(),
            Event::Condemned { why } => next.condemn_committed(why)?,
            Event::Pin(why) => next.life.pinned = why,
            Event::ChangedInPlace { digest } => {
                let at = next.life.committed.all.filter(|_| next.life.live.is_none());
                let at = at.ok_or(Refusal::OutOfTurn { event: "a change in place" })?;
                next.life.digests.insert(at, digest);
            }
            Event::Detached => next.detached(),
            Event::Started { there, running, last_number } => next.started(&there, running, last_number),
        }
        Ok(Decision { life: next.life, arrows: next.arrows, effects: next.effects })
    }
}

struct Next {
    life: Life,
    arrows: Vec<Arrow>,
    effects: Vec<Effect>,
}

impl Next {
    fn arrow(&mut self, number: Number, from: Option<Step>, to: Step, why: impl Into<String>) {
        self.arrows.push(Arrow { number, from, to, why: why.into() });
    }

    fn wanted(&mut self, mut change: Change) -> Result<(), Refusal> {
        if let Some(why) = &self.life.pinned {
            return Err(Refusal::Pinned { why: why.clone() });
        }
        if !change.insisted
            && let Some(known) = self.life.condemned(&change.digest)
        {
            return Err(Refusal::Condemned { number: known.number, why: known.why.clone() });
        }
        if self.life.making.is_some() {
            return Err(Refusal::OutOfTurn { event: "a second change" });
        }
        if self.life.committed.all.is_none() {
            if !change.only.is_empty() {
                return Err(Refusal::NothingCommitted);
            }
            // There is nothing to go back to.
            change.window_ms = 0;
        }
        let last = self.life.last_number;
        let number = last.checked_add(1).ok_or(Refusal::Exhausted { last })?;
        self.life.last_number = number;
        self.arrow(number, None, Step::Built, change.origin.clone());
        self.arrow(number, Some(Step::Built), Step::Verified, change.vouched.clone());
        self.arrow(number, Some(Step::Verified), Step::Staged, change.digest.clone());
        self.life.making = Some(Trial { number, step: Step::Staged, change });
        self.effects.push(Effect::Load);
        Ok(())
    }

    fn probed(&mut self) -> Result<(), Refusal> {
        let mut trial = self.life.making.take().ok_or(Refusal::OutOfTurn { event: "probed" })?;
        let number = trial.number;
        self.arrow(number, Some(Step::Staged), Step::Probed, "");
        if let Some(old) = self.life.live.take() {
            self.arrow(old.number, Some(Step::Live), Step::RolledBack, format!("generation {number} takes its place"));
        }
        trial.step = Step::Live;
        let ports = if trial.change.only.is_empty() {
            String::new()
        } else {
            format!("only {}", trial.change.only.iter().cloned().collect::<Vec<_>>().join(", "))
        };
        self.arrow(number, Some(Step::Probed), Step::Live, ports);
        self.life.live = Some(trial);
        self.effects.push(Effect::Point);
        Ok(())
    }

    fn swapped(&mut self) -> Result<(), Refusal> {
        let trial = self.life.live.as_ref().ok_or(Refusal::OutOfTurn { event: "swapped" })?;
        if trial.change.window_ms == 0 {
            return self.commit("it is not watched");
        }
        self.effects.extend([Effect::Prune, Effect::Watch]);
        Ok(())
    }

    fn commit(&mut self, why: &str) -> Result<(), Refusal> {
        let trial = self.life.live.take().ok_or(Refusal::NothingOnTrial { what: "commit" })?;
        self.arrow(trial.number, Some(Step::Live), Step::Committed, why);
        self.life.committed = self.life.committed.with(&trial);
        self.life.digests.insert(trial.number, trial.change.digest.clone());
        self.life.condemned.retain(|it| it.digest != trial.change.digest);
        if trial.change.only.is_empty() {
            self.life.history.push(trial.number);
            let superfluous = self.life.history.len().saturating_sub(HISTORY);
            self.life.history.drain(..superfluous);
        }
        self.forget();
        self.effects.push(Effect::Prune);
        Ok(())
    }

    /// Only what is committed has a digest.
    fn forget(&mut self) {
        let committed: BTreeSet<Number> = self.life.committed.numbers().collect();
        self.life.digests.retain(|number, _| committed.contains(number));
    }

    fn failed(&mut self, why: String) -> Result<(), Refusal> {
        if let Some(trial) = self.life.making.take() {
            // The old one never stopped.
            self.arrow(trial.number, Some(trial.step), Step::RolledBack, why);
            self.effects.push(Effect::Prune);
            return Ok(());
        }
        let trial = self.life.live.take().ok_or(Refusal::OutOfTurn { event: "a failure" })?;
        self.arrow(trial.number, Some(Step::Live), Step::RolledBack, why);
        self.effects.extend([Effect::Point, Effect::Prune]);
        Ok(())
    }

    /// The node found out that this one is bad.
    fn give_up(&mut self, trial: Trial, why: String) {
        let Trial { number, step, change } = trial;
        self.arrow(number, Some(step), Step::RolledBack, why.clone());
        self.condemn(Condemned { digest: change.digest, number, why });
    }

    fn condemn(&mut self, condemned: Condemned) {
        let list = &mut self.life.condemned;
        list.retain(|it| it.digest != condemned.digest);
        list.push(condemned);
        list.drain(..list.len().saturating_sub(CONDEMNED));
    }

    fn condemn_committed(&mut self, why: String) -> Result<(), Refusal> {
        if let Some(why) = &self.life.pinned {
            return Err(Refusal::Pinned { why: why.clone() });
        }
        let number = self.life.committed.all.ok_or(Refusal::NothingCommitted)?;
        if let Some(digest) = self.life.digests.get(&number).cloned() {
            self.condemn(Condemned { digest, number, why });
        }
        Ok(())
    }

    /// What nobody watches is what was committed. Nobody found the change bad: it may be tried again.
    fn stopping(&mut self) {
        let Some(trial) = self.life.live.take() else { return };
        let why = "the agent stops before the window is over";
        self.arrow(trial.number, Some(Step::Live), Step::RolledBack, why);
        self.effects.extend([Effect::Point, Effect::Prune]);
    }

    fn detached(&mut self) {
        let why = "all was detached";
        for trial in self.life.making.take().into_iter().chain(self.life.live.take()) {
            self.arrow(trial.number, Some(trial.step), Step::RolledBack, why);
        }
        for number in self.life.committed.numbers().collect::<BTreeSet<_>>() {
            self.arrow(number, Some(Step::Committed), Step::RolledBack, why);
        }
        self.life.committed = Pointers::default();
        self.forget();
    }

    fn started(&mut self, there: &BTreeSet<Number>, running: Option<Number>, last_number: Number) {
        self.life.last_number = self.life.last_number.max(last_number);
        if let Some(trial) = self.life.making.take() {
            self.arrow(trial.number, Some(trial.step), Step::RolledBack, "the agent died before it was live");
        }
        // What the kernel lost (a reboot) is nobody's to point at.
        let life = &mut self.life;
        life.committed.all = life.committed.all.filter(|number| there.contains(number));
        life.committed.ahead.retain(|_, number| there.contains(number));
        if let Some(trial) = life.live.take() {
            let survives = there.contains(&trial.number);
            let alone = life.committed.all.is_none();
            if survives && (alone || trial.change.on_death == OnDeath::Keep) {
                let number = trial.number;
                self.life.live = Some(trial);
                let why = if alone { "there is nothing to go back to" } else { "its agent died; watched anew" };
                self.arrow(number, Some(Step::Live), Step::Live, why);
            } else {
                self.give_up(trial, String::from("the agent that watched it died, or the node"));
            }
        }
        if let Some(number) = running.filter(|_| self.life.kept().is_empty()) {
            self.life.committed = Pointers::all(number);
            self.arrow(number, None, Step::Committed, "found in force; the state folder knew nothing of it");
        }
        self.forget();
        self.effects.push(Effect::Point);
        if self.life.live.is_none() {
            self.effects.push(Effect::Prune);
        }
    }
}
