//! Packet memory behind the bounds check of [`Bytes`].

use gabion_kernel_core::bytes::Bytes;

/// No header that matters lies further inside; the verifier wants a bound for every offset.
const OFFSET_LIMIT: usize = 0x7fff;

/// The linear part of a packet, and how long the whole is.
#[derive(Clone, Copy)]
pub struct Packet {
    data: usize,
    data_end: usize,
    length: usize,
}

impl Packet {
    /// `data` and `data_end` are the context's, read after the last helper that may move them.
    #[inline(always)]
    pub fn new(data: usize, data_end: usize, length: usize) -> Self {
        Self { data, data_end, length }
    }
}

impl Bytes for Packet {
    #[inline(always)]
    fn len(&self) -> usize {
        self.length
    }

    #[inline(always)]
    fn read<const N: usize>(&self, offset: usize) -> Option<[u8; N]> {
        if offset > OFFSET_LIMIT {
            return None;
        }
        let start = self.data + offset;
        if start + N > self.data_end {
            return None;
        }
        // SAFETY: `data..data_end` is packet memory that stays in place while the program runs, and
        // `start..start + N` lies within; the verifier checks the same. Bytes need no alignment.
        Some(unsafe { core::ptr::read_unaligned(start as *const [u8; N]) })
    }
}
