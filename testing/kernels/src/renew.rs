//! From Debian's packages to extracts.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use gabion_btf::Btf;
use gabion_testing_vm::Archive;
use gabion_view::View;
use gabion_view::described::{Described, described};
use gabion_view::matrix::extracted;

use crate::{Error, KERNELS, RUNNING, asked, image, kept, objects};

/// Writes all extracts, the list of where they come from and that of what was asked. Whole types are kept in
/// `target/kernels`, so that only what is new is fetched.
///
/// # Errors
/// [`Error`]; what was written before it stays.
pub fn renew() -> Result<(), Error> {
    if std::env::var_os("GABION_OFFLINE").is_some_and(|value| !value.is_empty()) {
        return Err(Error::Offline);
    }
    let objects = objects()?;
    let mut said: Vec<Described<'_>> = Vec::new();
    for (name, object) in &objects {
        said.extend(described(object).map_err(|error| Error::Views(name, error))?);
    }
    let views: Vec<View<'_>> = said.iter().map(Described::view).collect();
    let folder = target();
    let mut archives = BTreeMap::new();
    let mut rows = String::new();
    for (series, flavour, architecture) in KERNELS {
        if !archives.contains_key(architecture) {
            archives.insert(architecture, Archive::of(architecture, &folder.join(architecture))?);
        }
        let Some(archive) = archives.get(architecture) else { continue };
        let (package, version, types) = whole(archive, series, flavour, &folder)?;
        let name = format!("{series}-{flavour}");
        let extract = extracted(&Btf::parse(types)?.named(&name), &views)?;
        let path = kept().join(format!("{name}.btf"));
        std::fs::write(&path, &extract).map_err(file(&path))?;
        println!("{name}: {} bytes, of {package} {version}", extract.len());
        // A string takes what is written to it.
        let _ = writeln!(rows, "| `{name}.btf` | `{package}` | {version} | {} |", extract.len());
    }
    rows += &running(&views)?;
    for (name, text) in [("README.md", format!("{README}{rows}")), ("asked.txt", asked(&views))] {
        let path = kept().join(name);
        std::fs::write(&path, text).map_err(file(&path))?;
    }
    Ok(())
}

/// The extract of the kernel that runs, if it is of the series for which there is no package; the line of the list.
fn running(views: &[View<'_>]) -> Result<String, Error> {
    let (name, series) = RUNNING;
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    if !release.starts_with(series) {
        let list = std::fs::read_to_string(kept().join("README.md")).unwrap_or_default();
        let line = list.lines().find(|line| line.starts_with(&format!("| `{name}.btf` |")));
        println!("{name}: stays as it is, this kernel is {}", release.trim_end());
        return Ok(line.map_or_else(String::new, |line| format!("{line}\n")));
    }
    let extract = extracted(&Btf::open("/sys/kernel/btf/vmlinux")?.named(name), views)?;
    let path = kept().join(format!("{name}.btf"));
    std::fs::write(&path, &extract).map_err(file(&path))?;
    println!("{name}: {} bytes, of this kernel", extract.len());
    let version = release.split('-').next().unwrap_or_default().trim_end();
    Ok(format!("| `{name}.btf` | the kernel that ran | {version} | {} |\n", extract.len()))
}

const README: &str = "\
# Types of supported kernels

What our views need of each, taken out of Debian's packages, and of the kernel that runs where Debian has none of its
series, by `./x kernels`, which writes this folder; nothing else edits it. `asked.txt` is what was looked for. `cargo
nextest run -p gabion-testing-kernels` holds every view to all of them.

| file | package | version | bytes |
| --- | --- | --- | --- |
";

/// The newest package of a flavour, its version, and all types of its kernel.
fn whole(archive: &Archive, series: &str, flavour: &str, folder: &Path) -> Result<(String, String, Vec<u8>), Error> {
    let package = archive.kernel(series, flavour)?;
    let version = archive.version(&package)?;
    let cached = folder.join(format!("{package}_{}.btf", version.replace(':', "%3a")));
    if let Ok(types) = std::fs::read(&cached) {
        return Ok((package, version, types));
    }
    println!("fetching {package} {version}");
    let fetched = archive.download(&package, &folder.join("fetched"))?;
    let image = image_of(&fetched)?;
    let types = image::types(&image).map_err(|error| Error::Image(package.clone(), error))?;
    // Renamed when it is whole, so that what was interrupted is not taken for it.
    let unfinished = cached.with_extension("unfinished");
    std::fs::write(&unfinished, &types).map_err(file(&unfinished))?;
    std::fs::rename(&unfinished, &cached).map_err(file(&cached))?;
    std::fs::remove_file(&fetched).map_err(file(&fetched))?;
    Ok((package, version, types))
}

/// The kernel in a package, without unpacking the rest.
fn image_of(package: &Path) -> Result<Vec<u8>, Error> {
    let failed = || file(package);
    let mut child = Command::new("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(package)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(failed())?;
    let mut image = None;
    if let Some(stdout) = child.stdout.take() {
        for entry in tar::Archive::new(stdout).entries().map_err(failed())? {
            let mut entry = entry.map_err(failed())?;
            let path = entry.path().map_err(failed())?.into_owned();
            if path.parent().is_some_and(|parent| parent.ends_with("boot"))
                && path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with("vmlinuz-"))
            {
                let mut bytes = Vec::new();
                entry.read_to_end(&mut bytes).map_err(failed())?;
                image = Some(bytes);
                break;
            }
        }
    }
    // It may have been about to write the rest, which nobody reads.
    child.wait().map_err(failed())?;
    image.ok_or_else(|| Error::NoImage(package.to_owned()))
}

fn target() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    target.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target")).join("kernels")
}

fn file(path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_path_buf();
    |cause| Error::File { path, cause }
}
