//! Objects and texts that were damaged end in an error, or in a lock that can be read back.

use gabion_lock::{Lock, compare};
use proptest::prelude::*;

use crate::program::base;

fn survives(bytes: &[u8]) {
    let old = Lock::of_object(&base().object()).unwrap();
    if let Ok(found) = Lock::of_object(bytes) {
        assert_eq!(Lock::parse(found.text().as_bytes()).as_ref(), Ok(&found), "{}", found.text());
        let _ = compare(&old, &found);
        let _ = compare(&found, &old);
    }
}

#[test]
fn objects_that_are_cut_short_or_have_one_bit_turned() {
    let object = base().object();
    (0..object.len()).step_by(13).for_each(|length| survives(&object[..length]));
    for at in (0..object.len()).step_by(3) {
        let mut damaged = object.clone();
        damaged[at] ^= 1 << (at % 8);
        survives(&damaged);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn objects_with_many_bytes_changed(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..24)) {
        let mut object = base().object();
        for (at, byte) in changes {
            let at = at.index(object.len());
            object[at] = byte;
        }
        survives(&object);
    }

    #[test]
    fn texts_with_many_bytes_changed(changes in prop::collection::vec((any::<prop::sample::Index>(), 9_u8..127), 1..8)) {
        let mut text = Lock::of_object(&base().object()).unwrap().text().into_bytes();
        for (at, byte) in changes {
            let at = at.index(text.len());
            text[at] = byte;
        }
        if let Ok(found) = Lock::parse(&text) {
            prop_assert_eq!(found.text().into_bytes(), text);
            let _ = compare(&found, &found);
        }
    }
}
