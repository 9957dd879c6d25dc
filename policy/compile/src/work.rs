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
        self.steps = self.steps.saturating_add(steps);
        if self.steps > self.step_limit {
            return Err(Excess::TooMuchWork { what, need: self.steps, limit: self.step_limit });
        }
        Ok(())
    }

    /// Takes memory, before it is allocated.
    pub fn hold(&mut self, what: &'static str, bytes: usize) -> Result<(), Excess> {
        self.bytes = self.bytes.saturating_add(bytes);
        self.most_bytes = self.most_bytes.max(self.bytes);
        if self.bytes > self.byte_limit {
            return Err(Excess::TooMuchMemory { what, need: self.bytes, limit: self.byte_limit });
        }
        Ok(())
    }

    /// Gives memory back.
    pub fn release(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    /// Notes whose steps those since `before` were.
    pub fn of_rule(&mut self, reference: RuleRef, direction: Direction, before: usize) {
        self.weights.add(reference, direction, (self.steps - before) as u64);
    }
}
