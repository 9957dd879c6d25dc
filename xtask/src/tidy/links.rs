//! Links between documents must lead somewhere.

use std::path::Path;

use super::{Finding, House};

pub fn check(house: &House) -> Vec<Finding> {
    let mut findings = Vec::new();
    for document in house.of_kind("md") {
        let folder = house.root.join(document.path.parent().unwrap_or(Path::new("")));
        let mut fenced = false;
        for (place, line) in document.text.lines().enumerate() {
            fenced ^= line.trim_start().starts_with("```");
            if fenced {
                continue;
            }
            for link in line.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
                let path = link.split(['#', ' ']).next().unwrap_or_default();
                if path.is_empty() || path.contains("://") || path.starts_with("mailto:") {
                    continue;
                }
                let target = path.strip_prefix('/').map_or_else(|| folder.join(path), |path| house.root.join(path));
                if !target.exists() {
                    findings.push(Finding::at(&document.path, place + 1, format!("leads nowhere: {link}")));
                }
            }
        }
    }
    findings
}
