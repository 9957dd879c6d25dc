//! `./x dist`: what is shipped, made in `target/dist`: a static binary, its man pages and completions, a Debian
//! package that holds them, and a statement of what they were made of.

mod deb;
#[cfg(feature = "dist")]
mod pages;
#[cfg(feature = "dist")]
mod provenance;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::{Outcome, cargo, root, workspace};
use deb::{Entry, Package};

const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Builds all of it.
pub fn run(arguments: &[String]) -> Outcome {
    if let Some(argument) = arguments.first() {
        return Err(format!("./x dist takes no argument, not even {argument}"));
    }
    if cfg!(not(target_arch = "x86_64")) {
        return Err(format!("the package is for x86-64, and this machine is {}", std::env::consts::ARCH));
    }
    if !workspace::members()?.iter().any(|member| member.name == "gabion") {
        return Err("this checkout has no crate gabion to ship".to_owned());
    }
    let folder = root().join("target/dist");
    // A page of a command that is no more would be shipped otherwise.
    let _ = std::fs::remove_dir_all(&folder);
    create(&folder)?;
    println!("x: cargo build --release, linked statically");
    let binary = build()?;
    let bytes = read(&binary)?;
    if needs_interpreter(&bytes) {
        return Err(format!(
            "{} is not linked statically: is the static C library there (libc6-dev)?",
            binary.display()
        ));
    }
    let shipped = folder.join("gabion");
    std::fs::copy(&binary, &shipped).map_err(|error| format!("{}: {error}", shipped.display()))?;
    let mut entries = vec![Entry::program("usr/bin/gabion", bytes)];
    entries.extend(pages(&folder)?);
    let (version, time) = (env!("CARGO_PKG_VERSION"), source_time()?);
    entries.extend(packaged(version, time)?);
    let package = Package {
        name: "gabion",
        version,
        architecture: "amd64",
        description: &text(&root().join("packaging/debian/description"))?,
        time,
        scripts: scripts()?,
        entries,
    };
    let path = folder.join(format!("gabion_{}_amd64.deb", package.version));
    std::fs::write(&path, package.bytes()?).map_err(|error| format!("{}: {error}", path.display()))?;
    let statement = provenance(&folder, &[&shipped, &path])?;
    println!("x: {}", shipped.display());
    println!("x: {}", path.display());
    println!("x: {statement}");
    Ok(ExitCode::SUCCESS)
}

/// Builds the program so that it does not tell where: two checkouts of one commit give the same bytes.
fn build() -> Result<PathBuf, String> {
    let home = std::env::var_os("HOME").map_or_else(|| PathBuf::from("/root"), PathBuf::from);
    let crates = std::env::var_os("CARGO_HOME").map_or_else(|| home.join(".cargo"), PathBuf::from);
    let flags = [
        "-Ctarget-feature=+crt-static".to_owned(),
        format!("--remap-path-prefix={}=/gabion", root().display()),
        format!("--remap-path-prefix={}=/cargo", crates.display()),
    ];
    let status = cargo()
        .args(["build", "--release", "--package", "gabion", "--bin", "gabion", "--target", TARGET])
        // A static program cannot load the library of a token (PKCS #11), and says so.
        .args(["--no-default-features", "--config"])
        .arg(format!("target.{TARGET}.rustflags={}", serde_json::json!(flags)))
        // Flags of the environment would take the place of these.
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .status()
        .map_err(|error| format!("cargo build: {error}"))?;
    if !status.success() {
        return Err("the release build failed".to_owned());
    }
    Ok(workspace::target_folder()?.join(TARGET).join("release/gabion"))
}

/// Whether an ELF file names a dynamic loader: a program header of type PT_INTERP (System V ABI, chapter 5).
fn needs_interpreter(elf: &[u8]) -> bool {
    let word = |at: usize, width: usize| {
        let bytes = elf.get(at..at.checked_add(width)?)?;
        Some(bytes.iter().rev().fold(0_usize, |value, byte| value << 8 | usize::from(*byte)))
    };
    // e_phoff, e_phentsize and e_phnum of a 64-bit little-endian file.
    let (Some(table), Some(size), Some(count)) = (word(32, 8), word(54, 2), word(56, 2)) else { return true };
    (0..count).any(|place| word(table + place * size, 4).is_none_or(|kind| kind == 3))
}

#[cfg(feature = "dist")]
fn pages(folder: &Path) -> Result<Vec<Entry>, String> {
    pages::entries(folder)
}

#[cfg(not(feature = "dist"))]
fn pages(_folder: &Path) -> Result<Vec<Entry>, String> {
    Err("built without the feature `dist`; ./x dist turns it on".to_owned())
}

#[cfg(feature = "dist")]
fn provenance(folder: &Path, made: &[&Path]) -> Result<String, String> {
    provenance::write(folder, made)
}

#[cfg(not(feature = "dist"))]
fn provenance(_folder: &Path, _made: &[&Path]) -> Result<String, String> {
    Err("built without the feature `dist`; ./x dist turns it on".to_owned())
}

/// The files of the package that are kept in the checkout.
fn packaged(version: &str, time: u64) -> Result<Vec<Entry>, String> {
    let packaging = root().join("packaging/debian");
    let mut entries = vec![
        Entry::file("usr/lib/systemd/system/gabion.service", read(&root().join("packaging/gabion.service"))?),
        Entry::file("usr/share/doc/gabion/CHANGELOG.md", read(&root().join("CHANGELOG.md"))?),
        Entry::file("usr/share/doc/gabion/copyright", read(&packaging.join("copyright"))?),
        Entry::file("usr/share/lintian/overrides/gabion", read(&packaging.join("lintian-overrides"))?),
        changelog(version, time)?,
    ];
    let examples = root().join("examples");
    add_folder(&examples, "usr/share/doc/gabion/examples", &mut entries)?;
    Ok(entries)
}

/// The form that Debian's tools read (deb-changelog(5)); what changed is told in the form that people read.
fn changelog(version: &str, time: u64) -> Result<Entry, String> {
    let date = crate::machine::first_line("date", &["-u", "-R", "-d", &format!("@{time}")]);
    let date = date.ok_or("date -R -d: no date for the changelog")?;
    let changelog = format!(
        "gabion ({version}) unstable; urgency=medium\n\n  * What changed is in CHANGELOG.md beside this file.\n\n -- {}  {date}\n",
        deb::MAINTAINER
    );
    Entry::compressed("usr/share/doc/gabion/changelog", changelog.as_bytes())
        .map_err(|error| format!("changelog: {error}"))
}

fn add_folder(host: &Path, shipped: &str, entries: &mut Vec<Entry>) -> Result<(), String> {
    for path in files(host) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let shipped = format!("{shipped}/{name}");
        if path.is_dir() {
            add_folder(&path, &shipped, entries)?;
        } else {
            entries.push(Entry::file(&shipped, read(&path)?));
        }
    }
    Ok(())
}

/// What a folder holds, in the order of the names.
fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(found) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = found.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

fn scripts() -> Result<Vec<(&'static str, Vec<u8>)>, String> {
    let script = |name| Ok((name, read(&root().join("packaging/debian").join(name))?));
    ["postinst", "prerm", "postrm"].into_iter().map(script).collect()
}

/// The time in every archive: SOURCE_DATE_EPOCH, or that of the last commit, so that two builds are alike.
fn source_time() -> Result<u64, String> {
    let given = std::env::var("SOURCE_DATE_EPOCH").ok();
    let repository = root().display().to_string();
    let commit = || crate::machine::first_line("git", &["-C", &repository, "log", "-1", "--format=%ct"]);
    if let Some(seconds) = given.or_else(commit) {
        return seconds.trim().parse().map_err(|_| format!("{seconds} is no time: seconds since 1970 are needed"));
    }
    let file = root().join("CHANGELOG.md");
    println!("x: no SOURCE_DATE_EPOCH and no commit to be read by git: the package is as old as {}", file.display());
    let changed = std::fs::metadata(&file).and_then(|about| about.modified());
    let changed = changed.map_err(|error| format!("{}: {error}", file.display()))?;
    Ok(changed.duration_since(std::time::UNIX_EPOCH).map_or(0, |age| age.as_secs()))
}

fn create(folder: &Path) -> Result<(), String> {
    std::fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn text(path: &Path) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))
}
