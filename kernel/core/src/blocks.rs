//! Containers whose bounds the verifier can follow: fixed size, no allocation, no panic, all-zero bytes are empty.
//!
//! They hold what guards of streams keep between packets, and lie in map values: `repr(C)`, of a size that leaves no
//! byte unsaid. Start with [`Bounded`], which every other one indexes with:
//!
//! | block | what it is for | what bounds it |
//! | --- | --- | --- |
//! | [`Bounded`] | an index below `N` | a constant mask, a compare, or the width of a load |
//! | [`RingBuf`] | the last so many of something: arrivals, sequence numbers | masked at each access |
//! | [`ClassMap`] | class × class → value, dense | two indices, each bounded, times constants |
//! | [`StrideTable`] | prefix → class, by digits of the key | a loop of constant length, masked digits |
//!
//! # Which rules they rest on
//!
//! The kernel's `Documentation/bpf/verifier.rst`, section "Register value tracking", says what is known of a register:
//! least and greatest value, signed and unsigned, and which bits are known (a "tnum"). From there:
//!
//! 1. **AND with a constant** clears bits of the tnum, and the greatest unsigned value follows. One instruction, no
//!    branch, no second way to follow. Wherever a size is a power of two, this is the bound.
//! 2. **A compare** refines the greatest value in the branch where it holds. It is a second way to follow (section
//!    "Pruning"). It holds for the register that was compared and for its copies, not for what was computed from them
//!    before; it must be unsigned; and one of the lower 32 bits says nothing about the upper, which are tracked by
//!    themselves. An index has 32 bits here, and the compiler clears the upper ones before it makes an offset of it.
//! 3. **A load of one or two bytes** leaves the upper bits known to be zero: 255 or 65,535 at most.
//! 4. **Times a constant, plus another bounded value**: the greatest values multiply and add. What is added to a
//!    pointer is its "variable offset", and greatest offset + size of the access must fit the value of the map.
//! 5. **A loop** is walked turn by turn until its counter, a known constant in each turn, ends it.
//!
//! The remainder of a division bounds nothing (no kernel of the matrix follows it), so that no block has it.
//!
//! `testing/blocks` loads a program for each of these rules, and for what looks like one, on every kernel of the
//! matrix; `docs/decisions/0011-verifier-safe-containers.md` says what came out.
//!
//! A bound is lost in memory other than the stack (map values, packets), and across a global function, which is
//! verified by itself; on the stack it survives if it is read back as it was written. So nothing here trusts an index
//! that was kept: counters of a ring are masked when they are used, and indexing with a [`Bounded`] bounds it again
//! unless the compiler still knows. Who corrupts a map value gets wrong answers, and nothing else.
//!
//! Values leave through `into: &mut T` and a `bool`, not as an `Option<T>`: of `None` the rest is undefined, the
//! compiler may spill it, and the verifier refuses to read a register that was never written.

mod bounded;
mod class_map;
mod ring;
mod stride;

pub use bounded::Bounded;
pub use class_map::ClassMap;
pub use ring::RingBuf;
pub use stride::{Refusal, StrideTable, StrideWriter, Words};
