//! Packages of Debian's archive, which need neither root nor the package database of this machine.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Error, entries};

/// The archives that this machine is configured for.
#[derive(Clone, Debug, Default)]
pub struct Archive {
    options: Vec<String>,
}

impl Archive {
    /// As the machine has looked at them last.
    #[must_use]
    pub fn configured() -> Self {
        Self::default()
    }

    /// For another architecture, whose lists are fetched into a folder.
    ///
    /// # Errors
    /// When they cannot be fetched.
    pub fn of(architecture: &str, folder: &Path) -> Result<Self, Error> {
        for part in ["state/lists/partial", "cache/archives/partial"] {
            let part = folder.join(part);
            std::fs::create_dir_all(&part).map_err(Error::file(&part))?;
        }
        let settings = [
            format!("Dir::State={}", folder.join("state").display()),
            format!("Dir::Cache={}", folder.join("cache").display()),
            format!("APT::Architecture={architecture}"),
            format!("APT::Architectures={architecture}"),
        ];
        let options = settings.into_iter().flat_map(|setting| ["-o".to_owned(), setting]).collect();
        let archive = Self { options };
        output("apt-get", archive.command("apt-get").args(["update", "-qq"]))?;
        Ok(archive)
    }

    /// The name of the newest kernel package of a series and flavour such as `cloud-amd64`.
    ///
    /// # Errors
    /// When there is none.
    pub fn kernel(&self, series: &str, flavour: &str) -> Result<String, Error> {
        let pattern = format!("^linux-image-{}\\.[0-9].*-{flavour}$", series.replace('.', "\\."));
        let listing = output("apt-cache", self.command("apt-cache").args(["search", "--names-only", &pattern]))?;
        let none = || Error::NoKernel(format!("{series}, {flavour}"));
        newest(series, flavour, &listing).ok_or_else(none)
    }

    /// The version of a package that would be fetched.
    ///
    /// # Errors
    /// When there is none.
    pub fn version(&self, package: &str) -> Result<String, Error> {
        let shown = output("apt-cache", self.command("apt-cache").args(["show", "--no-all-versions", package]))?;
        let version = shown.lines().find_map(|line| line.strip_prefix("Version: "));
        version.map(str::to_owned).ok_or_else(|| Error::NoKernel(package.to_owned()))
    }

    /// Fetches a package into a folder; where it is there.
    ///
    /// # Errors
    /// When it cannot be fetched.
    pub fn download(&self, package: &str, folder: &Path) -> Result<PathBuf, Error> {
        std::fs::create_dir_all(folder).map_err(Error::file(folder))?;
        output("apt-get", self.command("apt-get").args(["download", "-qq", package]).current_dir(folder))?;
        let is_it = |path: &PathBuf| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            name.starts_with(&format!("{package}_")) && name.ends_with(".deb")
        };
        entries(folder)?.into_iter().find(is_it).ok_or_else(|| Error::NoKernel(package.to_owned()))
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.args(&self.options);
        command
    }
}

/// The package with the highest version: "linux-image-6.1.0-56-cloud-amd64" over "…-6.1.0-9-…".
fn newest(series: &str, flavour: &str, listing: &str) -> Option<String> {
    let names = listing.lines().filter_map(|line| line.split_whitespace().next());
    let (prefix, suffix) = (format!("linux-image-{series}."), format!("-{flavour}"));
    let version = |name: &str| -> Option<Vec<u32>> {
        let version = name.strip_prefix(&prefix)?.strip_suffix(&suffix)?;
        // What is left of another flavour is its first word: "6.1.0-56-cloud" of "cloud-amd64" for "amd64".
        if version.split('-').skip(1).any(|part| part.contains(|letter: char| letter.is_ascii_alphabetic())) {
            return None;
        }
        let numbers = version.split(|letter: char| !letter.is_ascii_digit());
        Some(numbers.filter_map(|number| number.parse().ok()).collect())
    };
    names.filter_map(|name| Some((version(name)?, name))).max().map(|(_, name)| name.to_owned())
}

pub(crate) fn output(program: &'static str, command: &mut Command) -> Result<String, Error> {
    let output = command.output().map_err(|cause| Error::Program { program, detail: cause.to_string() })?;
    if !output.status.success() {
        let detail = format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
        return Err(Error::Program { program, detail });
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers_and_series_by_their_dot() {
        let listing = "linux-image-6.1.0-9-cloud-amd64 - Linux\nlinux-image-6.1.0-56-cloud-amd64 - Linux\n\
                       linux-image-6.1.0-54-amd64 - Linux\nlinux-image-6.1.0-57-rt-amd64 - Linux\n\
                       linux-image-6.12.117+deb12-cloud-amd64 - Linux\nlinux-image-6.12.9+deb12-amd64 - Linux\n";
        assert_eq!(newest("6.1", "cloud-amd64", listing).as_deref(), Some("linux-image-6.1.0-56-cloud-amd64"));
        assert_eq!(newest("6.1", "amd64", listing).as_deref(), Some("linux-image-6.1.0-54-amd64"));
        assert_eq!(newest("6.12", "cloud-amd64", listing).as_deref(), Some("linux-image-6.12.117+deb12-cloud-amd64"));
        assert_eq!(newest("6.12", "amd64", listing).as_deref(), Some("linux-image-6.12.9+deb12-amd64"));
        assert_eq!(newest("6.9", "amd64", listing), None);
    }
}
