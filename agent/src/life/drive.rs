//! What was decided is remembered, then done.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use gabion_life::{Decision, Effect, Event, Life, Step};
use gabion_store::Batch;

use super::change::{Prepared, refusal_problem};
use super::{Agent, Kept, Problem, kernel_problem, problem, store_problem};
use crate::events::timestamp;
use crate::health::Watching;
use crate::interfaces::kernel_view;
use crate::kernel::Plan;
use crate::record::{Line, Records};

impl Agent {
    /// Has it decided what follows from an event, puts that on disk, does it, and goes on with what comes of it.
    ///
    /// # Errors
    /// Nothing followed, or what did could not be put on disk before it was done. Nothing was done then.
    pub(super) fn drive(&mut self, event: Event) -> Result<(), Problem> {
        let outcome = self.drive_on(event);
        self.settle_gate();
        outcome
    }

    fn drive_on(&mut self, event: Event) -> Result<(), Problem> {
        let mut next = Some(event);
        while let Some(event) = next.take() {
            let decision = self.life.take(event.clone()).map_err(|refusal| refusal_problem(&refusal))?;
            let time = timestamp(SystemTime::now());
            let remembered = self.remember(&decision, &event, &time);
            let forgot = *remembered.as_ref().unwrap_or(&false);
            if let Err(error) = remembered {
                match event {
                    // What is only wanted is not begun.
                    Event::Wanted(_) | Event::Pin(_) => return Err(store_problem(error)),
                    // What is prepared is undone.
                    Event::Loaded | Event::Probed => {
                        self.trouble = Some(store_problem(error));
                        next = Some(Event::Failed { why: String::from("it could not be put on disk") });
                        continue;
                    }
                    // It is in force, and stays on trial until it is on disk that it is not.
                    Event::Swapped | Event::WindowOver | Event::Commit => {
                        self.unrecorded = Some(error.to_string());
                        tracing::error!("generation {} is in force, but not recorded: {error}", self.number());
                        self.watch();
                        return Ok(());
                    }
                    // The way back is open without a disk; a restart decides the same again.
                    _ => {
                        self.unrecorded = Some(error.to_string());
                        tracing::error!("going back without a record: {error}");
                    }
                }
            }
            for arrow in &decision.arrows {
                self.rolled_back += u64::from(arrow.to == Step::RolledBack);
                self.hub.tell(Line::of(arrow, &time));
            }
            if !forgot {
                self.forgettable.extend(self.life.remembered().difference(&decision.life.remembered()));
            }
            self.life = decision.life;
            for effect in decision.effects {
                if let Some(event) = self.perform(effect) {
                    next = Some(event);
                }
            }
        }
        Ok(())
    }

    /// Puts a decision on disk, with what belongs to it. Whether texts that nobody needs any more went.
    fn remember(&mut self, decision: &Decision, event: &Event, time: &str) -> Result<bool, gabion_store::StoreError> {
        let mut batch = Batch::default();
        // Between these two a generation goes into force: its text can wait until it is.
        // Unless it takes the place of one that is committed as soon as it is live: that one's is forgotten then.
        let in_place = self.life.making.as_ref().is_some_and(|trial| trial.change.emergency);
        let urgent = matches!(event, Event::Wanted(_) | Event::Loaded | Event::Probed) && !in_place;
        // Nor does the way back wait for megabytes of text that nobody needs any more.
        let whole = !urgent && decision.arrows.iter().all(|arrow| arrow.to != Step::RolledBack);
        let mut saved = Vec::new();
        if whole {
            for (number, kept) in &self.kept {
                if let Some(made_of) = &kept.unsaved {
                    batch.generation(&kept.record, made_of);
                    saved.push(*number);
                }
            }
            let gone = self.life.remembered();
            for number in gone.difference(&decision.life.remembered()).chain(&self.forgettable) {
                batch.forget(*number);
            }
        }
        // Everything spoke for it: what came with it is trusted as soon as it may go live.
        let trusting = self.trusting.as_ref().filter(|_| matches!(event, Event::Probed));
        if let Some(trust) = trusting {
            batch.trust(trust, &self.trust.1);
        }
        let listing = self.emergencies.listing.as_ref().filter(|_| matches!(event, Event::Probed) && in_place);
        if let Some(listing) = listing {
            listing.put(&mut batch, &self.trust.1);
        }
        for arrow in &decision.arrows {
            match arrow.to {
                Step::RolledBack => {
                    tracing::warn!(generation = arrow.number, "rolled back: {}", arrow.why);
                }
                step => tracing::debug!(generation = arrow.number, "{}: {}", step.name(), arrow.why),
            }
            batch.note(&Line::of(arrow, time));
        }
        if decision.life == self.life && decision.arrows.is_empty() && saved.is_empty() {
            return Ok(false);
        }
        self.store.write(batch.life(&decision.life))?;
        self.unrecorded = None;
        if whole {
            self.forgettable.clear();
        }
        if matches!(event, Event::Probed)
            && let Some(trust) = self.trusting.take()
        {
            self.trust.0 = Some(trust);
        }
        if in_place
            && matches!(event, Event::Probed)
            && let Some(listing) = self.emergencies.listing.take()
        {
            self.listed(listing);
        }
        for number in saved {
            if let Some(kept) = self.kept.get_mut(&number) {
                kept.unsaved = None;
            }
        }
        Ok(whole)
    }

    fn perform(&mut self, effect: Effect) -> Option<Event> {
        match effect {
            Effect::Load => Some(self.load()),
            Effect::Probe => Some(self.try_out()),
            Effect::Point => self.point(),
            Effect::Prune => {
                self.prune();
                None
            }
            Effect::Watch => {
                self.watch();
                None
            }
        }
    }

    pub(super) fn failed(&mut self, problem: Problem) -> Event {
        let why = problem.message.clone();
        self.trouble = Some(problem);
        Event::Failed { why }
    }

    fn load(&mut self) -> Event {
        let number = self.life.last_number;
        let Some(Prepared { made_of, loaded, site, mut record }) = self.preparing.take() else {
            return self.failed(problem("change", "ours", String::from("nothing was prepared")));
        };
        record.number = number;
        // Only hooks that stay count as having judged: those of interfaces that the new site does not guard come off
        // next.
        let staying: BTreeSet<u32> =
            self.guarded_by(&record.interfaces).filter(|index| self.is_attached(*index)).collect();
        let view = kernel_view(&self.links, &|index| staying.contains(&index), &record.classes);
        let connections = site.connections;
        let object = made_of.object.as_deref();
        let settings = record.limits.settings(false);
        let trial = (!self.golden.is_empty() || self.hub.sample().next().is_some()).then_some(&settings);
        let plan = Plan { number, compiled: &loaded.compiled, connections, object, interfaces: &view, trial };
        let programs = match self.gate.admitted(object) {
            Ok(programs) => programs,
            Err(problem) => return self.failed(problem),
        };
        if let Err(error) = self.kernel.stage(&plan) {
            return self.failed(kernel_problem(error));
        }
        if self.kept.is_empty() {
            // The state was made just now.
            self.write_local();
        }
        self.hub.name_generation(number, Arc::clone(&record.rules));
        let compiled = Some(Arc::new(loaded.compiled));
        let object = made_of.object.as_deref().map(Arc::from);
        let set = Some(loaded.set);
        let kept = Kept { record, set, compiled, object, programs, adopted: false, view, unsaved: Some(made_of) };
        self.kept.insert(number, kept);
        Event::Loaded
    }

    fn point(&mut self) -> Option<Event> {
        let settings = self.settings_in_force();
        let on_trial = self.life.live.is_some();
        if let Err(error) = self.kernel.point(&self.life.wanted(), &settings) {
            if on_trial {
                return Some(self.failed(kernel_problem(error)));
            }
            tracing::error!("hooks do not run what they are to run, this is tried again: {error}");
            self.astray = Some(error.message);
            return None;
        }
        self.pointed = Instant::now();
        self.astray = None;
        self.settings = settings;
        // Before hooks come and go: those that stay may stand otherwise now.
        for (&index, guard) in self.guards.iter_mut().filter(|(_, guard)| guard.problem.is_none()) {
            guard.attachment = self.kernel.attachment(index);
        }
        self.sync_interfaces();
        on_trial.then_some(Event::Swapped)
    }

    /// Tries again what the kernel refused on the way back.
    pub(super) fn point_again(&mut self) {
        if self.astray.is_some() {
            let _expedited = self.kernel.expedite();
            if self.point().is_none() {
                self.prune();
            }
        }
    }

    fn prune(&mut self) {
        if self.life.live.is_none() {
            self.watching = None;
        }
        if self.astray.is_some() {
            // What hooks run is not taken away.
            return;
        }
        let kept = self.life.kept();
        let removed = match self.kernel.prune(&kept) {
            Ok(removed) => removed,
            Err(error) => return tracing::error!("what nobody needs any more is still loaded: {error}"),
        };
        if removed.is_empty() {
            return;
        }
        for (number, counts) in removed {
            self.counted.remove(&number);
            if let Some(kept) = self.kept.remove(&number) {
                self.base.fold(&kept.record.rules, &counts);
            }
        }
        let mut batch = Batch::default();
        for number in &self.forgettable {
            batch.forget(*number);
        }
        match self.store.write(batch.put("base", &self.base.entries()).put("counted", &self.counted)) {
            Ok(()) => self.forgettable.clear(),
            Err(error) => tracing::warn!("what earlier rules counted is not recorded: {error}"),
        }
    }

    fn watch(&mut self) {
        let Some(trial) = &self.life.live else { return };
        let site = self.kept.get(&trial.number).and_then(|kept| kept.set.as_ref()?.site.as_ref());
        let health = site.map(|site| site.health.clone()).unwrap_or_default();
        self.watching = Some(Watching::new(trial.number, trial.change.window_ms, health, &self.before, Instant::now()));
    }

    /// What was decided about generations.
    pub fn life(&self) -> &Life {
        &self.life
    }
}
