//! Numbers for equal values, in order of first appearance.

use std::hash::{BuildHasher, Hash};

use hashbrown::{DefaultHashBuilder, HashTable};

/// Gives equal values equal numbers.
#[derive(Debug)]
pub(crate) struct Interner<T> {
    /// Numbers by the hash of their value, so that each value is kept once.
    numbers: HashTable<u32>,
    values: Vec<T>,
    hasher: DefaultHashBuilder,
}

impl<T> Default for Interner<T> {
    fn default() -> Self {
        Self { numbers: HashTable::new(), values: Vec::new(), hasher: DefaultHashBuilder::default() }
    }
}

impl<T: Eq + Hash> Interner<T> {
    /// The number of a value.
    pub fn intern(&mut self, value: T) -> u32 {
        let Self { numbers, values, hasher } = self;
        let hash = hasher.hash_one(&value);
        if let Some(&number) = numbers.find(hash, |&number| values[number as usize] == value) {
            return number;
        }
        let number = values.len() as u32;
        values.push(value);
        numbers.insert_unique(hash, number, |&number| hasher.hash_one(&values[number as usize]));
        number
    }

    /// The value of a number that [`Self::intern`] gave.
    pub fn value(&self, number: u32) -> &T {
        &self.values[number as usize]
    }

    /// All values by number, for good.
    pub fn into_values(self) -> Vec<T> {
        self.values
    }

    /// All values by number.
    pub fn values(&self) -> &[T] {
        &self.values
    }
}
