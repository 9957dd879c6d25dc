//! Rings of values of several sizes.

use gabion_kernel_core::blocks::RingBuf;

use crate::{MISS, Machine, Op, folded};

/// What a guard may remember of an arrival.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// When.
    pub time: u64,
    /// Which.
    pub number: u32,
    /// What.
    pub kind: u32,
}

impl Record {
    /// What all-zero bytes are.
    pub const ZERO: Self = Self { time: 0, number: 0, kind: 0 };

    /// All of it as an answer.
    #[must_use]
    #[inline(always)]
    pub const fn folded(&self) -> u32 {
        folded(self.time) ^ self.number.rotate_left(11) ^ self.kind.rotate_left(23)
    }
}

/// Three rings.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rings {
    /// Of words.
    pub wide: RingBuf<u64, 16>,
    /// Of records.
    pub records: RingBuf<Record, 8>,
    /// Of bytes.
    pub bytes: RingBuf<u8, 32>,
}

impl Rings {
    /// What all-zero bytes are.
    pub const ZERO: Self = Self { wide: RingBuf::new(0), records: RingBuf::new(Record::ZERO), bytes: RingBuf::new(0) };
    /// Number of operations.
    pub const OPS: u32 = 14;
}

impl Machine for Rings {
    #[inline(always)]
    fn apply(&mut self, &[what, a, b, c]: &Op) -> u32 {
        let value = (a as u64) << 32 | b as u64;
        let record = Record { time: value, number: b, kind: c };
        let (mut word, mut taken, mut byte) = (0, Record::ZERO, 0);
        match what % Self::OPS {
            0 => self.wide.push(value) as u32,
            1 => {
                self.wide.push_over(value);
                self.wide.len()
            }
            2 if self.wide.pop(&mut word) => folded(word),
            3 if self.wide.oldest(a, &mut word) => folded(word),
            4 if self.wide.newest(a, &mut word) => folded(word),
            5 => self.records.push(record) as u32,
            6 => {
                self.records.push_over(record);
                self.records.is_full() as u32
            }
            7 if self.records.pop(&mut taken) => taken.folded(),
            8 if self.records.newest(a, &mut taken) => taken.folded(),
            9 => {
                let mut sum = 0u32;
                self.records.walk(|record| {
                    sum = sum.rotate_left(1) ^ record.folded();
                    record.kind != c
                });
                sum
            }
            10 => self.bytes.push(a as u8) as u32,
            11 if self.bytes.pop(&mut byte) => byte as u32,
            12 => {
                match a % 3 {
                    0 => self.wide.clear(),
                    1 => self.records.clear(),
                    _ => self.bytes.clear(),
                }
                self.wide.is_empty() as u32
            }
            13 => self.bytes.len() << 16 | self.records.len() << 8 | self.wide.len(),
            _ => MISS,
        }
    }
}
