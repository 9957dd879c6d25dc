//! Lists of numbers, one behind the other in one piece of memory: there are as many as rules, and most are short.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};

/// Lists by number.
#[derive(Clone, Debug, Default)]
pub(crate) struct Lists {
    /// Where each ends, and the next begins.
    ends: Vec<usize>,
    items: Vec<u32>,
}

impl Lists {
    /// Adds a list.
    pub fn push(&mut self, list: impl IntoIterator<Item = u32>) {
        self.items.extend(list);
        self.ends.push(self.items.len());
    }

    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn get(&self, number: u32) -> &[u32] {
        let number = number as usize;
        let start = number.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.items[start..self.ends[number]]
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u32]> {
        (0..self.ends.len()).map(|number| self.get(number as u32))
    }

    /// What is in all of them.
    pub fn items(&self) -> &[u32] {
        &self.items
    }
}

/// Gives equal lists equal numbers, in order of first appearance.
#[derive(Debug, Default)]
pub(crate) struct ListInterner {
    lists: Lists,
    numbers: HashTable<u32>,
    hasher: DefaultHashBuilder,
}

impl ListInterner {
    /// The number of a list.
    pub fn intern(&mut self, list: &[u32]) -> u32 {
        let Self { numbers, lists, hasher } = self;
        let hash = hasher.hash_one(list);
        if let Some(&number) = numbers.find(hash, |&number| lists.get(number) == list) {
            return number;
        }
        let number = lists.len() as u32;
        lists.push(list.iter().copied());
        numbers.insert_unique(hash, number, |&number| hasher.hash_one(lists.get(number)));
        number
    }

    /// The list of a number that [`Self::intern`] gave.
    pub fn get(&self, number: u32) -> &[u32] {
        self.lists.get(number)
    }

    pub fn lists(&self) -> &Lists {
        &self.lists
    }

    pub fn into_lists(self) -> Lists {
        self.lists
    }
}

/// In which lists each number stands.
#[derive(Debug)]
pub(crate) struct Inverse {
    /// Where those of each number start.
    starts: Vec<u32>,
    lists: Vec<u32>,
}

impl Inverse {
    /// Of lists of numbers below `count`.
    pub fn of(lists: &Lists, count: usize) -> Self {
        let mut starts = vec![0u32; count + 1];
        for &number in lists.items() {
            starts[number as usize + 1] += 1;
        }
        for at in 0..count {
            starts[at + 1] += starts[at];
        }
        let mut next = starts.clone();
        let mut inverse = vec![0; starts[count] as usize];
        for (at, list) in (0..).zip(lists.iter()) {
            for &number in list {
                inverse[next[number as usize] as usize] = at;
                next[number as usize] += 1;
            }
        }
        Self { starts, lists: inverse }
    }

    /// The lists with a number, ascending.
    pub fn of_number(&self, number: u32) -> &[u32] {
        let at = number as usize;
        &self.lists[self.starts[at] as usize..self.starts[at + 1] as usize]
    }

    /// How many that are.
    pub fn count(&self, number: u32) -> usize {
        self.of_number(number).len()
    }
}
