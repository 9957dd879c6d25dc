//! Any octets as the contracts of two sides. Digests are set right, so that what they guard is reached.
#![no_main]

use gabion_contracts::{Contracts, What, differences, export, meet};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| {
    let half = octets.iter().position(|&octet| octet == 0).unwrap_or(octets.len());
    let (one, two) = (&octets[..half], octets.get(half + 1..).unwrap_or_default());
    let (Some(one), two) = (parsed(one), parsed(two)) else { return };
    assert!(differences(&one, &one).is_empty());
    let header = export::c(&one);
    assert!(header.matches("/*").count() == header.matches("*/").count(), "{header}");
    let schema = export::json_schema(&one);
    assert!(schema["$defs"].as_object().is_some_and(|all| all.len() >= one.records.len()));
    for service in &one.services {
        assert_eq!(meet(&one, &one, &service.name), Ok(()));
    }
    if let Some(two) = two {
        assert_eq!(differences(&one, &two).is_empty(), differences(&two, &one).is_empty());
    }
});

fn parsed(octets: &[u8]) -> Option<Contracts> {
    let mut text = octets.to_vec();
    // Each turn sets another digest right.
    for _ in 0..64 {
        let error = match Contracts::parse(&text) {
            Ok(contracts) => return Some(contracts),
            Err(error) => error,
        };
        let What::Digest { is, .. } = error.what else { return None };
        let line: usize = text.split_inclusive(|&octet| octet == b'\n').take(error.line - 1).map(<[u8]>::len).sum();
        let place = line + "contract ".len();
        text[place..place + 16].copy_from_slice(format!("{is:016x}").as_bytes());
    }
    None
}
