//! What must not cross a boundary does not compile, and the message says how to mend it.

/// Compiler messages are compared as a whole; where a newer compiler words its own part otherwise,
/// `TRYBUILD=overwrite cargo test -p gabion-abi-derive` writes them anew.
#[test]
fn what_must_not_cross_does_not_compile() {
    let cases = trybuild::TestCases::new();
    cases.pass("tests/cases/accepted.rs");
    for case in ["text", "types", "units", "alias", "holes", "generic_hole", "service_payload", "service_version"] {
        cases.compile_fail(format!("tests/cases/{case}.rs"));
    }
}
