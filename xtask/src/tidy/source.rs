//! Rules about the text of Rust files.

use std::path::Path;

use super::{File, Finding, House};

const FILE_LINES: usize = 700;
const LINE_WIDTH: usize = 120;

/// Calls that must not be committed, in two parts so that this list does not find itself.
const BANNED: [(&str, &str, &str); 4] = [
    ("to", "do!(", "write it, or return an error that says it is not there"),
    ("unimpl", "emented!(", "write it, or return an error that says it is not there"),
    ("dbg", "!(", "use tracing, or remove it"),
    ("trans", "mute(", "bytes become values through a checked constructor"),
];

pub fn check(house: &House) -> Vec<Finding> {
    house.of_kind("rs").flat_map(file).collect()
}

fn file(file: &File) -> Vec<Finding> {
    let mut findings = Vec::new();
    let lines: Vec<&str> = file.text.lines().collect();
    if lines.len() > FILE_LINES {
        let message = format!("{} lines; a file has at most {FILE_LINES}: split it by subject", lines.len());
        findings.push(Finding::at(&file.path, lines.len(), message));
    }
    if is_crate_root(&file.path) && !opens_with_paragraph(&lines) {
        findings.push(Finding::at(
            &file.path,
            1,
            "a crate opens with a //! paragraph: what for, what never, where to start",
        ));
    }
    let mut in_tests = is_test(file);
    for (place, line) in lines.iter().enumerate() {
        let number = place + 1;
        // rustfmt does not break string literals, and an address has no place to break.
        let unbreakable = line.trim_start().starts_with('"') || line.contains("://");
        if line.chars().count() > LINE_WIDTH && !unbreakable {
            findings.push(Finding::at(&file.path, number, format!("longer than {LINE_WIDTH} characters")));
        }
        // Unit tests stand at the end of a file.
        in_tests |= line.trim_start().starts_with("#[cfg(test)]") || line.trim_start().starts_with("#[cfg(all(test");
        let code = line.split("//").next().unwrap_or_default();
        for (head, tail, remedy) in BANNED {
            let word = format!("{head}{tail}");
            if code.contains(&word) {
                findings.push(Finding::at(&file.path, number, format!("{word}…): {remedy}")));
            }
        }
        let explained = line.contains("//") || (place > 0 && is_comment(lines[place - 1]));
        if !in_tests && !explained && code.contains(".unwrap()") {
            let message = "unwrap() without a comment on this line or the one before that says why it cannot fail";
            findings.push(Finding::at(&file.path, number, message));
        }
    }
    findings
}

/// A comment that is for the reader of the code, not for the documentation.
fn is_comment(line: &str) -> bool {
    let line = line.trim_start();
    line.starts_with("//") && !line.starts_with("///") && !line.starts_with("//!")
}

/// Tests, benchmarks and fuzz targets may unwrap.
fn is_test(file: &File) -> bool {
    const ROOMS: [&str; 5] = ["tests", "testing", "benches", "bench", "fuzz"];
    let by_place = file.path.components().any(|part| ROOMS.iter().any(|room| part.as_os_str() == *room));
    by_place || file.path.ends_with("tests.rs") || file.text.contains("#![allow(clippy::unwrap_used")
}

fn is_crate_root(path: &Path) -> bool {
    path.ends_with("src/lib.rs") || path.ends_with("src/main.rs")
}

fn opens_with_paragraph(lines: &[&str]) -> bool {
    let mut opening = lines.iter().map(|line| line.trim());
    let first = opening.find(|line| {
        let attribute = line.starts_with("#![") || line.starts_with("// ") || *line == "//";
        !line.is_empty() && !attribute
    });
    first.is_some_and(|line| line.starts_with("//!"))
}
