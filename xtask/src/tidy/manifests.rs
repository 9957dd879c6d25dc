//! Rules about the manifests of crates.

use super::{Finding, House};

pub fn check(house: &House) -> Vec<Finding> {
    let mut findings = Vec::new();
    for manifest in house.manifests() {
        let lines: Vec<&str> = manifest.text.lines().map(str::trim).collect();
        if !lines.contains(&"[package]") {
            continue;
        }
        let inherits = lines.contains(&"lints.workspace = true")
            || lines.windows(2).any(|pair| pair == ["[lints]", "workspace = true"]);
        // A workspace of its own, as fuzz targets are, has nothing to inherit from.
        let own = lines.contains(&"[workspace]");
        if !inherits && !own {
            findings.push(Finding::at(&manifest.path, 1, "does not inherit the lints: [lints] workspace = true"));
        }
        if !lines.iter().any(|line| line.starts_with("license")) {
            findings.push(Finding::at(&manifest.path, 1, "has no licence: license.workspace = true"));
        }
    }
    if house.root.join("Cargo.toml").exists() && !house.root.join("LICENSE").exists() {
        findings.push(Finding::at("LICENSE".as_ref(), 1, "is missing"));
    }
    findings
}
