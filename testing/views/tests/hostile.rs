//! Objects that were tampered with: an error and an untouched object, or constants in place of placeholders.
#![allow(missing_docs, clippy::unwrap_used)]

use fastrand::Rng;
use gabion_btf::Btf;
use gabion_testing_views::{bound, object};
use gabion_testing_views_programs::Task;
use gabion_view::KernelView as _;
use gabion_view::bind::{Bound, PatchError};
use gabion_view::described::described;

#[test]
fn a_broken_object_is_refused_or_patched_and_nothing_between() {
    let (Ok(kernel), Ok(whole)) = (Btf::open("/sys/kernel/btf/vmlinux"), object()) else {
        eprintln!("skipped: no kernel types, or no programs");
        return;
    };
    let views = Bound::find(&kernel, &[Task::VIEW]).unwrap();
    let mut rng = Rng::with_seed(1);
    let (mut refused, mut patched) = (0, 0);
    for _ in 0..3_000 {
        let mut broken = whole.clone();
        for _ in 0..rng.usize(1..40) {
            let at = rng.usize(..broken.len());
            broken[at] = rng.u8(..);
        }
        if rng.usize(..10) == 0 {
            broken.truncate(rng.usize(..broken.len()));
        }
        // What it says of its views is held to no other rule than to end.
        let _ = described(&broken);
        let before = broken.clone();
        match views.patch(&mut broken) {
            Ok(_) => patched += 1,
            Err(_) => {
                refused += 1;
                assert!(before == broken, "changed although it was refused");
            }
        }
    }
    assert!(refused > 100 && patched > 100, "{refused} refused, {patched} patched");
}

#[test]
fn a_field_that_no_view_has_is_named() {
    let Ok(mut whole) = object() else { return };
    let error = Bound::default().patch(&mut whole).unwrap_err();
    assert!(matches!(error, PatchError::Unknown { .. }), "{error}");
}

#[test]
fn an_object_is_patched_once() {
    let Ok(kernel) = Btf::open("/sys/kernel/btf/vmlinux") else { return };
    let (mut object, views) = bound(&kernel).unwrap();
    let error = views.patch(&mut object).unwrap_err();
    assert_eq!(error.to_string(), "record 0 of .gabion.views: points to an instruction without a placeholder");
}
