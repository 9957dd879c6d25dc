//! `gabion policy compile --stats` for the example plant, with the programs in this kernel. Needs root and the kernel
//! object; says so and passes without, unless `./x test` demands them.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::Path;
use std::process::Command;

use serde_json::Value;

fn stats(more: &[&str]) -> Option<String> {
    let plant = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/substation");
    let mut command = Command::new(env!("CARGO_BIN_EXE_gabion"));
    let output = command.args(["policy", "compile", "--stats"]).args(more).arg(plant).output().unwrap();
    if output.status.success() {
        return Some(String::from_utf8(output.stdout).unwrap());
    }
    let missing = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(std::env::var_os("GABION_REQUIRE_ROOT").is_none(), "demanded, and cannot run: {missing}");
    println!("skipped: {missing}");
    None
}

#[test]
fn every_section_is_printed_for_the_example_plant() {
    let Some(text) = stats(&[]) else { return };
    let mut from = 0;
    for title in [
        "table bytes ",
        "compiled in ",
        "ingress bytes ",
        "\ndimension ",
        "\nEtherType ",
        "\ntable ",
        "\naddress tries ",
        "\nrules ",
        "\npacket ",
        "\nIPv6 ",
        "\nprogram ",
        "\ngabion_ingress ",
        "\ngabion_egress ",
        "\nfunction of gabion_ingress ",
        "\ngabion_entries ",
        "\nfunction of gabion_egress ",
    ] {
        from += text[from..].find(title).unwrap_or_else(|| panic!("no {title:?} behind {from} of:\n{text}"));
    }
}

#[test]
fn a_program_is_told_what_the_kernel_made_of_it() {
    let Some(text) = stats(&["--output", "json"]) else { return };
    let stats: Value = serde_json::from_str(&text).unwrap();
    let tables = stats["tables"].as_array().unwrap();
    let held: u64 = tables.iter().map(|table| table["bytes"].as_u64().unwrap()).sum();
    let bytes = stats["bytes"].as_u64().unwrap();
    let between = bytes - held;
    // Every table begins with a cache line.
    let number: u64 = tables.iter().map(|table| table["number"].as_u64().unwrap()).sum();
    assert!(between <= number * 64 + 8, "{held} of {bytes} bytes in {number} tables");

    let programs = stats["programs"].as_array().unwrap();
    assert_eq!(programs.len(), 2);
    for program in programs {
        let number = |key: &str| program[key].as_u64().unwrap();
        assert_eq!(number("translatedBytes"), number("instructions") * 8);
        assert!(number("instructions") < number("objectInstructions"), "{program}");
        assert!(number("verifiedInstructions") > 0 && program["loadMs"].as_f64().unwrap() > 0.0);
        let sum = |key| program["functions"].as_array().unwrap().iter().map(|f| f[key].as_u64().unwrap()).sum::<u64>();
        assert_eq!(sum("objectInstructions"), number("objectInstructions"));
        assert_eq!(sum("instructions"), number("instructions"));
    }
}
