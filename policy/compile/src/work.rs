//! What working out one policy may cost: steps and memory, counted before they are spent.
//!
//! What follows the number of rules and subjects is not counted; what combines them is.

use gabion_policy_model::trace::{Direction, RuleRef};

use crate::Excess;
use crate::refused::Weights;

/// Steps and bytes that were spent, and how many may be.
#[derive(Debug)]
pub(crate) struct Work {
    steps: usize,
    step_limit: usize,
    bytes: usize,
    most_bytes: usize,
    byte_limit: usize,
    /// Whose steps they were, while rules are worked off one by one.
    pub weights: Weights,
}

impl Work {
    pub fn new(step_limit: usize, byte_limit: usize) -> Self {
        Self { steps: 0, step_limit, bytes: 0, most_bytes: 0, byte_limit, weights: Weights::default() }
    }

    /// Memory that is held.
    pub fn held(&self) -> usize {
        self.bytes
    }

    /// Steps that were spent.
    pub fn steps(&self) -> usize {
        self.steps
    }

    /// The most memory that was held at once.
    pub fn most_held(&self) -> usize {
        self.most_bytes
    }

    /// Spends steps, before they are taken where they are known.
    pub fn spend(&mut self, what: &'static str, steps: usize) -> Result<(), Excess> {
        let need = self.steps.saturating_add(steps);
        if need > self.step_limit {
            return Err(Excess::TooMuchWork { what, need, limit: self.step_limit });
        }
        self.steps = need;
        Ok(())
    }

    /// Takes memory, before it is allocated.
    pub fn hold(&mut self, what: &'static str, bytes: usize) -> Result<(), Excess> {
        let need = self.bytes.saturating_add(bytes);
        if need > self.byte_limit {
            return Err(Excess::TooMuchMemory { what, need, limit: self.byte_limit });
        }
        self.bytes = need;
        self.most_bytes = self.most_bytes.max(need);
        Ok(())
    }

    /// Tries something that may cost this share of the steps that are left, so that the rest is there for another way.
    /// What it held is given back when it fails.
    pub fn attempt<T>(&mut self, share: usize, way: impl FnOnce(&mut Self) -> Result<T, Excess>) -> Result<T, Excess> {
        let (limit, held) = (self.step_limit, self.bytes);
        self.step_limit = self.steps + (limit - self.steps) / share;
        let outcome = way(self);
        self.step_limit = limit;
        if outcome.is_err() {
            self.bytes = held;
        }
        outcome
    }

    /// Does two things, at once where that is worth it; either may spend what is left, and both together no more. The
    /// outcome is the same either way.
    pub fn both<A: Send, B>(
        &mut self,
        at_once: bool,
        one: impl Fn(&mut Self) -> Result<A, Excess> + Sync,
        other: impl Fn(&mut Self) -> Result<B, Excess>,
    ) -> (Result<A, Excess>, Result<B, Excess>) {
        let (steps, bytes) = (self.steps, self.bytes);
        let apart = || Self { steps, bytes, most_bytes: bytes, ..Self::new(self.step_limit, self.byte_limit) };
        let mut of_other = apart();
        let first = || {
            let mut work = apart();
            (one(&mut work), work.steps, work.bytes)
        };
        let outcome = std::thread::scope(|scope| {
            let thread = at_once.then(|| std::thread::Builder::new().spawn_scoped(scope, first).ok()).flatten();
            let other = other(&mut of_other);
            // What no thread could be had for is done here; what made one panic does so again, where it is seen.
            (thread.and_then(|thread| thread.join().ok()).unwrap_or_else(first), other)
        });
        let ((one, one_steps, one_bytes), other) = outcome;
        if one.is_err() {
            return (one, other);
        }
        let spent = self
            .spend("ends", (one_steps - steps).saturating_add(of_other.steps - steps))
            .and_then(|()| self.hold("ends", (one_bytes - bytes).saturating_add(of_other.bytes - bytes)));
        (one, other.and_then(|other| spent.map(|()| other)))
    }

    /// Gives memory back.
    pub fn release(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    /// Notes whose steps those since `before` were.
    pub fn of_rule(&mut self, reference: RuleRef, direction: Direction, before: usize) {
        if self.steps > before {
            self.weights.add(reference, direction, (self.steps - before) as u64);
        }
    }
}
