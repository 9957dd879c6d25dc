//! The same operations on std's collections and plain arithmetic.

use std::collections::{BTreeMap, HashMap, VecDeque};

use fastrand::Rng;
use gabion_testing_blocks_programs::{MISS, Machine, Op, Record, folded};

#[derive(Default)]
pub struct Bounds {
    sixteen: BTreeMap<u32, u64>,
    twenty: BTreeMap<u32, u32>,
    bytes: BTreeMap<u32, u32>,
    kept: u32,
}

impl Bounds {
    fn sixteen(&self, at: u32) -> u64 {
        self.sixteen.get(&(at % 16)).copied().unwrap_or_default()
    }

    fn twenty(&self, at: u32) -> u32 {
        self.twenty.get(&at.min(19)).copied().unwrap_or_default()
    }
}

impl Machine for Bounds {
    fn apply(&mut self, &[what, a, b, c]: &Op) -> u32 {
        match what % 10 {
            0 => {
                let value = self.sixteen(a).wrapping_add(u64::from(b) << 32 | u64::from(c));
                self.sixteen.insert(a % 16, value);
                folded(value)
            }
            1 if a < 20 => self.twenty.insert(a, b).unwrap_or_default(),
            1 => MISS,
            2 => {
                let value = self.twenty(a).wrapping_add(b);
                self.twenty.insert(a.min(19), value);
                value
            }
            3 => self.bytes.insert(a % 256, b % 256).unwrap_or_default(),
            4 => self.twenty(19),
            5 => (0..4).filter(|turn| (a >> (3 * turn)) % 8 == b % 8).map(|turn| turn + 1).sum(),
            6 => {
                let powers = [a, b, c, a >> 4, b >> 8, c >> 12];
                let sum = powers.iter().fold(0u64, |sum, &at| sum.rotate_left(3) ^ self.sixteen(at));
                let others = [a, b, c, a >> 8, b >> 16, c >> 24];
                folded(others.iter().fold(sum, |sum, &at| sum.rotate_left(5) ^ u64::from(self.twenty(at))))
            }
            7 if a >= 10 || b >= 12 || c >= 14 => MISS,
            7 => {
                let [first, second, third] = [a, b, c].map(|at| self.sixteen(at));
                self.sixteen.insert(a, first ^ second.rotate_left(9) ^ third.rotate_left(18));
                folded(second) ^ a ^ b << 8 ^ c << 16
            }
            8 if a >= 16 => MISS,
            8 => {
                let [second, third] = [b, c].map(|at| self.sixteen(at.min(15)));
                self.sixteen.insert(a, second.rotate_left(9) ^ third.rotate_left(18));
                folded(second) ^ a ^ b.rotate_left(8) ^ c.rotate_left(16)
            }
            _ => {
                let before = std::mem::replace(&mut self.kept, a);
                self.twenty(before) ^ self.sixteen(before) as u32
            }
        }
    }
}

/// A queue that holds so many.
struct Queue<T>(VecDeque<T>, usize);

impl<T> Queue<T> {
    fn push(&mut self, value: T) -> bool {
        let fits = self.0.len() < self.1;
        if fits {
            self.0.push_back(value);
        }
        fits
    }

    fn push_over(&mut self, value: T) {
        if self.0.len() == self.1 {
            self.0.pop_front();
        }
        self.0.push_back(value);
    }

    fn newest(&self, number: u32) -> Option<&T> {
        self.0.iter().rev().nth(number as usize)
    }
}

pub struct Rings {
    wide: Queue<u64>,
    records: Queue<Record>,
    bytes: Queue<u8>,
}

impl Default for Rings {
    fn default() -> Self {
        Self { wide: Queue(VecDeque::new(), 16), records: Queue(VecDeque::new(), 8), bytes: Queue(VecDeque::new(), 32) }
    }
}

impl Machine for Rings {
    fn apply(&mut self, &[what, a, b, c]: &Op) -> u32 {
        let value = u64::from(a) << 32 | u64::from(b);
        let record = Record { time: value, number: b, kind: c };
        let Self { wide, records, bytes } = self;
        let answer = match what % 14 {
            0 => Some(wide.push(value).into()),
            1 => {
                wide.push_over(value);
                Some(wide.0.len() as u32)
            }
            2 => wide.0.pop_front().map(folded),
            3 => wide.0.get(a as usize).copied().map(folded),
            4 => wide.newest(a).copied().map(folded),
            5 => Some(records.push(record).into()),
            6 => {
                records.push_over(record);
                Some((records.0.len() == 8).into())
            }
            7 => records.0.pop_front().map(|record| record.folded()),
            8 => records.newest(a).map(Record::folded),
            9 => {
                let last = records.0.iter().position(|record| record.kind == c).unwrap_or(7);
                let walked = records.0.iter().take(last + 1);
                Some(walked.fold(0u32, |sum, record| sum.rotate_left(1) ^ record.folded()))
            }
            10 => Some(bytes.push(a as u8).into()),
            11 => bytes.0.pop_front().map(u32::from),
            12 => {
                match a % 3 {
                    0 => wide.0.clear(),
                    1 => records.0.clear(),
                    _ => bytes.0.clear(),
                }
                Some(wide.0.is_empty().into())
            }
            _ => Some((bytes.0.len() << 16 | records.0.len() << 8 | wide.0.len()) as u32),
        };
        answer.unwrap_or(MISS)
    }
}

#[derive(Default)]
pub struct Classes {
    even: HashMap<(u32, u32), u64>,
    odd: HashMap<(u32, u32), u32>,
    narrow: HashMap<(u32, u32), u32>,
}

impl Machine for Classes {
    fn apply(&mut self, &[what, a, b, c]: &Op) -> u32 {
        let is_class = a < 12 && b < 10;
        match what % 5 {
            0 if is_class => self.odd.get(&(a, b)).copied().unwrap_or_default(),
            1 if is_class => self.odd.insert((a, b), c).unwrap_or_default(),
            0 | 1 => MISS,
            2 => {
                let value = self.even.entry((a % 8, b % 16)).or_default();
                *value = value.wrapping_mul(3).wrapping_add(c.into());
                folded(*value)
            }
            3 => self.narrow.insert((a.min(6), b.min(2)), c % 256).unwrap_or_default(),
            _ => {
                let cell = |column| self.odd.get(&(a.min(11), column)).copied().unwrap_or_default();
                (0..10).fold(0u32, |sum, column| sum.rotate_left(3) ^ cell(column))
            }
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Prefix<const LENGTH: usize> {
    pub key: [u32; LENGTH],
    pub length: u32,
    pub class: u32,
}

impl<const LENGTH: usize> Prefix<LENGTH> {
    /// Bit by bit.
    fn covers(&self, key: &[u32; LENGTH]) -> bool {
        (0..self.length as usize).all(|bit| (key[bit / 32] ^ self.key[bit / 32]) >> (31 - bit % 32) & 1 == 0)
    }
}

/// The last of the longest prefixes that cover a key, by looking at all of them.
fn class_of<const LENGTH: usize>(prefixes: &[Prefix<LENGTH>], key: &[u32; LENGTH]) -> u32 {
    let covering = prefixes.iter().filter(|prefix| prefix.covers(key));
    covering.max_by_key(|prefix| prefix.length).map_or(0, |prefix| prefix.class)
}

/// Random prefixes, many of which lie within others.
pub fn prefixes<const LENGTH: usize>(rng: &mut Rng, count: usize) -> Vec<Prefix<LENGTH>> {
    let mut prefixes: Vec<Prefix<LENGTH>> = Vec::new();
    for _ in 0..count {
        let key = match prefixes.len() {
            0 => std::array::from_fn(|_| rng.u32(..)),
            held => {
                let at = rng.usize(0..held);
                changed(rng, &prefixes[at].key)
            }
        };
        prefixes.push(Prefix { key, length: rng.u32(0..=32 * LENGTH as u32), class: rng.u32(0..1 << 31) });
    }
    prefixes
}

/// A key with another end.
fn changed<const LENGTH: usize>(rng: &mut Rng, key: &[u32; LENGTH]) -> [u32; LENGTH] {
    let from = rng.usize(0..=32 * LENGTH);
    let mut key = *key;
    for bit in from..32 * LENGTH {
        key[bit / 32] ^= u32::from(rng.bool()) << (31 - bit % 32);
    }
    key
}

#[derive(Clone)]
pub struct Strides {
    pub coarse: Vec<Prefix<1>>,
    pub fine: Vec<Prefix<1>>,
    pub six: Vec<Prefix<4>>,
}

impl Strides {
    /// A look-up of a key that is not far from a prefix.
    pub fn near(&self, rng: &mut Rng) -> Op {
        let four = |rng: &mut Rng, from: &[Prefix<1>]| {
            let at = rng.usize(0..from.len());
            changed(rng, &from[at].key)[0]
        };
        match rng.u32(0..3) {
            0 => [0, four(rng, &self.coarse), 0, 0],
            1 => [1, four(rng, &self.fine), 0, 0],
            _ => {
                let at = rng.usize(0..self.six.len());
                let [a, b, c, what] = changed(rng, &self.six[at].key);
                // The last word of the key says as well that it is one.
                [what / 5 * 5 % (u32::MAX - 5) + 2, a, b, c]
            }
        }
    }

    pub fn class(&self, &[what, a, b, c]: &Op) -> u32 {
        match what % 5 {
            0 => class_of(&self.coarse, &[a]),
            1 => class_of(&self.fine, &[a]),
            _ => class_of(&self.six, &[a, b, c, what]),
        }
    }
}

impl Machine for Strides {
    fn apply(&mut self, op: &Op) -> u32 {
        self.class(op)
    }
}
