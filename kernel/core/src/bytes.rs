//! Where packet bytes come from.

use gabion_abi::facts::Facts;

use crate::parse::ipv6::{Step, Walk, extension};

/// `N` bytes that are all there. What is read of them is checked when it is compiled.
pub trait Fields<const N: usize>: Copy {
    /// The byte at `AT`.
    fn u8<const AT: usize>(self) -> u8;
    /// The 16-bit value in network order at `AT`.
    fn u16<const AT: usize>(self) -> u16;
    /// The 32-bit value in network order at `AT`.
    fn u32<const AT: usize>(self) -> u32;
}

impl<const N: usize> Fields<N> for [u8; N] {
    #[inline(always)]
    fn u8<const AT: usize>(self) -> u8 {
        const { assert!(AT < N) };
        self[AT]
    }

    #[inline(always)]
    fn u16<const AT: usize>(self) -> u16 {
        const { assert!(AT + 2 <= N) };
        u16::from_be_bytes([self[AT], self[AT + 1]])
    }

    #[inline(always)]
    fn u32<const AT: usize>(self) -> u32 {
        const { assert!(AT + 4 <= N) };
        u32::from_be_bytes([self[AT], self[AT + 1], self[AT + 2], self[AT + 3]])
    }
}

/// Packet bytes behind a bounds check. Offsets count from the first byte that the hook sees.
pub trait Bytes {
    /// Length of the packet in bytes, as far as it can be read.
    fn len(&self) -> usize;

    /// `N` bytes from `offset`, or nothing when they are not all there.
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]>;

    /// The same, to read fields from.
    #[inline(always)]
    fn fields<const N: usize>(&self, offset: usize) -> Option<impl Fields<N>> {
        self.read::<N>(offset)
    }

    /// The same value, of which the verifier shall forget how it came about: it follows every way to
    /// a value as a state of its own, but one that went through map memory has one way only. The
    /// host has nothing to forget.
    #[inline(always)]
    fn forget(&self, value: usize) -> usize {
        value
    }

    /// The next IPv6 extension header of a walk, or the reason why it cannot be parsed. The kernel programs put it into
    /// a function of its own, which the verifier looks at once instead of once for each header: [`extension`].
    #[inline(always)]
    fn extension(&self, walk: &mut Walk, facts: &mut Facts) -> Result<Step, u8>
    where
        Self: Sized,
    {
        extension(self, walk, facts)
    }

    /// Whether there is nothing to read.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One byte.
    #[inline(always)]
    fn u8(&self, offset: usize) -> Option<u8> {
        self.read::<1>(offset).map(|b| b[0])
    }

    /// A 16-bit value in network order.
    #[inline(always)]
    fn u16(&self, offset: usize) -> Option<u16> {
        self.read::<2>(offset).map(u16::from_be_bytes)
    }

    /// A 32-bit value in network order.
    #[inline(always)]
    fn u32(&self, offset: usize) -> Option<u32> {
        self.read::<4>(offset).map(u32::from_be_bytes)
    }
}

impl Bytes for &[u8] {
    fn len(&self) -> usize {
        <[u8]>::len(self)
    }

    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        self.get(offset..)?.first_chunk::<N>().copied()
    }
}
