//! Octets as a policy and packets that aim at its corners: the oracle, the tables in one group and in several, lanes,
//! core and the short way must give the same verdict, by the same rule, for the same reason.
#![no_main]

use gabion_testing_oracle::agree;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| {
    if let Err(difference) = agree(octets) {
        panic!("{difference}");
    }
});
