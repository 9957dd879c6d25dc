//! Deny lists come into force at once, and end by themselves.
//!
//! What is in force is the committed policy *with* the lists ([`gabion_policy_model::emergency`]). A list that comes or
//! ends makes that generation anew: [`Agent::recompose`], for every generation that hooks are to run, without a trial.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use gabion_bundle::Time;
use gabion_life::{Number, Trial};
use gabion_store::Batch;
use gabion_trust::{Clock, ClockPolicy, Trust, clock};

use super::{Agent, How, Problem, Trigger, problem, store_problem};
use crate::api::wire::{self, Apply};
use crate::emergency::{Brought, Emergency, Lists, ids};
use crate::events::timestamp;
use crate::record::{Line, MadeOf, Records};
use crate::sealed::Seal;

/// Pause before what the kernel or the disk refused is tried again.
const PAUSE: Duration = Duration::from_secs(30);

/// What the agent knows of deny lists beside the lists themselves ([`super::Source::lists`]).
#[derive(Debug)]
pub(crate) struct Emergencies {
    /// What is put on disk when the first generation with, or without, a list goes live.
    pub(super) listing: Option<Listing>,
    /// When each is over, as this agent counts the time.
    ends: BTreeMap<String, Instant>,
    /// When what was refused is tried again.
    again_at: Option<Instant>,
    /// Why what is in force is not with the lists that it is to be with.
    pub(crate) trouble: Option<String>,
    /// What time it is.
    pub(crate) time: fn() -> Clock,
}

impl Default for Emergencies {
    fn default() -> Self {
        let (listing, ends, again_at, trouble) = (None, BTreeMap::new(), None, None);
        Self { listing, ends, again_at, trouble, time: now }
    }
}

fn now() -> Clock {
    Clock { now: SystemTime::now(), trusted: clock::synchronised().unwrap_or(false) }
}

/// A list that comes, or goes.
#[derive(Debug)]
pub(super) struct Listing {
    name: String,
    /// None when it goes.
    emergency: Option<Emergency>,
    pub(super) trust: Option<Trust>,
    /// What is said of it; nothing when it is there already.
    line: Option<Line>,
}

impl Listing {
    pub(super) fn put(&self, batch: &mut Batch, root: &str) {
        match &self.emergency {
            Some(emergency) => batch.emergency(emergency),
            None => batch.no_emergency(&self.name),
        };
        if let Some(trust) = &self.trust {
            batch.trust(trust, root);
        }
        if let Some(line) = &self.line {
            batch.note(line);
        }
    }
}

/// How a policy that is in force already is made anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Again {
    /// Where the policy came from.
    pub origin: String,
    /// Who vouches for what changes.
    pub vouched: String,
}

impl Agent {
    /// Lists that an earlier agent accepted. What it counted of their time is lost: they are over by the clock, or when
    /// this agent counted what may be left of it.
    pub(super) fn remember_lists(&mut self, lists: Lists) {
        let latest = self.latest();
        for it in lists.values() {
            self.emergencies.ends.insert(it.name.clone(), Instant::now() + between(it.at.max(latest), it.until));
        }
        self.source.lists = Arc::new(lists);
    }

    fn latest(&self) -> Time {
        self.trust.0.as_ref().map_or_else(|| Time::from(SystemTime::UNIX_EPOCH), Trust::latest)
    }

    /// Puts a deny list into force, or lifts one.
    pub(super) fn take_emergency(&mut self, brought: Brought, trigger: Trigger, how: &How) -> Result<Apply, Problem> {
        if !how.only.is_empty() || how.window.is_some() {
            let message = "an emergency is in force everywhere and at once: leave out --only and --window";
            return Err(problem("emergency-how", "input", String::from(message)));
        }
        let Brought { emergency, trust, alarms, since } = brought;
        for alarm in &alarms {
            tracing::error!("ALARM: {alarm}");
            self.note("alarm", alarm).map_err(store_problem)?;
        }
        let before = Arc::clone(&self.source.lists);
        let (name, what, vouched) = (emergency.name.clone(), emergency.what(), emergency.vouched.clone());
        let known = before.get(&name);
        let lifts = emergency.denials == 0;
        let same = known.is_some_and(|known| known.id == emergency.id) || (known.is_none() && lifts);
        let mut lists = Lists::clone(&before);
        let (step, detail) = if lifts {
            lists.remove(&name);
            ("emergency lifted", format!("{what}, {vouched}"))
        } else {
            let Emergency { denials, until, .. } = &emergency;
            ("emergency", format!("{what}, {vouched}: {denials} denials until {until}"))
        };
        tracing::warn!("{step}: {detail}");
        let line = (!same).then(|| Line::note(&timestamp(SystemTime::now()), step, self.number(), &detail));
        let left = between(emergency.at, emergency.until);
        let emergency = (!lifts).then_some(emergency);
        if let Some(it) = emergency.clone().filter(|_| !same) {
            lists.insert(name.clone(), it);
        }
        self.emergencies.listing = Some(Listing { name: name.clone(), emergency, trust, line });
        self.source.lists = Arc::new(lists);
        let mut outcome = self.recompose(&format!("{step} {what}"), &vouched);
        if let Some(listing) = self.emergencies.listing.take() {
            // No generation went live, be it that none had to.
            let written = outcome.clone().and_then(|()| {
                let mut batch = Batch::default();
                listing.put(&mut batch, &self.trust.1);
                self.store.write(&batch).map_err(store_problem)
            });
            if let Err(problem) = written {
                self.source.lists = before;
                (self.emergencies.again_at, self.emergencies.trouble) = (None, None);
                return Err(problem);
            }
            self.listed(listing);
            outcome = Ok(());
        }
        // It is decided, and what was refused is tried again.
        match lifts {
            true => self.emergencies.ends.remove(&name),
            false => self.emergencies.ends.insert(name, since + left),
        };
        outcome?;
        if same {
            return Ok(self.unchanged(since, trigger));
        }
        let mut warnings = Vec::new();
        if self.current().is_none() {
            warnings.push(String::from("nothing is in force: the list holds from the first policy on"));
        }
        let trial_ms = self.life.live.as_ref().map_or(0, |trial| trial.change.window_ms);
        Ok(Apply { unchanged: false, trial_ms, warnings, ..self.unchanged(since, trigger) })
    }

    /// It is on disk.
    pub(super) fn listed(&mut self, listing: Listing) {
        if let Some(line) = listing.line {
            self.hub.tell(line);
        }
        if listing.trust.is_some() {
            self.trust.0 = listing.trust;
        }
    }

    /// Whether something that hooks are to run is with other lists than those in force.
    fn is_behind(&self) -> bool {
        let lists = ids(&self.source.lists);
        self.life.wanted().numbers().any(|it| self.kept.get(&it).is_some_and(|kept| kept.record.emergencies != lists))
    }

    /// Makes what hooks are to run anew, with the lists that are in force. What is on trial begins its trial again
    /// behind that: what it would go back to has to be with the lists first.
    pub(super) fn recompose(&mut self, origin: &str, vouched: &str) -> Result<(), Problem> {
        let trial = self.life.live.clone().filter(|trial| !trial.change.emergency);
        let on_trial = trial.and_then(|trial| Some((self.text_of(trial.number)?, trial)));
        let mut outcome = Ok(());
        for (number, only) in self.pointed_at() {
            let step = self.recompose_one(number, only, origin, vouched);
            outcome = outcome.and(step);
        }
        let Emergencies { again_at, trouble, .. } = &mut self.emergencies;
        *again_at = outcome.is_err().then(|| Instant::now() + PAUSE);
        *trouble = outcome.as_ref().err().map(|problem: &Problem| problem.message.clone());
        // It was on trial until just now, and is no more.
        if let Some((text, trial)) = on_trial
            && self.life.live.is_none()
            && let Err(problem) = self.try_again(text, trial)
        {
            tracing::error!("what was on trial is not any more: {}", problem.message);
        }
        outcome
    }

    /// Generations that are committed, with the interfaces that each is for: the one for all first.
    fn pointed_at(&self) -> Vec<(Number, BTreeSet<String>)> {
        let pointers = if self.life.committed.all.is_some() { self.life.committed.clone() } else { self.life.wanted() };
        let mut ahead: BTreeMap<Number, BTreeSet<String>> = BTreeMap::new();
        for (name, number) in pointers.ahead {
            ahead.entry(number).or_default().insert(name);
        }
        pointers.all.map(|number| (number, BTreeSet::new())).into_iter().chain(ahead).collect()
    }

    fn recompose_one(
        &mut self,
        number: Number,
        only: BTreeSet<String>,
        origin: &str,
        vouched: &str,
    ) -> Result<(), Problem> {
        let Some(kept) = self.kept.get(&number) else { return Ok(()) };
        if kept.record.emergencies == ids(&self.source.lists) {
            return Ok(());
        }
        let (digest, from) = (kept.record.digest.clone(), kept.record.origin.clone());
        let gone = || format!("what generation {number} was made of is gone: apply a policy");
        let text = self.text_of(number).ok_or_else(|| problem("nothing-to-recompose", "system", gone()))?;
        let built = self.source.build_from(text, digest, Instant::now())?;
        let again = Again { origin: from, vouched: vouched.to_owned() };
        let how = How { only, origin: Some(origin.to_owned()), again: Some(again), ..How::default() };
        self.change(built, Trigger::Emergency, how).map(drop)
    }

    fn try_again(&mut self, text: MadeOf, trial: Trial) -> Result<(), Problem> {
        let change = trial.change;
        let built = self.source.build_from(text, change.digest, Instant::now())?;
        let how = How {
            insisted: true,
            window: Some(Duration::from_millis(change.window_ms)),
            only: change.only,
            origin: Some(change.origin),
            again: None,
        };
        self.change(built, Trigger::Emergency, how).map(drop)
    }

    /// What a generation is made of, be it on disk already or not.
    pub(super) fn text_of(&mut self, number: Number) -> Option<MadeOf> {
        let unsaved = self.kept.get(&number).and_then(|kept| kept.unsaved.clone());
        unsaved.or_else(|| self.made_of(number))
    }

    /// Deny lists in force, as the API says it.
    pub(crate) fn emergencies_in_force(&self) -> Vec<wire::Emergency> {
        let wanted = self.life.wanted();
        let runs = |it: &Emergency| {
            let mut running = wanted.numbers().filter_map(|number| self.kept.get(&number)).peekable();
            running.peek().is_some() && running.all(|kept| kept.record.emergencies.get(&it.name) == Some(&it.id))
        };
        let lists = self.source.lists.values();
        lists
            .map(|it| wire::Emergency {
                name: it.name.clone(),
                version: it.version,
                bundle: it.id.clone(),
                vouched: it.vouched.clone(),
                since: it.since.clone(),
                until: it.until.to_string(),
                denials: it.denials,
                in_force: runs(it),
            })
            .collect()
    }

    /// Ends what is over, and tries again what was refused.
    pub fn end_emergencies(&mut self, now: Instant) {
        let over: Vec<Emergency> = self.source.lists.values().filter(|it| self.is_over(it, now)).cloned().collect();
        if !over.is_empty() {
            let mut lists = Lists::clone(&self.source.lists);
            let (mut batch, mut lines) = (Batch::default(), Vec::new());
            for it in &over {
                lists.remove(&it.name);
                self.emergencies.ends.remove(&it.name);
                let detail = format!("{}: it was until {}", it.what(), it.until);
                tracing::warn!("emergency over: {detail}");
                batch.no_emergency(&it.name);
                lines.push(Line::note(&timestamp(SystemTime::now()), "emergency over", self.number(), &detail));
            }
            self.source.lists = Arc::new(lists);
            if let Err(error) = self.record(&mut batch, lines) {
                // The next start finds out again that it is over.
                tracing::warn!("that an emergency is over is not recorded: {error}");
            }
        }
        let due = !over.is_empty() || self.emergencies.again_at.is_none_or(|at| now >= at);
        if !due || !self.is_behind() {
            return;
        }
        let over: Vec<String> = over.iter().map(Emergency::what).collect();
        let origin = if over.is_empty() {
            String::from("with the emergencies that are in force")
        } else {
            format!("emergency over: {}", over.join(", "))
        };
        if let Err(problem) = self.recompose(&origin, "the signed list") {
            tracing::error!("emergencies in force: {}", problem.message);
        }
    }

    /// By a clock that may be believed, or by the time that this agent counted itself: a list ends also where nobody
    /// sets the clock, or somebody sets it back.
    fn is_over(&self, it: &Emergency, now: Instant) -> bool {
        if self.emergencies.ends.get(&it.name).is_none_or(|end| now >= *end) {
            return true;
        }
        let policy = self.seal.as_ref().map_or(ClockPolicy::Refuse, Seal::clock_policy);
        let moment = policy.moment((self.emergencies.time)(), self.latest());
        moment.is_ok_and(|moment| moment.at >= it.until)
    }
}

fn between(from: Time, until: Time) -> Duration {
    until.moment().duration_since(from.moment()).unwrap_or_default()
}
