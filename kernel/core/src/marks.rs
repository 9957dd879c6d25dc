//! Marks of connections that there may be, so that a packet which policy denies need not ask their tables.
//!
//! What is denied may be return traffic. Mostly it is not, and asking a hash table costs more than all of the decision.
//! So whoever opens a connection, answers one, or keeps one alive leaves the time at a place that many share, one for
//! each kind of table. Where no time is that a connection of the protocol outlives, there is none to be found. A place
//! that looks fresh costs the look-up that would have been made anyway, and no more: whom its time is from does not
//! matter, and that it is one of 65,536 steps ago neither.

use gabion_abi::conn::{ConnKey, MARK_SLOTS, state};
use gabion_abi::facts::FAMILY_V6;
use gabion_abi::tables::scramble;

use crate::conn::life_ns;
use crate::judge::Table;

/// Places of each kind.
const SLOTS: u32 = MARK_SLOTS / 2;
/// A step of the marks' time, as a power of two of nanoseconds: about a second for what is unanswered, nine for what
/// was answered and lives up to a day.
const OPENING_SHIFT: u32 = 30;
const ANSWERED_SHIFT: u32 = 33;
/// Odd steps by which a mark may be in the future, since clocks are late.
const AHEAD: u16 = 2;

const fn shift(table: Table) -> u32 {
    if matches!(table, Table::Opening) { OPENING_SHIFT } else { ANSWERED_SHIFT }
}

/// Steps for which a mark is fresh: the life, a step begun at either end, and one more for odd numbers.
#[inline(always)]
const fn fresh(table: Table, protocol: u8) -> u16 {
    let answered = !matches!(table, Table::Opening);
    (life_ns(protocol, state::ESTABLISHED, answered) >> shift(table)) as u16 + 3
}

/// The place of a connection in a table, whose key is as its initiator sends.
#[must_use]
#[inline(always)]
pub fn slot(table: Table, key: &ConnKey) -> u32 {
    let (a, b) = (&key.source.words, &key.destination.words);
    let mut sum = (a[0] as u64) << 32 | b[0] as u64;
    if key.family == FAMILY_V6 {
        let low = |words: &[u32; 4]| words[1].rotate_left(7) ^ words[2].rotate_left(13) ^ words[3].rotate_left(19);
        sum ^= (low(a) as u64) << 32 | low(b) as u64;
    }
    let ports = (key.source_port as u64) << 32 | (key.destination_port as u64) << 16 | key.protocol as u64;
    let slot = (scramble(sum.rotate_left(17) ^ ports.wrapping_mul(0x9e37_79b9_7f4a_7c15)) >> 40) as u32 & (SLOTS - 1);
    if matches!(table, Table::Opening) { slot } else { slot + SLOTS }
}

/// What is left at the place; never 0, which is in a place that nobody was at.
#[must_use]
#[inline(always)]
pub fn mark(table: Table, about_ns: u64) -> u16 {
    (about_ns >> shift(table)) as u16 | 1
}

/// Whether a connection of that place and protocol may be in the table, and not over.
#[must_use]
#[inline(always)]
pub fn may_be(table: Table, protocol: u8, mark: u16, about_ns: u64) -> bool {
    let age = self::mark(table, about_ns).wrapping_sub(mark);
    mark != 0 && age.wrapping_add(AHEAD) <= fresh(table, protocol) + AHEAD
}

#[cfg(test)]
mod tests {
    use super::*;
    use gabion_abi::facts::{Address, FAMILY_V4};

    const TABLES: [Table; 3] = [Table::Opening, Table::Established, Table::Datagrams];

    #[test]
    fn no_life_outlasts_a_mark() {
        for (table, protocol) in TABLES.into_iter().flat_map(|table| (0..=255).map(move |protocol| (table, protocol))) {
            let answered = table != Table::Opening;
            let lives = (state::OPENING..=state::CLOSED).map(|state| life_ns(protocol, state, answered));
            let life_ns = lives.max().unwrap_or(0);
            assert!(
                u64::from(u16::MAX) << shift(table) > 2 * life_ns,
                "protocol {protocol}: marks come round too soon"
            );
            for start_ns in [0, 1, (1 << shift(table)) - 1, 1 << shift(table), 65_535 << shift(table), 1 << 60] {
                // The reader's clock may be late, and the writer's too.
                for late_ns in [0, 10_000_000] {
                    let left = mark(table, start_ns);
                    for part in 0..=64 {
                        let now_ns = start_ns + life_ns / 64 * part;
                        let seen = may_be(table, protocol, left, now_ns.saturating_sub(late_ns));
                        assert!(seen, "protocol {protocol} of {table:?}: {part}/64 of its life after {start_ns}");
                    }
                    let much_later_ns = start_ns + 2 * life_ns + (8 << shift(table));
                    assert!(!may_be(table, protocol, left, much_later_ns), "fresh too long after {start_ns}");
                }
            }
        }
    }

    #[test]
    fn nobody_was_at_an_empty_place() {
        for table in TABLES {
            for about_ns in (0..200_u64).map(|step| step << shift(table)) {
                assert!(!may_be(table, 6, 0, about_ns));
                assert_ne!(mark(table, about_ns), 0);
            }
        }
    }

    #[test]
    fn places_are_scattered_and_tables_have_their_own() {
        for table in TABLES {
            let mut taken = [0_u8; MARK_SLOTS as usize];
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
                let slot = slot(table, &key);
                assert_eq!(slot < SLOTS, table == Table::Opening);
                shared += u32::from(taken[slot as usize] != 0);
                taken[slot as usize] = 1;
            }
            // By chance 993 of them would share a place.
            assert!(shared < 1_300, "{shared} of 16,384 share a place");
        }
    }
}
