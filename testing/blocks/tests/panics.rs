//! No object of kernel programs holds anything that panics: no function for it, and no body of the panic handler, which
//! is a jump to itself. (That none could be reached is what the verifier says; here nothing is left to be reached.)
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]

use object::{Object as _, ObjectSection as _, ObjectSymbol as _, SectionKind};

/// `goto -1`.
const LOOP: [u8; 8] = [5, 0, 0xff, 0xff, 0, 0, 0, 0];

fn check(name: &str, bytes: &[u8]) {
    let file = object::File::parse(bytes).unwrap();
    let mut functions = 0;
    for symbol in file.symbols() {
        let symbol_name = symbol.name().unwrap();
        assert!(!symbol_name.contains("panic") && !symbol_name.contains("unwind"), "{name} has {symbol_name}");
        assert!(symbol_name.is_empty() || !symbol.is_undefined(), "{name} lacks {symbol_name}");
        functions += usize::from(symbol.kind() == object::SymbolKind::Text);
    }
    assert!(functions > 0, "{name} has no functions");
    for section in file.sections().filter(|section| section.kind() == SectionKind::Text) {
        let code = section.data().unwrap();
        assert!(code.len().is_multiple_of(8), "{name}: instructions have 8 bytes");
        let at = code.chunks(8).position(|instruction| instruction == LOOP);
        assert_eq!(at, None, "{name}: section {} has a loop without an end", section.name().unwrap());
    }
}

#[test]
fn nothing_panics_in_kernel_programs() {
    let demanded = std::env::var_os("GABION_REQUIRE_BPF").is_some();
    match (gabion_testing_blocks::object(), gabion_kernel_object::object()) {
        (Ok(blocks), Ok(product)) => {
            check("the object of the blocks", blocks);
            check("the object of the product", product);
        }
        (Err(error), _) => assert!(!demanded, "{error}"),
        (_, Err(error)) => assert!(!demanded, "{error}"),
    }
}
