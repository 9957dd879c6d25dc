//! What others get: a header that a C compiler holds to its word, and a schema that a validator reads.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::process::Command;

use gabion_abi::boundary;
use gabion_abi::contract::{Contract, Set};
use gabion_abi::event::Event;
use gabion_contracts::{Contracts, export, text};
use gabion_kernel_core::blocks::RingBuf;
use serde_json::{Value, json};

/// Names that C does not take as they are.
#[repr(C, align(32))]
#[derive(Contract)]
struct Awkward {
    #[contract(unit = "bytes/s")]
    register: [[u16; 3]; 2],
    int: i8,
    int_: u8,
    r#struct: u16,
    padding: [u64; 2],
}

#[repr(C)]
#[derive(Contract)]
#[allow(non_camel_case_types, reason = "its name in C is that of another")]
struct awkward {
    word: u32,
}

fn contracts() -> Contracts {
    let mut records = boundary::RECORDS.to_vec();
    records.extend([RingBuf::<Event, 4>::SHAPE, Awkward::SHAPE, awkward::SHAPE]);
    Contracts::parse(text(&Set { records: &records, ..boundary::OBJECT }).as_bytes()).unwrap()
}

#[test]
fn a_c_compiler_agrees_with_every_size_and_place() {
    let folder = tempfile::tempdir().unwrap();
    let (header, source) = (folder.path().join("contracts.h"), folder.path().join("user.c"));
    let written = export::c(&contracts());
    std::fs::write(&header, &written).unwrap();
    // Twice: a header can be included by two others.
    let user = "#include \"contracts.h\"\n#include \"contracts.h\"\nint main(void) { struct gabion_event event = {0}; \
                return (int)event.facts.source_port; }\n";
    std::fs::write(&source, user).unwrap();
    let compile = |text: &str| {
        std::fs::write(&header, text).unwrap();
        let flags = ["-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only"];
        Command::new("cc").args(flags).arg(&source).output()
    };
    let output = match compile(&written) {
        Ok(output) => output,
        Err(error) => return println!("skipped: there is no C compiler `cc`: {error}"),
    };
    assert!(output.status.success(), "{}\n{written}", String::from_utf8_lossy(&output.stderr));
    // The assertions assert something.
    for (what, instead) in [("uint16_t source_port;", "uint32_t source_port;"), ("GABION_ALIGNAS(8) ", "")] {
        assert!(written.contains(what), "{what}");
        let output = compile(&written.replace(what, instead)).unwrap();
        assert!(!output.status.success(), "{instead} for {what} goes unnoticed");
    }
    let mut cpp = Command::new("c++");
    cpp.args(["-std=c++17", "-Wall", "-Werror", "-fsyntax-only", "-x", "c++"]).arg(&header);
    std::fs::write(&header, &written).unwrap();
    match cpp.output() {
        // The header is the main file here, which a warning that cannot be turned off is about.
        Ok(output) => assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr)),
        Err(error) => println!("skipped: there is no C++ compiler `c++`: {error}"),
    }
    assert!(written.contains(&format!("#define GABION_EVENT_CONTRACT UINT64_C(0x{:016x})", Event::SHAPE.digest())));
    assert!(written.contains("struct gabion_ring_buf_event_4 {"), "{written}");
}

#[test]
fn the_schema_takes_a_record_and_no_other_shape() {
    let schema = export::json_schema(&contracts());
    assert_eq!(schema["$defs"]["facts"]["properties"]["source_port"]["x-gabion-offset"], 60);
    assert_eq!(schema["$defs"]["event"]["x-gabion-size"], 128);
    assert_eq!(schema["$defs"]["event"]["x-gabion-contract"], format!("{:016x}", Event::SHAPE.digest()));
    let validator = jsonschema::validator_for(&schema).unwrap();
    let count = json!({ "packets": u64::MAX, "bytes": 0 });
    assert!(validator.is_valid(&count));
    for wrong in
        [json!({ "packets": 1 }), json!({ "packets": -1, "bytes": 0 }), json!({ "packets": 1, "bytes": 0, "x": 0 })]
    {
        assert!(!validator.is_valid(&wrong), "{wrong}");
    }
    let register = json!([[1, 2, 3], [4, 5, 65535]]);
    let awkward = |int: i64| json!({ "register": register, "int": int, "int_": 255, "struct": 0, "padding": [0, 0] });
    assert!(validator.is_valid(&awkward(-128)) && validator.is_valid(&awkward(127)));
    assert!(!validator.is_valid(&awkward(-129)) && !validator.is_valid(&awkward(128)));
    assert_ne!(schema["$defs"].get("awkward_2"), None::<&Value>);
}
