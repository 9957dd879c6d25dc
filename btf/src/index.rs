//! From a name to the types that have it.

/// Types by the hash of their names, in one array that is grouped by bucket. Building it is linear for any names, also
/// for names that were chosen to collide: those make only their own lookups slower.
pub(crate) struct Index {
    /// Where each bucket begins; one more at the end.
    buckets: Box<[u32]>,
    entries: Box<[Entry]>,
}

/// The hash of a name, and a type that has it.
#[derive(Clone, Copy, Default)]
pub(crate) struct Entry {
    pub(crate) hash: u32,
    pub(crate) id: u32,
}

impl Index {
    /// In ascending order of ids, if the entries are.
    pub(crate) fn new(found: &[Entry]) -> Self {
        let mask = found.len().next_power_of_two() - 1;
        let mut buckets = vec![0u32; mask + 2];
        for entry in found {
            buckets[(entry.hash as usize & mask) + 1] += 1;
        }
        for bucket in 1..buckets.len() {
            buckets[bucket] += buckets[bucket - 1];
        }
        let mut entries = vec![Entry::default(); found.len()].into_boxed_slice();
        // From behind, each bucket's end moves to its beginning.
        for entry in found.iter().rev() {
            let end = &mut buckets[(entry.hash as usize & mask) + 1];
            *end -= 1;
            entries[*end as usize] = *entry;
        }
        buckets.remove(0);
        buckets.push(u32::try_from(found.len()).unwrap_or(u32::MAX));
        Self { buckets: buckets.into_boxed_slice(), entries }
    }

    /// The types whose names have this hash; the caller compares the names.
    pub(crate) fn ids(&self, hash: u32) -> impl Iterator<Item = u32> + '_ {
        let bucket = hash as usize & (self.buckets.len() - 2);
        let entries = &self.entries[self.buckets[bucket] as usize..self.buckets[bucket + 1] as usize];
        entries.iter().filter(move |entry| entry.hash == hash).map(|entry| entry.id)
    }

    /// All of them, in no order.
    pub(crate) fn all(&self) -> impl Iterator<Item = u32> + '_ {
        self.entries.iter().map(|entry| entry.id)
    }
}

const LOW: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// Eight bytes at a time, the last of them filled up with zeros, and at least one zero in it.
fn mix(hash: u64, word: u64) -> u64 {
    // The multiplier is 2^64 divided by the golden ratio; the shift brings what it mixed upwards back down.
    let product = (hash.rotate_left(23) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    product ^ (product >> 29)
}

fn fold(hash: u64) -> u32 {
    // The upper half is the better mixed one.
    (hash >> 32) as u32
}

/// Of a name that is asked for.
pub(crate) fn hash_of(name: &str) -> u32 {
    let mut words = name.as_bytes().chunks_exact(8);
    let mut hash = 0;
    for word in &mut words {
        hash = mix(hash, first_word(word));
    }
    fold(mix(hash, first_word(words.remainder())))
}

/// Of the name that these strings begin with.
pub(crate) fn hash_in(strings: &[u8]) -> u32 {
    let (mut rest, mut hash) = (strings, 0);
    loop {
        let word = first_word(rest);
        // The highest bit of each byte that is zero; right for the lowest such byte, which is the one that counts.
        let zeros = word.wrapping_sub(LOW) & !word & HIGH;
        if zeros != 0 {
            let before = (zeros & zeros.wrapping_neg()).wrapping_sub(1) >> 7;
            return fold(mix(hash, word & before));
        }
        hash = mix(hash, word);
        // A word without a zero had eight bytes.
        rest = rest.get(8..).unwrap_or_default();
    }
}

fn first_word(bytes: &[u8]) -> u64 {
    match bytes.first_chunk() {
        Some(word) => u64::from_le_bytes(*word),
        None => {
            let mut word = [0; 8];
            word[..bytes.len()].copy_from_slice(bytes);
            u64::from_le_bytes(word)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_hashes_alike_alone_and_among_strings() {
        for length in 0..40 {
            let name: String = "the_quick_brown_fox_jumps_over_the_lazy_dog".chars().take(length).collect();
            for behind in ["", "\0", "\0next_name", "\0\u{1}\0\u{80}"] {
                assert_eq!(hash_in(format!("{name}{behind}").as_bytes()), hash_of(&name), "{name:?} {behind:?}");
            }
        }
    }

    #[test]
    fn every_entry_is_found_by_its_hash_in_order_of_ids() {
        for count in [0u32, 1, 2, 3, 7, 8, 9, 1000] {
            let entries: Vec<Entry> =
                (0..count).map(|id| Entry { hash: (id / 3).wrapping_mul(0x1234_5677), id }).collect();
            let index = Index::new(&entries);
            for entry in &entries {
                let want: Vec<u32> = entries.iter().filter(|other| other.hash == entry.hash).map(|e| e.id).collect();
                assert_eq!(index.ids(entry.hash).collect::<Vec<_>>(), want);
            }
            assert_eq!(index.ids(0xdead_beef).count(), 0);
            assert_eq!(index.all().count(), count as usize);
        }
    }
}
