//! The Debian package format (deb(5)): an `ar` archive of a version, the control files and the data.

use std::collections::BTreeSet;
use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

/// Who answers for the package.
pub const MAINTAINER: &str = "The Gabion authors <gabion@localhost>";

/// One file of the package.
pub struct Entry {
    path: String,
    mode: u32,
    bytes: Vec<u8>,
}

impl Entry {
    /// A file that is read.
    pub fn file(path: &str, bytes: Vec<u8>) -> Self {
        Self { path: path.to_owned(), mode: 0o644, bytes }
    }

    /// A file that its readers expect compressed: manual pages and changelogs (Debian policy, 12.1 and 12.7).
    pub fn compressed(path: &str, bytes: &[u8]) -> std::io::Result<Self> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes)?;
        Ok(Self::file(&format!("{path}.gz"), encoder.finish()?))
    }

    /// A file that is executed.
    pub fn program(path: &str, bytes: Vec<u8>) -> Self {
        Self { path: path.to_owned(), mode: 0o755, bytes }
    }
}

/// What a package is made of.
pub struct Package<'text> {
    /// Its name.
    pub name: &'text str,
    /// Its version.
    pub version: &'text str,
    /// Its architecture, in Debian's words.
    pub architecture: &'text str,
    /// The first line is the summary; the others begin with a space.
    pub description: &'text str,
    /// Seconds since 1970 for every file.
    pub time: u64,
    /// Maintainer scripts by name.
    pub scripts: Vec<(&'static str, Vec<u8>)>,
    /// What is installed.
    pub entries: Vec<Entry>,
}

impl Package<'_> {
    /// The package, the same bytes for the same content.
    pub fn bytes(&self) -> Result<Vec<u8>, String> {
        let build = || {
            let control = self.control()?;
            let data = self.data()?;
            let mut builder = ar::Builder::new(Vec::new());
            for (name, bytes) in
                [("debian-binary", b"2.0\n".to_vec()), ("control.tar.gz", control), ("data.tar.gz", data)]
            {
                let mut header = ar::Header::new(name.as_bytes().to_vec(), bytes.len() as u64);
                header.set_mode(0o100_644);
                header.set_mtime(self.time);
                builder.append(&header, bytes.as_slice())?;
            }
            builder.into_inner()
        };
        build().map_err(|error: std::io::Error| format!("{}: {error}", self.name))
    }

    fn control(&self) -> std::io::Result<Vec<u8>> {
        let size: usize = self.entries.iter().map(|entry| entry.bytes.len()).sum();
        let control = format!(
            "Package: {}\nVersion: {}\nArchitecture: {}\nMaintainer: {MAINTAINER}\n\
             Installed-Size: {}\nSection: net\nPriority: optional\nDescription: {}\n",
            self.name,
            self.version,
            self.architecture,
            size.div_ceil(1024),
            self.description.trim_end()
        );
        let mut tar = self.tar();
        self.append(&mut tar, "control", 0o644, control.as_bytes())?;
        for (name, script) in &self.scripts {
            self.append(&mut tar, name, 0o755, script)?;
        }
        tar.into_inner()?.finish()
    }

    fn data(&self) -> std::io::Result<Vec<u8>> {
        let mut tar = self.tar();
        let mut folders = BTreeSet::new();
        for entry in &self.entries {
            for (place, _) in entry.path.match_indices('/') {
                let folder = &entry.path[..=place];
                if folders.insert(folder.to_owned()) {
                    let mut header = self.header(0o755, 0);
                    header.set_entry_type(tar::EntryType::Directory);
                    tar.append_data(&mut header, folder, std::io::empty())?;
                }
            }
            self.append(&mut tar, &entry.path, entry.mode, &entry.bytes)?;
        }
        tar.into_inner()?.finish()
    }

    fn tar(&self) -> tar::Builder<GzEncoder<Vec<u8>>> {
        tar::Builder::new(GzEncoder::new(Vec::new(), Compression::best()))
    }

    fn header(&self, mode: u32, size: usize) -> tar::Header {
        let mut header = tar::Header::new_gnu();
        header.set_mode(mode);
        header.set_mtime(self.time);
        header.set_size(size as u64);
        header.set_uid(0);
        header.set_gid(0);
        header
    }

    fn append<W: Write>(&self, tar: &mut tar::Builder<W>, path: &str, mode: u32, bytes: &[u8]) -> std::io::Result<()> {
        let mut header = self.header(mode, bytes.len());
        tar.append_data(&mut header, path, bytes)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    fn package() -> Package<'static> {
        Package {
            name: "gabion",
            version: "0.1.0",
            architecture: "amd64",
            description: "summary\n more\n",
            time: 1_700_000_000,
            scripts: vec![("prerm", b"#!/bin/sh\n".to_vec())],
            entries: vec![Entry::program("usr/bin/gabion", b"x".to_vec()), Entry::file("usr/share/a", b"y".to_vec())],
        }
    }

    #[test]
    fn the_same_content_is_the_same_package() {
        assert_eq!(package().bytes().unwrap(), package().bytes().unwrap());
    }

    #[test]
    fn dpkg_reads_the_package() {
        let path = std::env::temp_dir().join(format!("gabion-deb-{}.deb", std::process::id()));
        std::fs::write(&path, package().bytes().unwrap()).unwrap();
        let dpkg = |what: &str| std::process::Command::new("dpkg-deb").arg(what).arg(&path).output();
        let (fields, contents) = (dpkg("--field"), dpkg("--contents"));
        std::fs::remove_file(&path).unwrap();
        let (Ok(fields), Ok(contents)) = (fields, contents) else { return };
        let fields = String::from_utf8(fields.stdout).unwrap();
        assert!(fields.contains("Package: gabion\nVersion: 0.1.0\nArchitecture: amd64\n"), "{fields}");
        let contents = String::from_utf8(contents.stdout).unwrap();
        assert!(contents.contains(" usr/bin/gabion") && contents.contains("-rwxr-xr-x"), "{contents}");
        assert!(contents.contains(" usr/share/a"), "{contents}");
    }
}
