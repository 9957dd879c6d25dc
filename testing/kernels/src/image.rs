//! The types within the image of a kernel, as distributions ship it.

use std::io::Read as _;
use std::ops::Range;

use gabion_btf::{Btf, Kind};
use lz4_flex::frame::FrameDecoder;
use lzma_rust2::XzReader;
use ruzstd::decoding::StreamingDecoder;

/// Largest kernel, unpacked.
const LIMIT: u64 = 1 << 30;

/// Why an image has no types.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Neither of the forms that are known.
    #[error("this is neither an x86 image (bzImage) nor an arm64 image: it begins with {0:02x?}")]
    Unknown(Vec<u8>),
    /// An x86 image without its payload.
    #[error("the payload of this x86 image is said to be at {0:#x?}, of {1:#x} bytes")]
    Payload(Range<usize>, usize),
    /// A payload that is compressed otherwise.
    #[error("the payload of this x86 image is compressed by none of xz, zstd and lz4: it begins with {0:02x?}")]
    Compression(Vec<u8>),
    /// A payload that cannot be unpacked.
    #[error("the payload of this x86 image cannot be unpacked: {0}")]
    Unpack(String),
    /// An image without types.
    #[error("there are no kernel types in this image: was it built with CONFIG_DEBUG_INFO_BTF?")]
    NoTypes,
}

/// The types of a kernel as they stand in its image.
///
/// # Errors
/// [`Error`].
pub fn types(image: &[u8]) -> Result<Vec<u8>, Error> {
    // Documentation/arch/x86/boot.rst of the kernel: "HdrS", and payloads from version 2.08 of the protocol on.
    if image.get(0x202..0x206) == Some(b"HdrS") {
        return found(&unpacked(payload(image)?)?);
    }
    // Documentation/arch/arm64/booting.rst.
    if image.get(56..60) == Some(b"ARM\x64") {
        return found(image);
    }
    Err(Error::Unknown(image.iter().take(4).copied().collect()))
}

fn payload(image: &[u8]) -> Result<&[u8], Error> {
    let word = |at: usize| {
        let bytes = image.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).unwrap_or_default();
        u32::from_le_bytes(bytes) as usize
    };
    let sectors = usize::from(image.get(0x1f1).copied().unwrap_or_default());
    // Sectors of real-mode code, of which the first is not counted; then the place of the payload, and its length.
    let start = (sectors + 1) * 512 + word(0x248);
    // The last four bytes are the length of what is unpacked, for whoever boots it.
    let range = start..start + word(0x24c).saturating_sub(4);
    image.get(range.clone()).ok_or(Error::Payload(range, image.len()))
}

fn unpacked(payload: &[u8]) -> Result<Vec<u8>, Error> {
    let unpack = |reader: &mut dyn std::io::Read| {
        let mut kernel = Vec::new();
        let unpacked = reader.take(LIMIT).read_to_end(&mut kernel);
        unpacked.map(|_| kernel).map_err(|error| Error::Unpack(error.to_string()))
    };
    if payload.starts_with(b"\xfd7zXZ\0") {
        unpack(&mut XzReader::new(payload, false))
    } else if payload.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        unpack(&mut StreamingDecoder::new(payload).map_err(|error| Error::Unpack(error.to_string()))?)
    } else if payload.starts_with(&[0x02, 0x21, 0x4c, 0x18]) {
        unpack(&mut FrameDecoder::new(payload))
    } else {
        Err(Error::Compression(payload.iter().take(6).copied().collect()))
    }
}

/// BTF by its header, as an arm64 image has neither sections nor symbols that say where it is. What only looks like it
/// is no BTF with the struct that every kernel has.
fn found(kernel: &[u8]) -> Result<Vec<u8>, Error> {
    // Magic, version, flags, and the length of the header.
    const HEAD: [u8; 8] = [0x9f, 0xeb, 1, 0, 24, 0, 0, 0];
    let mut from = 0;
    while let Some(at) = kernel.get(from..).and_then(|rest| rest.windows(HEAD.len()).position(|bytes| bytes == HEAD)) {
        let start = from + at;
        let word = |at: usize| {
            let bytes = kernel.get(start + at..start + at + 4).and_then(|bytes| bytes.try_into().ok());
            u32::from_le_bytes(bytes.unwrap_or_default()) as usize
        };
        // Types come first, then strings, each with its place behind the header and its length.
        let end = start + 24 + (word(8) + word(12)).max(word(16) + word(20));
        let bytes = kernel.get(start..end);
        let is_kernel = |bytes: &&[u8]| {
            let btf = Btf::parse(bytes.to_vec());
            btf.is_ok_and(|btf| btf.find(Kind::Struct, "task_struct").is_some())
        };
        if let Some(bytes) = bytes.filter(is_kernel) {
            return Ok(bytes.to_vec());
        }
        from = start + HEAD.len();
    }
    Err(Error::NoTypes)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use gabion_testing_types::Build;

    use super::*;

    fn kernel() -> Vec<u8> {
        let mut b = Build::new();
        b.structure("task_struct", 8, &[]);
        b.bytes()
    }

    fn arm(content: &[&[u8]]) -> Vec<u8> {
        let mut image = vec![0; 56];
        image.extend(b"ARM\x64");
        content.iter().for_each(|part| image.extend(*part));
        image
    }

    #[test]
    fn types_are_found_behind_what_only_looks_like_them() {
        let mut module = Build::new();
        module.structure("other", 8, &[]);
        let image = arm(&[&[0x9f, 0xeb, 1, 0, 24, 0, 0, 0], &module.bytes(), b"code", &kernel(), b"more code"]);
        assert_eq!(types(&image).unwrap(), kernel());
        assert!(matches!(types(&arm(&[b"code"])), Err(Error::NoTypes)));
    }

    #[test]
    fn images_that_are_not_known_or_cut_are_errors() {
        assert!(matches!(types(b"\x7fELF"), Err(Error::Unknown(_))));
        let mut image = vec![0; 0x400];
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[0x24c..0x250].copy_from_slice(&0x100u32.to_le_bytes());
        assert!(matches!(types(&image), Err(Error::Compression(_))));
        image[0x200..0x206].copy_from_slice(b"\xfd7HdrS".get(..6).unwrap());
        image[0x24c..0x250].copy_from_slice(&0x1000u32.to_le_bytes());
        assert!(types(&image).is_err());
        image[0x202..0x206].copy_from_slice(b"HdrS");
        assert!(matches!(types(&image), Err(Error::Payload(..))));
    }
}
