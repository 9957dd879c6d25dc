//! What is on trial is watched, once a second.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use gabion_life::{Event, Number};

use gabion_policy_model::site::ConnectionLimits;

use super::{Agent, Problem};
use crate::health::{Outcome, Sample};
use crate::kernel::Plan;

/// How long nothing has changed before the next change is made ready for.
const QUIET: Duration = Duration::from_secs(5);

impl Agent {
    /// A second is over.
    pub fn tick(&mut self, now: Instant) {
        self.point_again();
        let sample = self.sample();
        let Some(mut watching) = self.watching.take() else {
            self.before.add(now, sample.drops);
            self.make_ready(now);
            return;
        };
        let outcome = watching.judge(now, sample);
        self.watching = Some(watching);
        let event = match outcome {
            Outcome::Watch => return,
            Outcome::Over => Event::WindowOver,
            Outcome::Worse(why) => Event::Worse { why },
        };
        let since = Instant::now();
        let is_worse = matches!(event, Event::Worse { .. });
        let outcome = {
            let _expedited = self.kernel.expedite();
            self.drive(event)
        };
        match outcome {
            Ok(()) if is_worse => drop(self.is_back(since)),
            Ok(()) => {}
            Err(problem) => tracing::error!("{}", problem.message),
        }
    }

    /// Has the kernel take the programs of the next change while nobody waits for one: it is mostly like what is in
    /// force. An agent that began just now, or whose last change was unlike the one before, has none.
    fn make_ready(&mut self, now: Instant) {
        let number = self.number();
        let quiet = self.life.live.is_none() && self.life.making.is_none();
        if !quiet || self.ready_for == Some(number) || now.saturating_duration_since(self.pointed) < QUIET {
            return;
        }
        self.ready_for = Some(number);
        let Some(kept) = self.current().filter(|kept| kept.object.is_none()) else { return };
        let Some(compiled) = kept.compiled.clone() else { return };
        let (view, settings) = (kept.view.clone(), kept.record.limits.settings(false));
        let plan = Plan {
            number,
            compiled: &compiled,
            connections: ConnectionLimits::default(),
            object: None,
            interfaces: &view,
            trial: Some(&settings),
        };
        if let Err(error) = self.kernel.make_ready(&plan) {
            tracing::debug!("the next change will take longer: {error}");
        }
    }

    /// Says that what was in force before is so again, unless the kernel refused a part of it.
    fn is_back(&self, since: Instant) -> Duration {
        let took = self.pointed.saturating_duration_since(since);
        if self.astray.is_none() {
            tracing::warn!(generation = self.number(), took_us = took.as_micros(), "in force again");
        }
        took
    }

    fn sample(&self) -> Sample {
        let mut sample = Sample { malformed: self.hub.malformed, ..Sample::default() };
        // What the kernel does not say is not worse than it was.
        if let Ok([_, drops]) = self.kernel.reason_counts() {
            sample.drops = drops.map(|count| count.packets);
        }
        let broken = self.guards.iter().filter(|(_, guard)| guard.problem.is_some());
        sample.unguarded = broken.filter_map(|(index, _)| Some(self.links.get(index)?.name.clone())).collect();
        if let Some(watching) = &self.watching
            && let Some(kept) = self.kept.get(&watching.number)
        {
            let mut counts = None;
            sample.passed = watching
                .rules()
                .map(|rule| {
                    let counts =
                        counts.get_or_insert_with(|| self.kernel.rule_counts(watching.number).unwrap_or_default());
                    let named = kept.record.rules.iter().enumerate().filter(|(_, name)| *name.key.name == *rule);
                    let found = named.map(|(at, _)| counts.get(at).map_or(0, |count| count.packets));
                    found.reduce(u64::saturating_add)
                })
                .collect();
        }
        sample
    }

    /// Connections that are to be tried while a generation is on trial: by which probe of which generation, and where.
    pub fn connections_to_try(&self) -> Vec<(Number, String, SocketAddr)> {
        let watching = self.watching.iter();
        let ends = watching.flat_map(|it| it.ends().map(|(name, end)| (it.number, name.to_owned(), end)));
        ends.collect()
    }

    /// One of them was taken.
    pub fn connection_taken(&mut self, number: Number, name: &str, now: Instant) {
        if let Some(watching) = self.watching.as_mut().filter(|watching| watching.number == number) {
            watching.taken(name, now);
        }
    }

    /// An operator commits what is on trial, before its window is over.
    ///
    /// # Errors
    /// Nothing is.
    pub fn commit_now(&mut self) -> Result<(), Problem> {
        self.drive(Event::Commit)
    }

    /// An operator undoes what is on trial; how long it took.
    ///
    /// # Errors
    /// Nothing is.
    pub fn roll_back(&mut self, why: String) -> Result<Duration, Problem> {
        let since = Instant::now();
        let _expedited = self.kernel.expedite();
        self.drive(Event::RollBack { why })?;
        Ok(self.is_back(since))
    }

    /// An operator wants something else than what is committed: it stays out, whatever the files say.
    ///
    /// # Errors
    /// Nothing is committed, or it is pinned.
    pub fn condemn(&mut self, why: String) -> Result<(), Problem> {
        self.drive(Event::Condemned { why })
    }

    /// Nothing changes from now on, or again.
    ///
    /// # Errors
    /// The disk refused.
    pub fn pin(&mut self, why: Option<String>) -> Result<(), Problem> {
        self.drive(Event::Pin(why))
    }
}
