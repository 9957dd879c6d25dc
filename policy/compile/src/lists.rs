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

/// Values by key, of pairs of a key and a value: in which lists each number stands, for one.
#[derive(Debug)]
pub(crate) struct Inverse {
    /// Where those of each key start.
    starts: Vec<u32>,
    values: Vec<u32>,
}

impl Inverse {
    /// Of pairs with keys below `count`. Values of a key stay in the order in which they come.
    pub fn of(pairs: impl Iterator<Item = (u32, u32)> + Clone, count: usize) -> Self {
        let mut starts = vec![0u32; count + 1];
        pairs.clone().for_each(|(key, _)| starts[key as usize + 1] += 1);
        for at in 0..count {
            starts[at + 1] += starts[at];
        }
        let mut next = starts.clone();
        let mut values = vec![0; starts[count] as usize];
        for (key, value) in pairs {
            values[next[key as usize] as usize] = value;
            next[key as usize] += 1;
        }
        Self { starts, values }
    }

    /// In which lists each number below `count` stands.
    pub fn of_lists(lists: &Lists, count: usize) -> Self {
        let pairs = (0..lists.len() as u32).flat_map(|list| lists.get(list).iter().map(move |&number| (number, list)));
        Self::of(pairs, count)
    }

    /// The values of a key.
    pub fn get(&self, key: u32) -> &[u32] {
        let at = key as usize;
        &self.values[self.starts[at] as usize..self.starts[at + 1] as usize]
    }
}
