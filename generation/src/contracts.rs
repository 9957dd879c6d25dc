//! Whether the kernel programs, and the state that another version pinned, say of their records what we know of them.
//! Asked before anything is loaded or attached.

use std::os::fd::AsFd as _;
use std::path::Path;

use aya::maps::{Array, MapData, MapType};
use gabion_abi::boundary::{OBJECT, STATE};
use gabion_abi::contract::Set;
use gabion_contracts::{BYTES, Malformed, Mismatch, NotEmbedded, Said, What, check, embedded};

use crate::error::{Doing, Error};
use crate::object;

/// Pin of the text that says what is pinned beside it.
const CONTRACT: &str = "CONTRACT";
/// That text.
const SAID: [u8; STATE.length()] = STATE.text();

/// The embedded programs and this crate were not built of one source.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ObjectContract {
    /// The object says nothing of its records.
    #[error("the kernel programs do not say what they share: {0}; build gabion again, all of it from one checkout")]
    Nothing(NotEmbedded),
    /// It says something else.
    #[error("the kernel programs share something else with us: {0}; build gabion again, all of it from one checkout")]
    Other(Mismatch),
}

/// The pinned state was written by a version with other layouts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the pinned state was made by another version: {mismatch}; run `gabion detach` with the version that made it, then \
     start again"
)]
pub struct ContractMismatch {
    /// What it says, against what this version reads and writes.
    pub mismatch: Mismatch,
}

/// Holds an object to what we share with its programs, and gives what it says, for opening its maps.
pub(crate) fn of_object(elf: &[u8]) -> Result<Said<'static>, ObjectContract> {
    let said = embedded(elf).map_err(ObjectContract::Nothing)?;
    agreed(&OBJECT, said).map_err(ObjectContract::Other)
}

fn agreed(ours: &'static Set<'static>, said: &[u8]) -> Result<Said<'static>, Mismatch> {
    check(ours, said)?;
    Said::of(ours, said).map_err(Mismatch::Malformed)
}

/// Holds a pinned state, and the generations beside it, to what we read and write, and gives what it says.
pub(crate) fn of_state(folder: &Path) -> Result<Said<'static>, Error> {
    let pin = folder.join(CONTRACT);
    let step = || format!("read {}", pin.display());
    let map = MapData::from_pin(&pin).doing(step())?;
    let info = map.info().doing(step())?;
    let refused = |mismatch| ContractMismatch { mismatch };
    // Of other maps the kernel copies more than one value. Another version's text can be of any length within reason.
    let bytes = info.value_size() as usize;
    if info.map_type().doing(step())? != MapType::Array || bytes > BYTES {
        let what = What::Long { bytes, limit: BYTES };
        return Err(refused(Mismatch::Malformed(Malformed { line: 0, what })).into());
    }
    let said = object::read(map.fd().as_fd(), bytes).doing(step())?;
    Ok(agreed(&STATE, &said).map_err(refused)?)
}

/// Pins what a state says of itself.
pub(crate) fn pin_of_state(folder: &Path) -> Result<(), Error> {
    let mut map: Array<MapData, [u8; SAID.len()]> = Array::create(1, 0).doing("make the map of the contract")?;
    map.set(0, SAID, 0).doing("write the contract")?;
    map.pin(folder.join(CONTRACT)).doing("pin the contract")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use gabion_abi::contract::SECTION;
    use gabion_kernel_object::map;

    use super::*;

    #[test]
    fn the_state_that_is_pinned_is_the_state_that_is_agreed_about() {
        let mut agreed: Vec<&str> = STATE.places.iter().map(|place| place.name).collect();
        let mut pinned = [&map::STATE[..], &crate::staged::OWN].concat();
        agreed.sort_unstable();
        pinned.sort_unstable();
        assert_eq!(agreed, pinned);
    }

    #[test]
    fn an_object_that_says_something_else_is_refused() {
        let object = match gabion_kernel_object::object() {
            Ok(object) => object,
            Err(reason) => {
                assert!(std::env::var_os("GABION_REQUIRE_BPF").is_none(), "demanded, and cannot run: {reason}");
                return println!("skipped: {reason}");
            }
        };
        of_object(object).unwrap();
        let edited = |from: &str, to: &str| {
            assert_eq!(from.len(), to.len());
            let mut object = object.to_vec();
            // Type information may name the section, too, and lies before the names of sections.
            let at = object.windows(from.len()).rposition(|window| window == from.as_bytes()).unwrap();
            object[at..at + to.len()].copy_from_slice(to.as_bytes());
            of_object(&object).unwrap_err().to_string()
        };
        let error = edited("FRAGMENTS lru-hash of FragmentKey to u64", "FRAGMENTS lru-hash of FragmentKey to i64");
        let place = "map FRAGMENTS: expected lru-hash of FragmentKey to u64, found lru-hash of FragmentKey to i64";
        assert!(error.contains(place), "{error}");
        let error = edited("  time_ns: u64 at 0 unit ns", "  time_ms: u64 at 0 unit ms");
        assert!(error.contains("the digest of Event"), "{error}");
        let error = edited(SECTION, ".someone.else's..");
        assert!(error.contains(SECTION), "{error}");
        assert!(matches!(of_object(b"\x7fELF"), Err(ObjectContract::Nothing(NotEmbedded::NotElf { .. }))));
    }
}
