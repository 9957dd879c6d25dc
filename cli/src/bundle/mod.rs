//! `gabion bundle ...`: what nodes are given to run, from its making to what would change.

mod build;
mod compiled;
mod diff;
mod inspect;
mod sign;
mod verify;

pub use verify::clock_policy;

use std::fs;
use std::io;
use std::path::Path;

use gabion_bundle::{Bundle, Layout, Name, Refused, Target};

use crate::command::BundleCommand;
use crate::exit::{Exit, Failure, blame};
use crate::trust::replace;

pub fn run(command: BundleCommand) -> Result<Exit, Failure> {
    match command {
        BundleCommand::Build(arguments) => build::run(&arguments),
        BundleCommand::Sign(arguments) => sign::sign(&arguments),
        BundleCommand::Publish(arguments) => sign::publish(&arguments),
        BundleCommand::Verify(arguments) => verify::run(&arguments),
        BundleCommand::Inspect(arguments) => inspect::run(&arguments),
    }
}

/// A bundle, all of whose bytes are what they are said to be.
fn open(path: &Path) -> Result<Bundle, Failure> {
    Bundle::open(path).map_err(|refused| {
        let exit = match &refused {
            Refused::Unreadable { source, .. } => blame(source),
            _ => Exit::Input,
        };
        let path = path.display().to_string();
        let what = refused.to_string();
        let what = what.strip_prefix(&format!("{path}: ")).unwrap_or(&what);
        let mut failure = Failure::input(format!("{path}: {}: {what}", refused.code()));
        failure.exit = exit;
        failure
    })
}

const BLOBS: &str = "blobs/sha256";

/// Whether this is to be an archive; anything else is a folder.
fn is_archive(path: &Path) -> bool {
    path.extension().is_some_and(|kind| kind == "tar")
}

fn archive(layout: &Layout) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    layout.write_archive(&mut bytes)?;
    Ok(bytes)
}

/// Writes a bundle where it is already, with what is attached to it by now.
fn save(bundle: &Bundle, path: &Path) -> Result<(), Failure> {
    let layout = bundle.layout();
    let saved = if path.is_dir() {
        save_folder(&layout, path)
    } else {
        archive(&layout).and_then(|bytes| replace(path, &bytes))
    };
    saved.map_err(|error| Failure::file(&path.display().to_string(), "write this bundle", &error))
}

/// New blobs first, then the index that names them; what nobody names any more goes last.
fn save_folder(layout: &Layout, folder: &Path) -> io::Result<()> {
    let (blobs, others): (Vec<_>, Vec<_>) = layout.files().iter().partition(|(name, _)| name.starts_with(BLOBS));
    for (name, bytes) in blobs.into_iter().chain(others) {
        let path = folder.join(name);
        if fs::read(&path).ok().as_ref() != Some(bytes) {
            replace(&path, bytes)?;
        }
    }
    for entry in fs::read_dir(folder.join(BLOBS))? {
        let entry = entry?;
        let name = format!("{BLOBS}/{}", entry.file_name().to_string_lossy());
        if !layout.files().contains_key(&name) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// `ARCH[/KERNEL,KERNEL..]`.
fn target(text: &str) -> Result<Target, Failure> {
    let (architecture, kernels) = text.split_once('/').unwrap_or((text, ""));
    let name = |text: &str| {
        text.parse::<Name>().map_err(|error| Failure::input(format!("--target: {error}")).help("write x86_64/6.1,6.12"))
    };
    let kernels = kernels.split(',').filter(|it| !it.is_empty()).map(name).collect::<Result<_, _>>()?;
    Ok(Target { architecture: name(architecture)?, kernels })
}
