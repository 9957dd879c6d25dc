//! Rust files that no module declaration reaches are dead: they compile for nobody and rot.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::{File, Finding, House};

pub fn check(house: &House) -> Vec<Finding> {
    let mut reached = BTreeSet::new();
    for manifest in house.manifests() {
        let folder = manifest.path.parent().unwrap_or(Path::new(""));
        for file in house.of_kind("rs").filter(|file| is_root(folder, file, &manifest.text)) {
            reach(house, file, true, &mut reached);
        }
    }
    let dead = house.of_kind("rs").filter(|file| !reached.contains(&file.path));
    dead.map(|file| Finding::at(&file.path, 1, "no module declaration reaches this file: remove it")).collect()
}

/// Whether cargo starts compiling at this file: by its place, or because the manifest names it.
fn is_root(folder: &Path, file: &File, manifest: &str) -> bool {
    let Ok(path) = file.path.strip_prefix(folder) else { return false };
    let parts: Vec<String> = path.iter().map(|part| part.to_string_lossy().into_owned()).collect();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let by_place = matches!(
        parts.as_slice(),
        ["build.rs" | "src"] | ["src", "lib.rs" | "main.rs"] | ["src", "bin", _] | ["src", "bin", _, "main.rs"]
    ) || matches!(parts.as_slice(), ["tests" | "benches" | "examples", _])
        || matches!(parts.as_slice(), ["tests" | "benches" | "examples", _, "main.rs"]);
    // Cases of `trybuild` are compiled by a test, one by one.
    let case = matches!(parts.as_slice(), ["tests", "cases", _]) && manifest.contains("\ntrybuild");
    by_place || case || manifest.contains(&format!("\"{}\"", parts.join("/")))
}

fn reach(house: &House, file: &File, is_root: bool, reached: &mut BTreeSet<PathBuf>) {
    if !reached.insert(file.path.clone()) {
        return;
    }
    let folder = file.path.parent().unwrap_or(Path::new(""));
    let stem = file.path.file_stem().unwrap_or_default();
    // `a.rs` looks for its modules in `a/`; a crate root and `mod.rs` look beside themselves.
    let beside = is_root || stem == "mod";
    let home = if beside { folder.to_path_buf() } else { folder.join(stem) };
    let mut named = None;
    // Modules in line hold their files in a folder of their name.
    let mut inline: Vec<(usize, &str)> = Vec::new();
    for line in file.text.lines() {
        let indent = line.len() - line.trim_start().len();
        let line = line.trim();
        if line.starts_with('}') {
            inline.retain(|(depth, _)| *depth < indent);
        }
        for quoted in quoted_after(line, "#[path = ").into_iter().chain(quoted_after(line, "include!(")) {
            named = Some(folder.join(quoted));
            if line.contains("include!(") {
                visit(house, &named.take().unwrap_or_default(), reached);
            }
        }
        let Some(declaration) = module(line) else { continue };
        match declaration {
            (name, false) => inline.push((indent, name)),
            (name, true) => {
                let within = inline.iter().fold(home.clone(), |path, (_, name)| path.join(name));
                match named.take() {
                    Some(path) => visit(house, &path, reached),
                    None => {
                        visit(house, &within.join(format!("{name}.rs")), reached);
                        visit(house, &within.join(name).join("mod.rs"), reached);
                    }
                }
            }
        }
    }
}

fn visit(house: &House, path: &Path, reached: &mut BTreeSet<PathBuf>) {
    // `a/../b.rs` is `b.rs`.
    let mut plain = PathBuf::new();
    for part in path.components() {
        if part.as_os_str() == ".." {
            plain.pop();
        } else {
            plain.push(part);
        }
    }
    if let Some(file) = house.file(&plain) {
        reach(house, file, false, reached);
    }
}

/// "pub(crate) mod name;" is the name and true; "mod name {" is the name and false.
fn module(line: &str) -> Option<(&str, bool)> {
    let line = line.rsplit_once("] ").filter(|_| line.starts_with("#[")).map_or(line, |(_, rest)| rest);
    let rest = match line.strip_prefix("pub") {
        Some(rest) => rest.strip_prefix('(').and_then(|rest| rest.split_once(')')).map_or(rest, |(_, rest)| rest),
        None => line,
    };
    let rest = rest.trim_start().strip_prefix("mod ")?;
    match rest.split_once(';') {
        Some((name, _)) => Some((name.trim(), true)),
        None => rest.strip_suffix('{').map(|name| (name.trim(), false)),
    }
}

fn quoted_after<'line>(line: &'line str, opening: &str) -> Option<&'line str> {
    line.split_once(opening)?.1.strip_prefix('"')?.split('"').next()
}
