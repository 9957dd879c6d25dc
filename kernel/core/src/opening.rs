//! Marks of connections that may still be unanswered, so that a packet which policy denies need not ask their table.
//!
//! What is denied may be the first answer to a connection that somebody opened a moment ago. That is rare, and asking a
//! hash table costs more than all of the decision. So whoever opens a connection, or keeps an unanswered one alive,
//! leaves the time at a place that many share. Where no fresh time is, there is none to be found. A place that looks
//! fresh costs the look-up that would have been made anyway, and no more: whom its time is from does not matter, and
//! that it is one of 65,536 steps ago neither.

use gabion_abi::conn::{ConnKey, OPENED_SLOTS as SLOTS};
use gabion_abi::facts::FAMILY_V6;
use gabion_abi::tables::scramble;

use crate::conn::OPENING_LIFE_NS;

/// A step of the marks' time, as a power of two of nanoseconds: about a second.
const STEP_SHIFT: u32 = 30;
/// Steps for which a mark is fresh: the longest life, a step begun at either end, and one more for odd numbers.
const FRESH: u16 = (OPENING_LIFE_NS >> STEP_SHIFT) as u16 + 3;
/// Odd steps by which a mark may be in the future, since clocks are late.
const AHEAD: u16 = 2;

/// The place of a connection, whose key is as its initiator sends.
#[must_use]
#[inline(always)]
pub fn slot(key: &ConnKey) -> u32 {
    let (a, b) = (&key.source.words, &key.destination.words);
    let mut sum = (a[0] as u64) << 32 | b[0] as u64;
    if key.family == FAMILY_V6 {
        let low = |words: &[u32; 4]| words[1].rotate_left(7) ^ words[2].rotate_left(13) ^ words[3].rotate_left(19);
        sum ^= (low(a) as u64) << 32 | low(b) as u64;
    }
    let ports = (key.source_port as u64) << 32 | (key.destination_port as u64) << 16 | key.protocol as u64;
    (scramble(sum.rotate_left(17) ^ ports.wrapping_mul(0x9e37_79b9_7f4a_7c15)) >> 40) as u32 & (SLOTS - 1)
}

/// What is left at the place; never 0, which is in a place that nobody was at.
#[must_use]
#[inline(always)]
pub fn mark(about_ns: u64) -> u16 {
    (about_ns >> STEP_SHIFT) as u16 | 1
}

/// Whether a connection of that place may be unanswered and not over.
#[must_use]
#[inline(always)]
pub fn may_be(mark: u16, about_ns: u64) -> bool {
    let age = self::mark(about_ns).wrapping_sub(mark);
    mark != 0 && age.wrapping_add(AHEAD) <= FRESH + AHEAD
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conn::{SECOND_NS, life_ns};
    use gabion_abi::conn::state;
    use gabion_abi::facts::{Address, FAMILY_V4};

    #[test]
    fn no_life_outlasts_a_mark() {
        for protocol in 0..=255 {
            for state in state::OPENING..=state::CLOSED {
                assert!(life_ns(protocol, state, false) <= OPENING_LIFE_NS, "protocol {protocol}, state {state}");
            }
        }
        for start_ns in [0, 1, (1 << STEP_SHIFT) - 1, 1 << STEP_SHIFT, 65_535 << STEP_SHIFT, 1 << 60] {
            // The reader's clock may be late, and the writer's too.
            for late_ns in [0, 10_000_000] {
                let left = mark(start_ns);
                for seconds in 0..=OPENING_LIFE_NS / SECOND_NS {
                    let now_ns = start_ns + seconds * SECOND_NS;
                    assert!(may_be(left, now_ns.saturating_sub(late_ns)), "{seconds} s after {start_ns}");
                }
                assert!(!may_be(left, start_ns + 2 * OPENING_LIFE_NS), "fresh too long after {start_ns}");
            }
        }
    }

    #[test]
    fn nobody_was_at_an_empty_place() {
        for about_ns in (0..200_u64).map(|step| step << STEP_SHIFT) {
            assert!(!may_be(0, about_ns));
            assert_ne!(mark(about_ns), 0);
        }
    }

    #[test]
    fn places_are_scattered() {
        let mut taken = [0_u8; SLOTS as usize];
        let mut shared = 0;
        for number in 0..16_384_u32 {
            let key = ConnKey {
                source: Address::v4(0x0a00_0000 + number / 64),
                destination: Address::v4(0x0a01_0000),
                source_port: 32_768 + (number % 64) as u16,
                destination_port: 502,
                protocol: 6,
                family: FAMILY_V4,
                padding: 0,
            };
            let place = &mut taken[slot(&key) as usize];
            shared += u32::from(*place != 0);
            *place = 1;
        }
        // By chance 993 of them would share a place.
        assert!(shared < 1_300, "{shared} of 16,384 share a place");
    }
}
