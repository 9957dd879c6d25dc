//! Numbers for equal values, in order of first appearance.

use std::collections::HashMap;
use std::hash::Hash;

/// Gives equal values equal numbers.
#[derive(Debug)]
pub(crate) struct Interner<T> {
    numbers: HashMap<T, u32>,
    values: Vec<T>,
}

impl<T> Default for Interner<T> {
    fn default() -> Self {
        Self { numbers: HashMap::new(), values: Vec::new() }
    }
}

impl<T: Clone + Eq + Hash> Interner<T> {
    /// The number of a value.
    pub fn intern(&mut self, value: T) -> u32 {
        if let Some(&number) = self.numbers.get(&value) {
            return number;
        }
        let number = self.values.len() as u32;
        self.values.push(value.clone());
        self.numbers.insert(value, number);
        number
    }

    /// The value of a number that [`Self::intern`] gave.
    pub fn value(&self, number: u32) -> &T {
        &self.values[number as usize]
    }

    /// All values by number, and nothing else of it.
    pub fn into_values(self) -> Vec<T> {
        self.values
    }

    /// All values by number.
    pub fn values(&self) -> &[T] {
        &self.values
    }
}
