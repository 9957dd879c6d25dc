//! The `newc` archive format that the kernel unpacks as its first file system
//! (Documentation/driver-api/early-userspace/buffer-format.rst).

use std::collections::BTreeSet;

use crate::Error;

const DIRECTORY: u32 = 0o040_755;
const EXECUTABLE: u32 = 0o100_755;

/// An archive under construction.
#[derive(Default)]
pub struct Archive {
    bytes: Vec<u8>,
    directories: BTreeSet<String>,
    entries: u32,
}

impl Archive {
    /// Adds an empty directory and those above it.
    pub fn directory(&mut self, path: &str) -> Result<(), Error> {
        let path = path.trim_matches('/');
        let above = path.rsplit_once('/').map(|(above, _)| above);
        if let Some(above) = above {
            self.directory(above)?;
        }
        if !path.is_empty() && self.directories.insert(path.to_owned()) {
            self.entry(path, DIRECTORY, &[])?;
        }
        Ok(())
    }

    /// Adds an executable file, and the directories above it.
    pub fn file(&mut self, path: &str, content: &[u8]) -> Result<(), Error> {
        let path = path.trim_matches('/');
        if let Some((above, _)) = path.rsplit_once('/') {
            self.directory(above)?;
        }
        self.entry(path, EXECUTABLE, content)
    }

    /// Closes the archive.
    pub fn finish(mut self) -> Result<Vec<u8>, Error> {
        self.entry("TRAILER!!!", 0, &[])?;
        Ok(self.bytes)
    }

    fn entry(&mut self, path: &str, mode: u32, content: &[u8]) -> Result<(), Error> {
        let too_large = || Error::TooLarge(path.to_owned(), content.len());
        let size = u32::try_from(content.len()).map_err(|_| too_large())?;
        let name_size = u32::try_from(path.len() + 1).map_err(|_| too_large())?;
        self.entries += 1;
        self.bytes.extend_from_slice(b"070701");
        // inode, mode, uid, gid, nlink, mtime, size, device (major, minor), rdevice (major, minor), name size, check
        for field in [self.entries, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name_size, 0] {
            self.bytes.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(path.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
        Ok(())
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
    use super::*;

    #[test]
    fn a_header_is_110_bytes_and_everything_is_aligned_to_four() {
        let mut archive = Archive::default();
        archive.file("/a/b", b"xyz").unwrap();
        let bytes = archive.finish().unwrap();
        // Directory "a": 110 + 2 = 112. File "a/b": 110 + 4 = 114, padded to 116, and 3 bytes padded to 4.
        assert_eq!(&bytes[110..112], b"a\0");
        assert_eq!(&bytes[112..118], b"070701");
        assert_eq!(&bytes[112 + 54..112 + 62], b"00000003");
        assert_eq!(&bytes[112 + 116..112 + 120], b"xyz\0");
        assert_eq!(bytes.len() % 4, 0);
    }
}
