//! What holds for a pair of classes.

use gabion_abi::contract::Contract;

use super::Bounded;

/// A value for each pair of classes: `ROWS` × `COLUMNS`, dense.
///
/// For small numbers of classes that are known when a program is compiled, such as states, kinds of messages or
/// reasons. (The tables of a policy have sizes of their own: [`crate::classify`].) All-zero bytes are a map that holds
/// 0 everywhere, if that is a valid `V`.
///
/// Each index is bounded by itself. The place is row × a constant + column × a constant, of which the verifier adds up
/// the greatest values (rule 4 of [the module](super)): exactly to the last byte of the array, whether the sizes are
/// powers of two or not.
#[repr(C)]
#[derive(Contract, Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClassMap<V, const ROWS: usize, const COLUMNS: usize> {
    cells: [[V; COLUMNS]; ROWS],
}

impl<V: Copy + 'static, const ROWS: usize, const COLUMNS: usize> ClassMap<V, ROWS, COLUMNS> {
    /// The map that holds `value` for all pairs.
    #[must_use]
    pub const fn new(value: V) -> Self {
        const { assert!(size_of::<Self>() <= 1 << 29, "the value of a map has less") };
        Self { cells: [[value; COLUMNS]; ROWS] }
    }

    /// The value of a pair.
    #[must_use]
    #[inline(always)]
    pub fn at(&self, row: Bounded<ROWS>, column: Bounded<COLUMNS>) -> V {
        self.cells[row][column]
    }

    /// Where the value of a pair is.
    #[inline(always)]
    pub fn at_mut(&mut self, row: Bounded<ROWS>, column: Bounded<COLUMNS>) -> &mut V {
        &mut self.cells[row][column]
    }

    /// The value of a pair of numbers. False when one of them is no class.
    #[inline(always)]
    pub fn find(&self, row: u32, column: u32, into: &mut V) -> bool {
        let (Some(row), Some(column)) = (Bounded::checked(row), Bounded::checked(column)) else { return false };
        *into = self.at(row, column);
        true
    }
}
