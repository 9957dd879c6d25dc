//! Every view on every supported kernel, from what is kept of their types.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

use gabion_btf::Btf;
use gabion_testing_kernels::{asked, kept, names, objects};
use gabion_view::bind::Bound;
use gabion_view::described::{Described, described};
use gabion_view::matrix::{State, matrix};

#[test]
fn every_view_fits_every_supported_kernel() {
    let objects = match objects() {
        Ok(objects) => objects,
        Err(error) => {
            assert!(std::env::var_os("GABION_REQUIRE_BPF").is_none(), "demanded, and cannot run: {error}");
            return println!("skipped: {error}");
        }
    };
    let open = |name: &String| {
        let path = kept().join(format!("{name}.btf"));
        Btf::open(&path).unwrap_or_else(|error| panic!("{error}; `./x kernels` writes it"))
    };
    let kernels: Vec<Btf> = names().iter().map(open).collect();
    let said: Vec<_> = objects.iter().flat_map(|(_, object)| described(object).unwrap()).collect();
    let views: Vec<_> = said.iter().map(Described::view).collect();
    let kept_for = std::fs::read_to_string(kept().join("asked.txt")).unwrap();
    assert!(asked(&views) == kept_for, "the views ask for something else than asked.txt says; run `./x kernels`");
    let rows = matrix(&kernels, &views);
    assert!(!rows.is_empty(), "there is not one view");
    let states = rows.iter().flat_map(|row| &row.kernels);
    let errors = states.filter_map(|state| match state {
        State::Changed(error) => Some(format!("{error}\n")),
        _ => None,
    });
    let errors: String = errors.collect();
    assert!(errors.is_empty(), "{errors}");
    // Nothing is read that is not described: each placeholder gets its constant.
    for (name, object) in &objects {
        let said = described(object).unwrap();
        let views: Vec<_> = said.iter().map(Described::view).collect();
        for kernel in &kernels {
            let bound = Bound::find(kernel, &views).unwrap();
            let patched = bound.patch(&mut object.clone()).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(patched > 0, !views.is_empty(), "{name}");
        }
    }
}

/// What is kept is what the list says, and no more.
#[test]
fn what_is_kept_is_listed() {
    let list = std::fs::read_to_string(kept().join("README.md")).unwrap();
    let mut files: Vec<String> = std::fs::read_dir(kept())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !matches!(name.as_str(), "README.md" | "asked.txt"))
        .collect();
    let mut expected: Vec<String> = names().iter().map(|name| format!("{name}.btf")).collect();
    files.sort();
    expected.sort();
    assert_eq!(files, expected);
    for file in files {
        let bytes = std::fs::metadata(kept().join(&file)).unwrap().len();
        let line = list.lines().find(|line| line.starts_with(&format!("| `{file}` |"))).unwrap();
        assert!(line.ends_with(&format!("| {bytes} |")), "{line}");
        assert!(bytes < 16 << 10, "{file}: {bytes} bytes");
    }
}
