//! The house style as a failing test, in well under a second: what rustfmt and clippy do not look at.

mod links;
mod manifests;
mod modules;
mod source;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::Outcome;
use crate::report::{State, Table};

/// Every file of the checkout that the house rules speak about, read once.
pub struct House {
    root: PathBuf,
    files: Vec<File>,
}

/// One file.
pub struct File {
    /// Its path from the top of the checkout.
    pub path: PathBuf,
    /// Its content.
    pub text: String,
}

/// One breach of the rules: where, and what to do about it.
pub struct Finding {
    path: PathBuf,
    line: usize,
    message: String,
}

impl Finding {
    /// A finding about a line, counted from 1.
    pub fn at(path: &Path, line: usize, message: impl Into<String>) -> Self {
        Self { path: path.to_path_buf(), line, message: message.into() }
    }
}

impl House {
    fn read(root: &Path) -> Result<Self, String> {
        let mut house = Self { root: root.to_path_buf(), files: Vec::new() };
        house.walk(root)?;
        house.files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(house)
    }

    fn walk(&mut self, folder: &Path) -> Result<(), String> {
        let entries = std::fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        for entry in entries.flatten() {
            let (path, name) = (entry.path(), entry.file_name());
            let name = name.to_string_lossy();
            // Folders that hold what was made, or what others made.
            if name == "target" || name == "corpus" || name == "artifacts" || name.starts_with('.') {
                continue;
            }
            if path.is_dir() && !path.is_symlink() {
                self.walk(&path)?;
            } else if matches!(path.extension().and_then(|kind| kind.to_str()), Some("rs" | "toml" | "md")) {
                // What is not UTF-8 is a fixture, whatever its name.
                let Ok(text) = std::fs::read_to_string(&path) else { continue };
                let path = path.strip_prefix(&self.root).map(Path::to_path_buf).unwrap_or(path);
                self.files.push(File { path, text });
            }
        }
        Ok(())
    }

    fn of_kind<'house>(&'house self, kind: &'house str) -> impl Iterator<Item = &'house File> {
        self.files.iter().filter(move |file| file.path.extension().is_some_and(|found| found == kind))
    }

    fn file(&self, path: &Path) -> Option<&File> {
        self.files.binary_search_by(|file| file.path.as_path().cmp(path)).ok().map(|place| &self.files[place])
    }

    fn manifests(&self) -> impl Iterator<Item = &File> {
        self.of_kind("toml").filter(|file| file.path.file_name().is_some_and(|name| name == "Cargo.toml"))
    }

    fn findings(&self) -> Vec<Finding> {
        let mut findings = source::check(self);
        findings.extend(manifests::check(self));
        findings.extend(modules::check(self));
        findings.extend(links::check(self));
        findings
    }
}

fn check() -> Result<Vec<Finding>, String> {
    let house = House::read(&crate::root())?;
    let findings = house.findings();
    for Finding { path, line, message } in &findings {
        println!("{}:{line}: {message}", path.display());
    }
    Ok(findings)
}

/// `cargo xtask tidy`.
pub fn run() -> Outcome {
    Ok(if check()?.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The tier of `./x test`.
pub fn add(table: &mut Table) {
    println!("x: tidy");
    let state = match check() {
        Ok(findings) if findings.is_empty() => State::Passed("house rules".to_owned()),
        Ok(findings) => State::Failed(format!("{} findings (cargo xtask tidy)", findings.len())),
        Err(reason) => State::Failed(reason),
    };
    table.add("tidy", state);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    /// What the rules say about a small house that breaks one of them.
    fn findings(files: &[(&str, &str)]) -> Vec<String> {
        let mut house = House { root: PathBuf::from("/nowhere"), files: Vec::new() };
        for (path, text) in files {
            house.files.push(File { path: PathBuf::from(path), text: (*text).to_owned() });
        }
        house.files.sort_by(|a, b| a.path.cmp(&b.path));
        house.findings().into_iter().map(|finding| finding.message).collect()
    }

    const MANIFEST: (&str, &str) = ("a/Cargo.toml", "[package]\nlicense.workspace = true\n[lints]\nworkspace = true\n");

    fn in_library(body: &str) -> Vec<String> {
        findings(&[MANIFEST, ("a/src/lib.rs", &format!("//! A crate.\n{body}"))])
    }

    #[test]
    fn a_tidy_crate_has_no_findings() {
        assert!(in_library("mod tests {}\n").is_empty());
    }

    #[test]
    fn banned_calls_are_found_and_comments_are_not_code() {
        assert_eq!(in_library(concat!("fn f() { to", "do!() }\n")).len(), 1);
        assert_eq!(in_library(concat!("// to", "do!() is not written here\n")).len(), 0);
        assert_eq!(in_library(concat!("fn f() { core::mem::trans", "mute(1) }\n")).len(), 1);
    }

    #[test]
    fn unwrap_needs_a_reason_outside_tests() {
        assert_eq!(in_library("fn f() { g().unwrap() }\n").len(), 1);
        assert_eq!(in_library("fn f() { g().unwrap() } // g cannot fail: it is constant\n").len(), 0);
        assert_eq!(in_library("// g cannot fail: it is constant\nfn f() { g().unwrap() }\n").len(), 0);
        assert_eq!(in_library("#[cfg(test)]\nmod tests { fn f() { g().unwrap() } }\n").len(), 0);
    }

    #[test]
    fn long_files_and_lines_are_found() {
        assert_eq!(in_library(&"\n".repeat(800)).len(), 1);
        assert_eq!(in_library(&format!("const A: &str = \"{}\";\n", "x".repeat(120))).len(), 1);
    }

    #[test]
    fn a_crate_must_open_with_a_paragraph_inherit_the_lints_and_have_a_licence() {
        assert_eq!(findings(&[MANIFEST, ("a/src/lib.rs", "fn f() {}\n")]).len(), 1);
        assert_eq!(findings(&[("a/Cargo.toml", "[package]\nlicense.workspace = true\n")]).len(), 1);
        assert_eq!(findings(&[("a/Cargo.toml", "[package]\n[lints]\nworkspace = true\n")]).len(), 1);
    }

    #[test]
    fn a_file_that_no_module_names_is_dead() {
        let library = ("a/src/lib.rs", "//! A crate.\nmod used;\n");
        let used = ("a/src/used.rs", "mod inner;\n");
        let inner = ("a/src/used/inner.rs", "");
        assert!(findings(&[MANIFEST, library, used, inner]).is_empty());
        let dead = findings(&[MANIFEST, library, used, inner, ("a/src/dead.rs", "")]);
        assert_eq!(dead.len(), 1, "{dead:?}");
    }

    #[test]
    fn a_link_to_a_file_that_is_not_there_is_found() {
        assert_eq!(findings(&[("README.md", "see [this](docs/none.md#part)\n")]).len(), 1);
        assert_eq!(findings(&[("README.md", "see [this](https://example.org) and [that](#part)\n")]).len(), 0);
    }
}
